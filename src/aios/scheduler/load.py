"""What comes to a simulated kernel: programs, their calls, and what became of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from aios.syscalls import SchedulingClass

Oracle = Literal["", "call", "program"]


@dataclass(frozen=True, slots=True)
class Call:
    """One llm call. Its prompt is the first `keep` tokens of the program's context (None: all of it, the
    answers included) and `fresh` new ones; it generates `output`, of at most `limit` that it asks for; the next
    call comes `gap_s` seconds after its end."""

    fresh: int
    output: int
    gap_s: float = 0.0
    keep: int | None = None
    limit: int | None = None


@dataclass(slots=True, eq=False)
class Session:
    """A program: its calls one after the other, from `arrival` on. The first `shared` tokens of its first
    prompt are those of all sessions of one `family`. `oracle`: what the policy is told of the future: the
    tokens of each `call`, the work that is left of the whole `program`, or nothing but predictions; the first
    two tell the gap after each call too. `policy`: that it chose, "" the core's.

    The rest is what became of it. Times are seconds of the clock, counts are tokens."""

    pid: int
    calls: Sequence[Call]
    arrival: float = 0.0
    group: str = "default"
    scheduling_class: SchedulingClass = "normal"
    nice: int = 0
    weight: float = 1.0
    policy: str = ""
    kind: str = "agent"
    shared: int = 0
    family: int = 0
    oracle: Oracle = ""
    done: float = -1.0
    context: int = 0
    """Of its newest call: prompt and answer."""
    waits: list[float] = field(default_factory=list[float])
    """Of each call: ready without a slot, over all its waits."""
    longest_wait: float = 0.0
    """The longest single one."""
    prompted: int = 0
    """All its prompts."""
    computed: int = 0
    """Prompt tokens (and, after an interrupt, generated ones) that were prefilled."""
    generated: int = 0

    @property
    def call(self) -> Call:
        """The one that waits, runs or comes next."""
        return self.calls[len(self.waits)]

    @property
    def over(self) -> bool:
        return len(self.waits) == len(self.calls)

    def gap_s(self) -> float | None:
        """Seconds from the end of its call to the next one, if an oracle says it and one comes."""
        last = len(self.waits) + 1 == len(self.calls)
        return None if last or not self.oracle else self.call.gap_s

    def ahead(self) -> float:
        """Tokens of work left, if nothing is lost: what an oracle knows."""
        return float(sum(call.fresh + call.output for call in self.calls[len(self.waits) :]))
