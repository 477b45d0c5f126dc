"""One llm call while it is inside the kernel."""

from __future__ import annotations

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
    """An llm call inside the kernel. `entry`: as it is journalled, from when it is."""

    process: Process
    active: Active
    ticket: Ticket
    wanted: Claim | None
    admission: Admission | None = None
    entry: Entry | None = None


@dataclass(frozen=True, slots=True)
class Past:
    """What a call that was open in a crash has from before."""

    entry: Entry
    charge: Charge
