"""The tool.* syscalls: admitted and charged like any call, journalled by the effect of their tool, run by the
tool manager.

`pure` is recorded as it goes, like a call of a model. What may have an effect is on disk as started before it
runs: after a crash `idempotent` runs again if somebody can ask for its answer, `local` and `opaque` never do,
they are in doubt and a person decides. The kernel's own tools that change something are `idempotent`: their
syscalls have keys that follow from the call's.
"""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Protocol

import msgspec

from aios.access.decision import Facts
from aios.access.keys import ADMIN_GROUP
from aios.errors import Forbidden
from aios.kernel.admission import Admission
from aios.kernel.ending import Ending
from aios.kernel.guard import Guard
from aios.kernel.journal import Journal
from aios.kernel.limits import Charge
from aios.kernel.once import Claim, Once, Output, claim, last
from aios.kernel.pcb import Process
from aios.kernel.pool import Pool
from aios.kernel.process import ProcessTable
from aios.kernel.records import AGAIN, Effect, Entry, encode
from aios.kernel.tooling import Toolbox, folder_of
from aios.kernel.visit import Past, Visit
from aios.kernel.wanted import plain
from aios.syscalls import FunctionCall, ToolCall
from aios.syscalls.tools import (
    KERNEL,
    AddTools,
    CallTool,
    ListTools,
    RemoveTools,
    Tool,
    ToolList,
    ToolResult,
    ToolSyscall,
)
from aios.tools.tool import Caller


class Door(Protocol):
    """How calls come in and leave: the dispatcher's part."""

    def enter(
        self, process: Process, call: ToolSyscall, wanted: Claim | None = None, past: Past | None = None
    ) -> Visit: ...

    async def admit(self, visit: Visit) -> Admission: ...

    def leave(self, visit: Visit, error: str) -> None: ...


