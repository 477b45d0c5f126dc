"""`aios bench conversations`: real conversations of agents with a model, recorded to be measured with.

The SDK's ReAct agents work on the demo's shop, each on an order of its own, on a kernel of their own; a turn
is a step of the model and what the tool it named returned. Half of them are the demo's clerks, who share their
instructions word for word, half are plain ReAct agents of three offices. Whatever the model wrote is kept,
right or wrong. `read` takes these, or anybody's, as JSON lines of OpenAI message lists."""

from __future__ import annotations

import asyncio
import gzip
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import msgspec

from aios.bench.daemon import serving
from aios.bench.report import machine, write_result
from aios.bench.workloads import Clerk, Shop
from aios.errors import ConfigError
from aios.models.store import ModelStore
from aios.sdk.agent import Outcome
from aios.sdk.agents.react import ReAct
from aios.sdk.client import AsyncClient
from aios.syscalls import Message, Role, ToolCall

MODELS = ("qwen2.5-coder-0.5b-instruct", "smollm2-135m-instruct")
"""Each is recorded with one half of the agents."""
AGENTS = 112
TOGETHER = 8
"""Agents at work at once."""
OFFICES = (
    "You work for the returns desk of a shop and answer its questions about orders.",
    "You help the accountants of a shop. Look things up, never guess.",
    "You are the assistant of a shop's buyers.",
)
NAME = "conversations.jsonl.gz"

Talk = tuple[Message, ...]


def run(out: Path, *, model: str = "", agents: int = AGENTS, quick: bool = False, **_: Any) -> None:
    """Record `agents` conversations to `out`/conversations.jsonl.gz. `model`: with this one only."""
    count, rows = 8 if quick else agents, list[dict[str, Any]]()
    half = count // 2
    halves = {model: range(count)} if model else {MODELS[0]: range(half), MODELS[1]: range(half, count)}
    talks: list[Talk] = []
    for name, numbers in halves.items():
        said, right = asyncio.run(record(name, numbers))
        rows.append(
            {"model": name, "conversations": len(said), "messages": sum(map(len, said)), "right": right}
        )
        print(
            f"  {name}: {len(said)} conversations of {rows[-1]['messages']} messages, {right} found the answer"
        )
        talks += said
    out.mkdir(parents=True, exist_ok=True)
    lines = b"".join(msgspec.json.encode(talk) + b"\n" for talk in talks)
    (out / NAME).write_bytes(gzip.compress(lines, 9, mtime=0))
    write_result(out, {"bench": "conversations", "rows": rows, **machine()})


async def record(model: str, numbers: Iterable[int]) -> tuple[list[Talk], int]:
    """What the agents of these numbers and `model` said to each other, and how many found the right answer."""
    path, turn = ModelStore().resolve(model), asyncio.Semaphore(TOGETHER)
    found: list[tuple[Outcome, bool]] = []
    with tempfile.TemporaryDirectory(prefix="aios-conversations-") as folder:
        core = f'[[cores]]\nname = "main"\nmodel = "{path}"\nslots = 4\ncontext = 2048\n'
        async with serving(Path(folder), core) as url:

            async def one(number: int) -> None:
                shop = Shop(number // 64, gap_s=0.0)
                task = shop.task(number)
                async with turn, AsyncClient(url, agent=f"agent-{number:03}") as client:
                    outcome = await agent(number, client, shop).work(task.question)
                found.append((outcome, task.right(outcome.answer)))

            async with asyncio.TaskGroup() as tasks:
                for number in numbers:
                    tasks.create_task(one(number))
    return [outcome.messages for outcome, _ in found], sum(right for _, right in found)


def agent(number: int, client: AsyncClient, shop: Shop) -> ReAct:
    """The agent of that number: every other one is a clerk."""
    limits = {"max_turns": 6, "max_tokens": 80, "thought_length": 60}
    if number % 2 == 0:
        return Clerk(client, tools=shop.tools(), **limits)
    return ReAct(client, tools=shop.tools(), system=OFFICES[number // 2 % len(OFFICES)], **limits)


def read(path: Path) -> list[list[Message]]:
    """The conversations of a file or a folder: JSON lines (also `.gz`), each a list of OpenAI messages, or an
    object with `messages`. Raises ConfigError."""
    files = sorted(path.glob("*.jsonl*")) if path.is_dir() else [path]
    talks = [talk for file in files for talk in _talks(file)]
    if not talks:
        raise ConfigError(f"{path} holds no conversations.", "Name a .jsonl file or a folder of them: --data")
    return talks


class _Part(msgspec.Struct):
    text: str = ""


class _Said(msgspec.Struct):
    """A message as it may come. `content`: of parts the text counts."""

    role: Role
    content: str | list[_Part] | None = None
    name: str | None = None
    tool_calls: tuple[ToolCall, ...] = ()
    tool_call_id: str | None = None

    def message(self) -> Message:
        content = self.content
        if isinstance(content, list):
            content = "".join(part.text for part in content)
        return Message(
            role=self.role, content=content, name=self.name, tool_calls=self.tool_calls,
            tool_call_id=self.tool_call_id,
        )  # fmt: skip


class _Object(msgspec.Struct):
    messages: list[_Said]


def _talks(file: Path) -> Iterator[list[Message]]:
    try:
        data = file.read_bytes()
        for line in (gzip.decompress(data) if file.suffix == ".gz" else data).splitlines():
            if line.strip():
                talk = msgspec.json.decode(line, type=_Object | list[_Said])
                yield [said.message() for said in (talk.messages if isinstance(talk, _Object) else talk)]
    except (OSError, EOFError, ValueError) as error:  # msgspec's errors are ValueErrors
        mend = "Each line is a JSON list of OpenAI messages: --data"
        raise ConfigError(f"{file} holds no conversations: {error}.", mend) from error
