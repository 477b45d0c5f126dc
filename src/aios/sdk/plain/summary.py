"""Summaries by a model: one file at a time, so that a small window and a small model will do."""

from __future__ import annotations

import re
from collections.abc import Sequence

from aios.errors import BadRequest
from aios.sdk.plain.kernel import Calls, Chats
from aios.sdk.plain.scene import name
from aios.syscalls import Message, storage

READ = 6_000
"""Bytes of each file that the model sees."""
MOST = 12
"""Files of one summary."""
TOKENS = 120
ASK = "Summarise this text in {length}. Keep names and numbers.\n\n{text}"


async def summarise(paths: Sequence[str], kernel: Calls, chats: Chats, model: str) -> str:
    """Two sentences on one file; a line for each of several. Raises AiosError."""
    if len(paths) > MOST:
        raise BadRequest(f"These are {len(paths)} files; at most {MOST} are summarised.", "Name fewer.")
    if len(paths) == 1:
        return await _one(paths[0], "one or two short sentences", kernel, chats, model)
    parts = [(p, await _one(p, "one short sentence", kernel, chats, model)) for p in paths]
    return "\n".join(f"{name(path)}: {text}" for path, text in parts)


async def _one(path: str, length: str, kernel: Calls, chats: Chats, model: str) -> str:
    content = await kernel.syscall(storage.ReadFile(path=path, length=READ))
    text = content.data.decode("utf-8", "replace").strip()
    if not text:
        return "(empty)"
    asked = Message(role="user", content=ASK.format(length=length, text=text))
    most = max(16, min(TOKENS, len(text.split())))
    answer = await chats.chat([asked], model=model, temperature=0.0, max_tokens=most)
    choice = answer.choices[0]
    told = " ".join((choice.content or "").split())
    return _ended(told) if choice.finish_reason == "length" else told


def _ended(text: str) -> str:
    """Up to the end of its last whole sentence; all of it if there is none."""
    ends = [found.end() for found in re.finditer(r"[.!?](?=\s|$)", text)]
    return text[: ends[-1]] if ends else text + "…"