class ToolCalls:
    """Carries out tool calls. `work`: where the folders of agents are."""

    def __init__(
        self, toolbox: Toolbox, door: Door, processes: ProcessTable, pool: Pool, journal: Journal, once: Once,
        guard: Guard, *, work: Path,
    ) -> None:  # fmt: skip
        self._toolbox, self._tools = toolbox, toolbox.manager
        self._door, self._processes, self._pool = door, processes, pool
        self._journal, self._once, self._guard, self._work = journal, once, guard, work
        self._back: dict[int, float] = {}
        """When the processes whose tools run are expected to go on."""

    async def call(self, process: Process, call: CallTool) -> ToolResult:
        """Raises what the manager raises, LimitExceeded, and JournalUnavailable: then it did not run."""
        if call.idempotency_key is None:
            return await self._run(process, call)
        wanted = claim(process.agent, call.idempotency_key, call)
        outputs = self._once.outputs(wanted, lambda: self._outputs(process, call, wanted), cancellable=False)
        return await last(outputs, ToolResult)

    def rerun(self, process: Process, entry: Entry) -> bool:
        """A call of before a crash, if it may run again and somebody can ask for its answer."""
        if entry.effect not in AGAIN or entry.key is None or entry.request is None:
            return False
        try:
            call = msgspec.json.decode(entry.request, type=CallTool)
        except msgspec.MsgspecError:
            return False
        wanted = Claim(entry.agent, entry.key, entry.digest, entry.request)
        timeless = msgspec.structs.replace(call, deadline_s=None)
        past = Past(entry, Charge(process.budget, admitted=True))
        self._once.rerun(wanted, lambda: self._outputs(process, timeless, wanted, past))
        return True

    async def list(self, process: Process, call: ListTools) -> ToolList:
        if call.name:
            return ToolList(tools=(await self._tools.show(call.name),))
        return ToolList(tools=await self._tools.list())

    async def add(self, process: Process, call: AddTools) -> ToolList:
        """Raises Forbidden, Conflict (the name is taken), ConfigError, ToolUnavailable."""
        return await self._manage(process, call, lambda: self._toolbox.add(call.source))

    async def remove(self, process: Process, call: RemoveTools) -> ToolList:
        """Raises Forbidden, NotFound."""
        return await self._manage(process, call, lambda: self._toolbox.remove(call.name))

    def forget(self, process: Process) -> None:
        """The process is gone: end the boxes and pages of its agent, unless another process is the same
        agent."""
        agent = process.agent
        if self._tools.holds(agent) and all(other.agent != agent for other in self._processes.live()):
            self._tools.release(agent)
        if process.program == f"p{process.pid}":
            self._tools.retire(process.program)

    # -- inside ------------------------------------------------------------------------------------

    async def _outputs(
        self, process: Process, call: CallTool, wanted: Claim, past: Past | None = None
    ) -> AsyncGenerator[Output, None]:
        yield await self._run(process, call, wanted, past)

    async def _run(
        self, process: Process, call: CallTool, wanted: Claim | None = None, past: Past | None = None
    ) -> ToolResult:
        """A tool of the kernel's own is some syscalls of its caller: these are admitted, or it would wait for
        its own place; and what they keep, they keep with handles and not with secrets."""
        visit = self._door.enter(process, call, wanted, past)
        with Ending(partial(self._left, visit)):
            with visit.active:
                tool = await self._tools.show(call.name)
                facts = facts_of(tool)
                await visit.permit(self._guard, call, facts)
                given = plain(call.arguments)
                if tool.provider == KERNEL:
                    visit.active.counts = False  # its syscalls are counted
                    await self._processes.going(process)
                else:
                    given = self._guard.vault.inject(given, self._guard.subject(process))
                    admission = await self._door.admit(visit)
                    await self._processes.going(process)
                    await admission.hold_cost(tool.cost)
                await self._begin(visit, tool.effect, call)
            self._away(process.pid, call.name)
            self._processes.seat(process, visit.active)
            text = given if isinstance(given, str) else msgspec.json.encode(given).decode()
            function = FunctionCall(name=call.name, arguments=text)
            asked, began = ToolCall(id=call.id, function=function), time.monotonic()
            try:
                with visit.active:
                    result = await self._tools.call(asked, self._caller(visit))
            finally:  # of one that fails the wait for its turn counts too
                visit.ticket.run_s = time.monotonic() - began
            result = self._guard.redactor.value(result)
            self._guard.saw(process, facts)
            visit.ticket.queue_s, visit.ticket.run_s = result.waited_s, result.run_s
            visit.stored = encode(result) if wanted is not None else None
            return result

    def _left(self, visit: Visit, error: str) -> None:
        self._back.pop(visit.process.pid, None)
        self._door.leave(visit, error)

    async def _manage(
        self, process: Process, call: AddTools | RemoveTools, work: Callable[[], Awaitable[ToolList]]
    ) -> ToolList:
        visit = self._door.enter(process, call)
        with Ending(partial(self._door.leave, visit)):
            if process.group != ADMIN_GROUP:
                mend = f"It takes a process of group {ADMIN_GROUP!r}."
                self._guard.note(process, visit.active.kind, f"tool:{_named(call)}", "deny", mend)
                raise Forbidden(f"Process {process.pid} may not change what tools there are.", mend)
            with visit.active:
                await visit.permit(self._guard, call)
                await self._door.admit(visit)
                await self._begin(visit, "idempotent", call)
                return await work()

    async def _begin(self, visit: Visit, effect: Effect, call: ToolSyscall) -> None:
        """Journal it as begun: before anything runs, if it may have an effect."""
        entry = visit.begin()
        if entry.effect == "none":  # new, or parked until now
            entry = msgspec.structs.replace(entry, effect=effect)
        if effect == "pure":
            self._journal.record(entry, visit.decided)
        else:
            visit.entry = None  # it has not begun if this can't be written
            entry = msgspec.structs.replace(entry, request=entry.request or encode(call))
            await self._journal.commit(entry, (), lambda durable: None, visit.decided)
        visit.entry = entry

    def _away(self, pid: int, tool: str) -> None:
        """The agent is away for as long as the longest of its tools is expected to take."""
        expected = self._tools.expected_s(tool)
        if expected is not None:
            now = time.monotonic()
            self._back[pid] = max(self._back.get(pid, now), now + expected)
            self._pool.away(pid, self._back[pid] - now)

    def _caller(self, visit: Visit) -> Caller:
        process, ticket = visit.process, visit.ticket
        return Caller(
            agent=process.agent, folder=str(folder_of(self._work, process.agent)), pid=process.pid,
            program=ticket.program, kind=ticket.kind, group=ticket.group, nice=ticket.nice,
            scheduling_class=ticket.scheduling_class, weight=ticket.weight,
            key=visit.wanted.key if visit.wanted else "",
        )  # fmt: skip


def _named(call: AddTools | RemoveTools) -> str:
    return call.source.name if isinstance(call, AddTools) else call.name


def facts_of(tool: Tool) -> Facts:
    """What access rules ask about a tool, from its flags."""
    flags = tool.flags
    return {
        "irreversible": flags.irreversible, "sink": flags.sends_out, "private": flags.reads_private,
        "untrusted": flags.returns_untrusted,
    }  # fmt: skip
