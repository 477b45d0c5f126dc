"""A core without a model: it says what a script tells it, word by word. For tests and simulation only.

All of the protocol is there and nothing is random: the same calls in the same order get the same answers, and
an interrupted sequence goes on with the very next word. A token is a word with the white space before it.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import math
import re
import zlib
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

from aios.config import CoreSettings
from aios.cores.core import Capabilities, Ended, Seat, Sequence, Step, Yielded
from aios.cores.ram import Ram
from aios.errors import AiosError, BadRequest, ConfigError, CoreError, CoreUnavailable
from aios.events import CoreChanged, EventBus
from aios.syscalls import (
    Delta,
    Embed,
    Embeddings,
    FinishReason,
    FunctionCall,
    Generate,
    TokenLogprob,
    ToolCallDelta,
    Usage,
)

Answer = str | tuple[FunctionCall, ...] | AiosError
"""What one choice is to say: text, calls of tools, or the error it fails with."""

Script = Callable[[Generate, int], Answer]
"""(call, choice) -> answer. Asked once for each choice, when it first gets a slot."""

Sleep = Callable[[float], Awaitable[object]]

OBJECT: Mapping[str, Any] = {"type": "object"}
EMBEDDING_WIDTH = 64


@dataclass(slots=True)
class Part:
    """This core's part of a sequence: all its deltas. How many were given is `len(sequence.generated)`."""

    deltas: list[Delta]
    reason: FinishReason


class ScriptedCore:
    """`[[cores]] kind = "scripted"`. `script` says the answers (default: `echo`); `sleep` is its clock, which
    a simulation replaces by a virtual one. Of `ram` it takes none."""

    def __init__(
        self,
        settings: CoreSettings,
        bus: EventBus,
        ram: Ram | None = None,
        *,
        script: Script | None = None,
        sleep: Sleep = asyncio.sleep,
    ) -> None:
        if settings.slots < 1:
            raise ConfigError(f"cores.{settings.name}: slots is {settings.slots}.", "Use at least 1.")
        self.name = settings.name
        self.epoch = 0
        self._settings, self._bus = settings, bus
        self._script = script or echo
        self._sleep = sleep
        self._pause_s = 1.0 / settings.tokens_per_s if settings.tokens_per_s > 0 else 0.0
        self._ids = itertools.count(1)
        self._seated: dict[int, Sequence] = {}
        self._leaving: set[int] = set()
        self._open = False

    @property
    def models(self) -> tuple[str, ...]:
        return self._settings.models or ("scripted",)

    @property
    def capacity(self) -> int:
        return self._settings.slots

    @property
    def capabilities(self) -> Capabilities:
        return Capabilities(interruptible=True, embeddings=True)

    async def start(self, tasks: asyncio.TaskGroup) -> None:
        self._open = True
        self._bus.publish(CoreChanged(core=self.name, state="ready"))

    async def close(self) -> None:
        self._open = False
        self._bus.publish(CoreChanged(core=self.name, state="closed"))

    async def prepare(self, call: Generate, pid: int, group: str) -> list[Sequence]:
        _check(call)
        tokens = _prompt_tokens(call)
        return [
            Sequence(id=next(self._ids), call=call, pid=pid, group=group, choice=choice, tokens=tokens)
            for choice in range(call.n)
        ]

    async def run(self, sequence: Sequence, seat: Seat) -> AsyncGenerator[Step, None]:
        if seat.slot in self._seated:
            raise CoreError(f"Slot {seat.slot} of core {self.name} is taken.", "Seat one sequence a slot.")
        self._seated[seat.slot] = sequence
        try:
            part = self._part(sequence)
            for delta in part.deltas[len(sequence.generated) :]:
                await self._sleep(self._pause_s)
                self._need_open()
                if sequence.id in self._leaving:
                    yield Yielded()
                    return
                sequence.generated.append(_token(_text_of(delta)))
                yield delta
            self._need_open()
            yield Ended(
                reasons={sequence.choice: part.reason},
                prompt_tokens=len(sequence.tokens),
                completion_tokens=len(sequence.generated),
            )
        finally:
            del self._seated[seat.slot]
            self._leaving.discard(sequence.id)

    def interrupt(self, sequence: Sequence) -> None:
        if any(seated is sequence for seated in self._seated.values()):
            self._leaving.add(sequence.id)

    async def embed(self, call: Embed) -> Embeddings:
        """Bags of hashed words: texts that share words are near each other."""
        self._need_open()
        width = EMBEDDING_WIDTH if call.dimensions is None else call.dimensions
        if width < 1:
            raise BadRequest(f"`dimensions` is {width}.", "Use at least 1.", param="dimensions")
        texts = [item if isinstance(item, str) else " ".join(map(str, item)) for item in call.inputs]
        tokens = sum(len(_words(text)) for text in texts)
        return Embeddings(
            model=self.models[0],
            vectors=tuple(_vector(text, width) for text in texts),
            usage=Usage(prompt_tokens=tokens),
        )

    def _part(self, sequence: Sequence) -> Part:
        """What the sequence has to say: asked at its first stay, kept for the others."""
        if sequence.state is None:
            sequence.prefilled = len(sequence.tokens)
            sequence.state = _perform(sequence, self._script(sequence.call, sequence.choice))
        return sequence.state

    def _need_open(self) -> None:
        if not self._open:
            raise CoreUnavailable(f"Core {self.name} is not running.", "Start the kernel again.")


