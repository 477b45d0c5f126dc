"""What to leave out of a conversation that has outgrown the model's window. Pure.

Cuts are made only between *units*: a message, or a message that calls tools with all their results. The leading
system messages and the newest unit always stay.

Where to cut does not depend on how long the conversation is by now: the possible cuts are those units at which
another `stride` characters of history have passed. So a conversation that grows is cut at the same place for
many turns, its prompt extends the one before, and its KV is reused; only once in a while the next cut is
taken."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from aios.syscalls import Message

SYSTEM = ("system", "developer")
RESULT = ("tool", "function")


@dataclass(frozen=True, slots=True)
class Conversation:
    """`head`: the leading system messages. `units`: the rest, in order, each of which stays or goes whole."""

    head: tuple[Message, ...]
    units: tuple[tuple[Message, ...], ...]

    @classmethod
    def of(cls, messages: Sequence[Message]) -> Conversation:
        start = next((i for i, m in enumerate(messages) if m.role not in SYSTEM), len(messages))
        units: list[list[Message]] = []
        for message in messages[start:]:
            if message.role in RESULT and units:
                units[-1].append(message)
            else:
                units.append([message])
        return cls(tuple(messages[:start]), tuple(map(tuple, units)))

    def cuts(self, stride: int) -> list[int]:
        """Numbers of units that may be left out, ascending: for each `stride` characters of history the first
        unit at which they have passed; last, all but the newest."""
        found: list[int] = []
        passed, wanted = 0, stride
        for number, unit in enumerate(self.units[:-1], 1):
            passed += sum(map(size, unit))
            if passed >= wanted:
                found.append(number)
                wanted = passed - passed % stride + stride
        last = len(self.units) - 1
        return found if last < 1 or (found and found[-1] == last) else [*found, last]

    def after(self, cut: int, *, instead: Message | None = None) -> tuple[Message, ...]:
        """The messages without the first `cut` units, with `instead` in their place."""
        kept = [message for unit in self.units[cut:] for message in unit]
        return (*self.head, *((instead,) if instead else ()), *kept)

    def between(self, start: int, end: int) -> tuple[Message, ...]:
        """The messages of the units from `start` to `end`."""
        return tuple(message for unit in self.units[start:end] for message in unit)


def size(message: Message) -> int:
    """Characters of a message, its calls among them."""
    calls = sum(len(call.function.name) + len(call.function.arguments) for call in message.tool_calls)
    return len(message.content or "") + calls
