"""One llm call while it is inside the kernel."""

from __future__ import annotations

import time
from dataclasses import dataclass

from aios.kernel.active import Active
from aios.kernel.admission import Admission
from aios.kernel.limits import Charge
from aios.kernel.once import Claim
from aios.kernel.pcb import Process
from aios.kernel.records import Entry
from aios.scheduler.ticket import Ticket


@dataclass(slots=True)
class Visit:
    """An llm call inside the kernel. `step`: of its program's plan. `entry`: as it is journalled, from when it
    is."""

    process: Process
    active: Active
    ticket: Ticket
    wanted: Claim | None
    step: str = ""
    admission: Admission | None = None
    entry: Entry | None = None

    def begin(self) -> Entry:
        """It is to be journalled as begun."""
        wanted, active = self.wanted, self.active
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


@dataclass(frozen=True, slots=True)
class Past:
    """What a call that was open in a crash has from before."""

    entry: Entry
    charge: Charge