def echo(call: Generate, choice: int) -> Answer:
    """The default script: the last user message or the prompt again. Where the call asks for a form, the least
    that has it: a call of the tool it must call, or the smallest JSON its schema allows."""
    if call.tool_choice == "required" or call.tool_choice.startswith("="):
        named = call.tool_choice.removeprefix("=")
        tools = [tool.function for tool in call.tools]
        tool = next((tool for tool in tools if tool.name == named), tools[0])
        return (FunctionCall(name=tool.name, arguments=json.dumps(least(tool.parameters or OBJECT))),)
    if call.response_format.type in ("json_object", "json_schema"):
        return json.dumps(least(call.response_format.schema or OBJECT))
    if call.prompt is not None:
        return call.prompt if isinstance(call.prompt, str) else " ".join(map(str, call.prompt))
    return next((message.content or "" for message in reversed(call.messages) if message.role == "user"), "")


def least(schema: Mapping[str, Any]) -> Any:
    """A small value that a plain JSON schema allows (no `$ref`, `pattern` or `allOf`)."""
    if "const" in schema:
        return schema["const"]
    if "enum" in schema:
        return schema["enum"][0]
    for either in ("anyOf", "oneOf"):
        if either in schema:
            return least(schema[either][0])
    kind: str | list[str] = schema.get("type", "object" if "properties" in schema else "null")
    match kind if isinstance(kind, str) else kind[0]:
        case "object":
            properties = schema.get("properties", {})
            return {name: least(properties.get(name, {})) for name in schema.get("required", ())}
        case "array":
            return [least(schema.get("items", {}))] * schema.get("minItems", 0)
        case "string":
            return "x" * schema.get("minLength", 0)
        case "integer" | "number":
            return schema.get("minimum", 0)
        case "boolean":
            return False
        case _:
            return None


def _check(call: Generate) -> None:
    names = [tool.function.name for tool in call.tools]
    wanted = call.tool_choice
    if not call.messages and call.prompt is None:
        raise BadRequest("There is neither a message nor a prompt.", "Send `messages`.", param="messages")
    if call.n < 1:
        raise BadRequest(f"`n` is {call.n}.", "Use at least 1.", param="n")
    if wanted == "required" and not names:
        raise BadRequest("A tool is required and there are none.", "Send `tools`.", param="tool_choice")
    if wanted.startswith("=") and wanted[1:] not in names:
        raise BadRequest(
            f"`tool_choice` names {wanted[1:]!r}.", f"Tools: {', '.join(names)}.", param="tool_choice"
        )
    if wanted not in ("auto", "none", "required") and not wanted.startswith("="):
        raise BadRequest(f"`tool_choice` is {wanted!r}.", "Use auto, none or required.", param="tool_choice")
    if call.response_format.type in ("grammar", "regex"):
        mend = "Use json_schema, or a llama core."
        raise BadRequest("A scripted core follows no grammar.", mend, param="response_format")


def _perform(sequence: Sequence, answer: Answer) -> Part:
    """Cut the answer at stop strings and into words, and the words at `max_tokens`."""
    call, choice = sequence.call, sequence.choice
    if isinstance(answer, AiosError):
        raise answer
    if isinstance(answer, str):
        ends = [at for at in (answer.find(stop) for stop in call.stop if stop) if at >= 0]
        words = _words(answer[: min(ends, default=None)])
        deltas = [Delta(choice=choice, content=word, logprobs=_logprobs(call, word)) for word in words]
    else:
        deltas = [
            Delta(choice=choice, tool_calls=(piece,))
            for i, function in enumerate(answer)
            for piece in _pieces(i, f"call_{sequence.id}_{i}", function)
        ]
    reason: FinishReason = "stop" if isinstance(answer, str) else "tool_calls"
    if call.max_tokens is not None and len(deltas) > call.max_tokens:
        return Part(deltas[: call.max_tokens], "length")
    return Part(deltas, reason)


def _pieces(index: int, id: str, function: FunctionCall) -> list[ToolCallDelta]:
    first, *rest = _words(function.arguments) or [""]
    return [
        ToolCallDelta(index=index, id=id, name=function.name, arguments=first),
        *(ToolCallDelta(index=index, arguments=word) for word in rest),
    ]


def _logprobs(call: Generate, word: str) -> tuple[TokenLogprob, ...]:
    """A script is certain of each word."""
    if call.logprobs is None:
        return ()
    chosen = TokenLogprob(token=word, logprob=0.0, bytes=tuple(word.encode()))
    rivals = (chosen,) if call.logprobs else ()
    return (TokenLogprob(token=word, logprob=0.0, bytes=chosen.bytes, top=rivals),)


def _prompt_tokens(call: Generate) -> list[int]:
    if isinstance(call.prompt, tuple):
        return list(call.prompt)
    texts = [message.content or "" for message in call.messages] if call.prompt is None else [call.prompt]
    return [_token(word) for text in texts for word in _words(text)]


def _text_of(delta: Delta) -> str:
    return delta.content + "".join(piece.arguments for piece in delta.tool_calls)


def _words(text: str) -> list[str]:
    """Pieces that together are the text again."""
    return re.findall(r"\s*\S+|\s+$", text)


def _token(word: str) -> int:
    return zlib.crc32(word.encode())


def _vector(text: str, width: int) -> tuple[float, ...]:
    """The hashing trick (Weinberger et al. 2009): each word counts at a hashed place with a hashed sign."""
    vector = [0.0] * width
    for word in text.lower().split():
        token = _token(word)
        vector[token % width] += 1.0 if token & 0x8000_0000 else -1.0
    length = math.hypot(*vector)
    if not length:
        vector[0] = length = 1.0
    return tuple(x / length for x in vector)
