"""One call's way through a scheduler."""

from __future__ import annotations

import asyncio
import re
import time
from functools import lru_cache
from typing import Literal, NamedTuple

import msgspec

from aios.cores.core import Sequence, Step
from aios.errors import AiosError, DeadlineExceeded
from aios.scheduler.backlog import Coming
from aios.scheduler.policy import Item
from aios.syscalls import SchedulingClass


class Ticket(msgspec.Struct):
    """Who asks, and how urgent it is; the scheduler writes down what became of it. `kind`: programs of one
    kind are expected to be of like size. `weight`: of its group. `policy`: the one it chose, "" the core's.
    `path`, `ahead` and `gap_s` as of `Item`. `coming`: it counts at the core to which it was sent, until it is
    there.

    Times are `time.monotonic()` seconds. `queue_s`: ready without a slot, over all waits; `run_s`: in a slot;
    `first_token`: when the first token came."""

    pid: int
    call_id: int
    program: str = ""
    kind: str = ""
    group: str = "default"
    scheduling_class: SchedulingClass = "normal"
    nice: int = 0
    weight: float = 1.0
    priority: int = 0
    policy: str = ""
    deadline: float | None = None
    path: float | None = None
    ahead: float | None = None
    gap_s: float | None = None
    arrival: float = msgspec.field(default_factory=time.monotonic)
    queue_s: float = 0.0
    run_s: float = 0.0
    interrupts: int = 0
    first_token: float | None = None
    coming: Coming | None = None


class Run(msgspec.Struct, eq=False):
    """One submitted sequence: its item in the policy, its task while it is in a slot, its unread steps and
    who waits for them. `prefilled`: tokens of prefill charged so far. `over`: it left its slot for good."""

    sequence: Sequence
    ticket: Ticket
    item: Item
    slot: int = -1
    prefilled: int = 0
    task: asyncio.Task[None] | None = None
    leaving: Literal["quantum", "pause", ""] = ""
    over: bool = False
    unread: list[Step | AiosError] = []
    reader: asyncio.Future[None] | None = None

    def hand(self, step: Step | AiosError) -> None:
        self.unread.append(step)
        if self.reader is not None and not self.reader.done():
            self.reader.set_result(None)

    def read(self) -> list[Step | AiosError]:
        """What came since it was read last."""
        steps, self.unread = self.unread, []
        return steps


class Standing(NamedTuple):
    """How the calls of a process stand with the policy: the worst `level` (0 is served first), and tokens of
    work `attained` by those under way."""

    level: int
    attained: int


@lru_cache(maxsize=65_536)
def kind_of(name: str) -> str:
    """What programs like the one called `name` are called: `agent-07` and `agent-12` are of one kind."""
    return re.sub(r"\d+", "#", name)


def too_late() -> DeadlineExceeded:
    return DeadlineExceeded(
        "The call's deadline passed before it was done.", "Give it more time, or ask for less."
    )
