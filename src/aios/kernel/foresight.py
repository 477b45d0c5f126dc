"""What is known of the time to come: declared plans, and how long tools keep agents away."""

from __future__ import annotations

import time
from collections.abc import Sequence

from aios.kernel.pcb import Process
from aios.kernel.plans import PlanBook, ToolGaps
from aios.scheduler.ticket import Ticket
from aios.syscalls import Completion, Generate, PlanStep


class Foresight:
    """Tells the scheduler what is left of a program, and the contexts when its next call is to be expected."""

    def __init__(self) -> None:
        self._plans, self._gaps = PlanBook(), ToolGaps()

    def declare(self, process: Process, steps: Sequence[PlanStep]) -> None:
        """What the program of `process` will do. Raises BadRequest."""
        self._plans.declare(process.program, steps)

    def came(self, process: Process, call: Generate, ticket: Ticket) -> str:
        """A call came: write on its ticket what is known. Returns which step of its program's plan it is."""
        self._gaps.came(process.pid, ticket.arrival)
        step = self._plans.step_of(process.program, call.step)
        self._plans.began(process.program, step, ticket.call_id)
        outlook = self._plans.outlook(process.program, step)
        ticket.path, ticket.ahead = outlook.path, outlook.ahead
        ticket.gap_s = self._gaps.usual(process.pid) if outlook.gap_s is None else outlook.gap_s
        return step

    def went(self, process: Process, step: str, result: Completion) -> float | None:
        """A call is done: seconds until the next one of its process, if that is known."""
        self._plans.did(process.program, step)
        declared = self._plans.outlook(process.program, step).gap_s
        tools = tuple([tool.function.name for choice in result.choices for tool in choice.tool_calls])
        learned = self._gaps.called(process.pid, tools, time.monotonic()) if tools else None
        return learned if declared is None else declared

    def left(self, process: Process, step: str, call: int) -> None:
        """A call is over, whatever became of it: nobody is at its step for it."""
        self._plans.left(process.program, step, call)

    def forget(self, process: Process) -> None:
        """The process is gone."""
        self._gaps.forget(process.pid)
        if process.program == f"p{process.pid}":
            self._plans.forget(process.program)
