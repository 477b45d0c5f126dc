"""What the kernel asks a model for on behalf of a process: summaries, thoughts about its notes."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import msgspec

from aios.kernel.groups import GroupTable
from aios.kernel.process import ProcessTable
from aios.syscalls import Completion, Generate


class Aside:
    """Makes such calls by `trap`, as calls of the process: it pays for them. They are less urgent than what it
    asks for itself."""

    def __init__(
        self,
        trap: Callable[[int, Generate], Awaitable[Completion]],
        processes: ProcessTable,
        groups: GroupTable,
    ) -> None:
        self._trap, self._processes, self._groups = trap, processes, groups

    async def __call__(self, pid: int, call: Generate) -> Completion:
        """Raises what the call raises."""
        process = self._processes.get(pid)
        urgency = self._groups.aside(process.group, process.scheduling_class)
        return await self._trap(pid, msgspec.structs.replace(call, scheduling_class=urgency))
