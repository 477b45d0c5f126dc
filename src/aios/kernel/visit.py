"""One call of a model or a tool while it is inside the kernel."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Callable

import msgspec

from aios.access.audit import Audited
from aios.access.decision import Facts
from aios.cores.core import Step
from aios.errors import Cancelled, Draining
from aios.kernel.active import Active
from aios.kernel.admission import Admission
from aios.kernel.completion import Answer
from aios.kernel.guard import Guard
from aios.kernel.limits import Charge
from aios.kernel.once import Claim
from aios.kernel.pcb import Process
from aios.kernel.pool import Member
from aios.kernel.records import Entry
from aios.scheduler.ticket import Ticket
from aios.syscalls import Generate, Syscall, Usage

STOPPED = (Cancelled.code, Draining.code)
"""What ends a parked call without an answer: the question stays, and so does the call."""


class Visit(msgspec.Struct, eq=False):
    """A call inside the kernel. `parked`: a person is asked. `step`: of its program's plan. `decided`: what
    let it in. `entry`: as it is journalled, from when it is. `begun`: nothing keeps it from its core
    or tool any more. `used()`: tokens, so far. `stored`: its result, if
    somebody may ask for it again."""

    process: Process
    active: Active
    ticket: Ticket
    wanted: Claim | None
    parked: bool = False
    step: str = ""
    decided: Audited | None = None
    admission: Admission | None = None
    entry: Entry | None = None
    begun: bool = False
    used: Callable[[], Usage] = Usage
    stored: msgspec.Raw | None = None

    async def permit(self, guard: Guard, call: Syscall, facts: Facts | None = None) -> None:
        """Raises Forbidden; waits where a person is asked."""
        park = self.park if self.wanted is not None else None
        self.decided = await guard.admit(self.process, call, id=self.active.id, facts=facts, park=park)
        self.parked = False

    def park(self) -> Entry:
        """It is to be journalled as waiting for a person: if the kernel ends meanwhile, the next one asks
        again."""
        self.parked = True
        return self._journalled()

    def begin(self) -> Entry:
        """It is to be journalled as begun."""
        self.begun = True
        return self._journalled()

    def settle(self) -> None:
        """It is over: give back what it holds of limits, and its place on the way to a core."""
        if self.ticket.coming is not None:
            self.ticket.coming.give_up()
        if self.admission is not None:
            self.admission.settle(self.used(), began=self.begun and self.entry is not None)

    def _journalled(self) -> Entry:
        wanted, active = self.wanted, self.active
        if self.entry is not None:
            return self.entry
        self.entry = Entry(
            id=active.id,
            pid=self.process.pid,
            agent=self.process.agent,
            kind=active.kind,
            key=wanted.key if wanted else None,
            digest=wanted.digest if wanted else "",
            request=wanted.request if wanted else None,
            started=time.time(),
        )
        return self.entry


def over(entry: Entry, error: str, result: msgspec.Raw | None) -> Entry:
    """As it is journalled when it ended."""
    state = "failed" if error else "done"
    return msgspec.structs.replace(entry, state=state, error=error, result=result, finished=time.time())


def detail(call: Syscall) -> str:
    """What is told of a call besides its kind: the model or the tool it names."""
    return str(getattr(call, "model", "") or getattr(call, "name", ""))


class Begun(msgspec.Struct, frozen=True):
    """An llm call on its core: `call` as it is asked there, what comes back (`steps`), and what it makes."""

    call: Generate
    member: Member
    answer: Answer
    steps: AsyncGenerator[Step, None]


class Past(msgspec.Struct, frozen=True):
    """What a call that was open in a crash has from before."""

    entry: Entry
    charge: Charge
