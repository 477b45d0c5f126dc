"""Answers as they come."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Generator, Iterator
from contextlib import aclosing, closing
from types import TracebackType
from typing import Self

from aios.errors import Conflict, CoreProtocolError
from aios.sdk.answers import REASONS, ToldBody, ToldCall, ToldChoice, decoded, error_in_stream
from aios.syscalls import (
    Choice,
    Completion,
    Delta,
    FinishReason,
    FunctionCall,
    Timings,
    TokenLogprob,
    ToolCall,
    ToolCallDelta,
    Usage,
)


class EventLines:
    """Server-sent events from lines: `feed` a line, get the data of an event when one is complete."""

    def __init__(self) -> None:
        self._data: list[str] = []

    def feed(self, line: str) -> str | None:
        if line.startswith("data:"):
            self._data.append(line[5:].removeprefix(" "))
        elif not line and self._data:
            whole, self._data = "\n".join(self._data), []
            return whole
        return None


class Growing:
    """A choice of which not all has come."""

    def __init__(self, index: int) -> None:
        self._index = index
        self._text: list[str] = []
        self._calls: dict[int, tuple[str, str, list[str]]] = {}
        self._logprobs: list[TokenLogprob] = []
        self._reason: FinishReason = "stop"

    def add(self, told: ToldChoice, logprobs: tuple[TokenLogprob, ...]) -> None:
        said = told.said()
        self._text.append(said.content or "")
        self._logprobs += logprobs
        for piece in said.tool_calls or ():
            id, name, arguments = self._calls.get(piece.index, ("", "", []))
            arguments.append(piece.function.arguments or "")
            self._calls[piece.index] = (id or piece.id or "", name or piece.function.name or "", arguments)
        if told.finish_reason is not None:
            self._reason = REASONS.get(told.finish_reason, "stop")

    def choice(self) -> Choice:
        text = "".join(self._text)
        return Choice(
            index=self._index,
            content=text if text or not self._calls else None,
            tool_calls=tuple(
                ToolCall(id=id, function=FunctionCall(name=name, arguments="".join(arguments) or "{}"))
                for _, (id, name, arguments) in sorted(self._calls.items())
            ),
            finish_reason=self._reason,
            logprobs=tuple(self._logprobs),
        )


class Assembly:
    """Turns the events of a streamed completion into deltas, and puts them together again. No I/O."""

    def __init__(self) -> None:
        self._choices: dict[int, Growing] = {}
        self._head = ToldBody()
        self._usage = Usage()
        self._timings = Timings()
        self._ended = False

    def feed(self, data: str) -> Iterator[Delta]:
        """The deltas of one event. Raises what the kernel reports, CoreProtocolError."""
        if data == "[DONE]":
            self._ended = True
            return
        told = decoded(data, ToldBody)
        if told.error:
            raise error_in_stream(told.error)
        self._head = told
        if told.usage:
            self._usage = told.usage.usage()
            self._timings = told.timings or Timings()
        for choice in told.choices:
            logprobs = choice.rows()
            self._choices.setdefault(choice.index, Growing(choice.index)).add(choice, logprobs)
            if delta := _delta(choice, logprobs):
                yield delta

    def end(self) -> None:
        """Nothing more comes. Raises CoreProtocolError if that is too early."""
        if not self._ended:
            raise CoreProtocolError("The stream ended before the answer did.", "Send the call again.")

    @property
    def completion(self) -> Completion:
        """The whole answer. Raises Conflict before the end."""
        if not self._ended:
            raise Conflict("The answer has not come to its end.", "Read the stream first.")
        return Completion(
            id=self._head.id or "",
            model=self._head.model or "",
            created=self._head.created or 0,
            choices=tuple(growing.choice() for _, growing in sorted(self._choices.items())),
            usage=self._usage,
            timings=self._timings,
        )


class AsyncDeltas:
    """An answer as it comes: iterate it. Leaving early (`aclose`, or `async with`) cancels the call, down to
    its slot. After the end `completion` is the whole answer, with usage and timings."""

    def __init__(self, events: AsyncGenerator[str, None]) -> None:
        self._assembly = Assembly()
        self._deltas = self._read(events)

    @property
    def completion(self) -> Completion:
        """Raises Conflict before the end."""
        return self._assembly.completion

    async def aclose(self) -> None:
        await self._deltas.aclose()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Delta:
        return await anext(self._deltas)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    async def _read(self, events: AsyncGenerator[str, None]) -> AsyncGenerator[Delta, None]:
        async with aclosing(events):
            async for data in events:
                for delta in self._assembly.feed(data):
                    yield delta
        self._assembly.end()


class Deltas:
    """As AsyncDeltas, for `for` and `with`."""

    def __init__(self, events: Generator[str]) -> None:
        self._assembly = Assembly()
        self._deltas = self._read(events)

    @property
    def completion(self) -> Completion:
        """Raises Conflict before the end."""
        return self._assembly.completion

    def close(self) -> None:
        self._deltas.close()

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Delta:
        return next(self._deltas)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _read(self, events: Generator[str]) -> Generator[Delta]:
        with closing(events):
            for data in events:
                yield from self._assembly.feed(data)
        self._assembly.end()


def _delta(told: ToldChoice, logprobs: tuple[TokenLogprob, ...]) -> Delta | None:
    said = told.said()
    if not (said.content or said.tool_calls or logprobs):
        return None
    return Delta(
        choice=told.index,
        content=said.content or "",
        tool_calls=tuple(_piece(call) for call in said.tool_calls or ()),
        logprobs=logprobs,
    )


def _piece(told: ToldCall) -> ToolCallDelta:
    return ToolCallDelta(
        index=told.index, id=told.id, name=told.function.name, arguments=told.function.arguments or ""
    )
