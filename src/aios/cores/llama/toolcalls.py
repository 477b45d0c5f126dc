"""Reading an answer as it comes: which text is content, which is tool calls."""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Callable
from typing import Any, NamedTuple

import msgspec

from aios.cores.llama.chat import Prompt
from aios.cores.llama.hermes import CLOSE, OPEN
from aios.cores.llama.text import held_length
from aios.syscalls import ToolCallDelta

_HEAD = re.compile(r'\s*\{\s*"name"\s*:\s*("(?:[^"\\]|\\.)*")\s*,\s*"arguments"\s*:\s*(?=\{)')
_MARKS = (f"\n{OPEN}", OPEN)
Deltas = tuple[ToolCallDelta, ...]


class _Call(msgspec.Struct):
    name: str
    arguments: dict[str, Any]


class Parsed(NamedTuple):
    content: str
    tool_calls: Deltas


class Finished(NamedTuple):
    """What was held back, and whether the answer was (or ended in) tool calls that are complete."""

    content: str
    tool_calls: Deltas
    called: bool


class AnswerParser:
    """Splits one answer into content and calls. How the text is cut into pieces changes nothing but the cut.

    Under a grammar a call is streamed: its id and name first, then its arguments as they come. Without one
    the text of a call is held until it is whole; text that turns out to be no call is content, never lost.
    The line break before a call belongs to the call."""

    def __init__(self, prompt: Prompt, new_id: Callable[[], str] = lambda: f"call_{secrets.token_hex(12)}"):
        self._reads_calls = prompt.calls
        self._new_id = new_id
        self._first: Callable[[], bool] = self._head if prompt.grammar else self._whole
        self._bare = Bare(prompt.bare) if prompt.bare and prompt.grammar else None
        self._state: Callable[[], bool] = self._start if self._bare else self._text
        self._buffer = ""
        self._break = ""
        self._calls = 0
        self._after: Callable[[], bool] = self._tail
        self._nesting = Nesting()
        self._content: list[str] = []
        self._deltas: list[ToolCallDelta] = []

    def push(self, text: str) -> Parsed:
        """Take the next piece; returns what is known to be content and pieces of calls."""
        if not self._reads_calls:
            return Parsed(text, ())
        self._buffer += text
        while self._buffer and self._state():
            pass
        return self._taken()

    def finish(self) -> Finished:
        """The answer is over."""
        rest, self._buffer = self._buffer, ""
        if self._state in (self._text, self._start):
            self._content.append("" if self._calls and rest.isspace() else rest)
        elif self._state in (self._tail, self._end):
            self._calls += 1
        elif self._state == self._head or (self._state == self._whole and not self._call(rest)):
            self._content.append(self._break + OPEN + rest)
        return Finished(*self._taken(), called=self._calls > 0)

    def _taken(self) -> Parsed:
        parsed = Parsed("".join(self._content), tuple(self._deltas))
        self._content, self._deltas = [], []
        return parsed

    # -- states: each takes what it can from the buffer; False: it needs more text --------------------

    def _start(self) -> bool:
        """At the beginning of an answer that may be a bare call."""
        if self._bare is None or not self._bare.possible(self._buffer):
            self._state = self._text
            return True
        found = self._bare.head.match(self._buffer)
        if not found:
            return False
        self._open(found[1], found.end())
        self._after = self._end
        return True

    def _text(self) -> bool:
        before, mark, after = self._buffer.partition(OPEN)
        if not mark:
            keep = held_length(self._buffer, _MARKS)
            self._content.append(self._buffer[: len(self._buffer) - keep])
            self._buffer = self._buffer[len(self._buffer) - keep :]
            return False
        self._break = "\n" if before.endswith("\n") else ""
        self._content.append(before.removesuffix("\n"))
        self._buffer = after
        self._state = self._first
        return True

    def _head(self) -> bool:
        found = _HEAD.match(self._buffer)
        if not found:
            return False
        self._open(json.loads(found[1]), found.end())
        return True

    def _open(self, name: str, size: int) -> None:
        """A call began in the first `size` characters of the buffer; its arguments follow."""
        self._deltas.append(ToolCallDelta(index=self._calls, id=self._new_id(), name=name))
        self._buffer = self._buffer[size:]
        self._nesting = Nesting()
        self._state = self._arguments

    def _arguments(self) -> bool:
        size = self._nesting.take(self._buffer)
        self._deltas.append(ToolCallDelta(index=self._calls, arguments=self._buffer[:size]))
        self._buffer = self._buffer[size:]
        if self._nesting.depth:
            return False
        self._state = self._after
        return True

    def _end(self) -> bool:
        """After a bare call: only its closing bracket and fence."""
        self._buffer = ""
        return False

    def _tail(self) -> bool:
        _, mark, after = self._buffer.partition(CLOSE)
        if not mark:
            return False
        self._calls += 1
        self._buffer = after
        self._state = self._text
        return True

    def _whole(self) -> bool:
        inside, mark, after = self._buffer.partition(CLOSE)
        if not mark:
            return False
        if not self._call(inside):
            self._content.append(self._break + OPEN + inside + CLOSE)
        self._buffer = after
        self._state = self._text
        return True

    def _call(self, text: str) -> bool:
        """Take `text` as one whole call, if it is one."""
        try:
            call = msgspec.json.decode(text, type=_Call)
        except (msgspec.DecodeError, RecursionError):
            return False
        written = json.dumps(call.arguments, ensure_ascii=False)
        self._deltas.append(
            ToolCallDelta(index=self._calls, id=self._new_id(), name=call.name, arguments=written)
        )
        self._calls += 1
        return True


class Bare:
    """Recognises the beginning of an answer that is nothing but the JSON of a call of one of `names`."""

    def __init__(self, names: tuple[str, ...]) -> None:
        known = "|".join(map(re.escape, names))
        self.head = re.compile(rf'\s*(?:```(?:json)?\s*)?\{{\s*"name":\s*"({known})",\s*"arguments":\s*(?=\{{)')
        self._heads = [f'{f}{{"name":"{n}","arguments":{{' for f in ("", "```", "```json") for n in names]

    def possible(self, text: str) -> bool:
        """Whether `text` is, or may still become, such a beginning."""
        bare = re.sub(r"\s", "", text)
        return any(head.startswith(bare) for head in self._heads) or bool(self.head.match(text))


class Nesting:
    """Follows the brackets of a JSON text up to the end of its first value. `depth` is 0 there."""

    def __init__(self) -> None:
        self.depth = 0
        self._quoted = False
        self._escaped = False

    def take(self, text: str) -> int:
        """Read on; returns how many characters of `text` belong to the value."""
        for i, char in enumerate(text):
            if self._quoted:
                if self._escaped:
                    self._escaped = False
                elif char == "\\":
                    self._escaped = True
                elif char == '"':
                    self._quoted = False
            elif char == '"':
                self._quoted = True
            elif char in "{[":
                self.depth += 1
            elif char in "}]":
                self.depth -= 1
                if self.depth == 0:
                    return i + 1
        return len(text)
