"""The process table: who there is, in what state, and who may do what to whom.

A process is `running` while a call of it holds a slot, `ready` while one waits, else `idle`; the scheduler's
events say which. All changes of state go through `_move` along `TRANSITIONS`, and are published.
"""

from __future__ import annotations

import itertools
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from typing import Literal

from aios.access.keys import ADMIN_GROUP
from aios.config import ProcessSettings
from aios.context.seating import Place
from aios.errors import Cancelled, Conflict, Forbidden, LimitExceeded, ProcessKilled
from aios.events import Dispatched, Event, EventBus, Finished, Interrupted, ProcessChanged
from aios.kernel.active import Active
from aios.kernel.limits import Budget, Charge
from aios.kernel.pcb import (
    TRANSITIONS,
    Process,
    account,
    callers,
    check_group,
    check_name,
    check_nice,
    is_its_own,
    unknown,
    within,
)
from aios.kernel.records import ProcessRow
from aios.scheduler.ticket import Standing
from aios.syscalls import Limits, ProcessInfo, ProcessState, SchedulingClass, Spawn, Timings, Usage

KERNEL = 1
"""Pid of the process that is the kernel itself."""
FEW = 16
"""Processes that an agent may have, with those below it, however few there may be in all."""
KEPT = 1000
"""So many processes that are gone stay in the table for `ps --all`."""


class ProcessTable:
    """All processes. `kv_of(pid)`: where its newest context is; `standings()`: how calls stand
    with the policies; `keep(process)`: its row is to be journalled;
    `gone(pid)`: its contexts can be dropped."""

    def __init__(
        self,
        settings: ProcessSettings,
        bus: EventBus,
        *,
        kv_of: Callable[[int], tuple[Place, int]],
        standings: Callable[[], Mapping[int, Standing]] = dict,
        keep: Callable[[Process], None],
        gone: Callable[[int], None],
    ) -> None:
        self._settings, self._bus = settings, bus
        self._kv_of, self._standings, self._keep, self._tell_gone = kv_of, standings, keep, gone
        self._pids = itertools.count(KERNEL + 1)
        self._live = 0
        self._accounts = Counter[tuple[str, str]]()
        self._kept: dict[int, None] = {}
        self._names: dict[tuple[str, str], dict[int, None]] = {}
        now = time.time()
        self._init = Process(
            KERNEL, "kernel", None, ADMIN_GROUP, "normal", 0, "kernel", Limits(), None, False, now, now
        )
        self._table: dict[int, Process] = {KERNEL: self._init}
        bus.listen(Dispatched, self._on_dispatched)
        bus.listen(Interrupted, self._on_interrupted)
        bus.listen(Finished, self._on_finished)

    # -- who there is ------------------------------------------------------------------------------

    def attach(self, name: str, *, group: str = "default", own: bool = False) -> int:
        """The pid of the live process that callers of that group reach by that name; it is made if there is
        none. `own`: none that somebody else made and gave that name, who could end it and say what it may.

        Raises LimitExceeded (too many processes), BadRequest (a name that is none)."""
        pids = self._names.get((name, group), ())
        pid = next((pid for pid in pids if not own or is_its_own(self._table[pid], group)), None)
        if pid is not None:
            self._table[pid].last_active = time.time()
            return pid
        limits = within(Limits(), self._settings.limits)
        process = self._make(self._init, name, group, "normal", 0, limits, program="", attached=True)
        self._save(process)
        self.announce(process)
        return process.pid

    def get(self, pid: int) -> Process:
        """Raises NotFound."""
        process = self._table.get(pid)
        if process is None:
            raise unknown(pid)
        return process

    def living(self, pid: int) -> Process:
        """Raises NotFound, Conflict (it is gone)."""
        process = self.get(pid)
        if process.gone:
            why = f" ({process.reason})" if process.reason else ""
            raise Conflict(f"Process {pid} has been {process.state}{why}.", "Make a new one.", param="pid")
        return process

    def alive(self, pid: int) -> bool:
        process = self._table.get(pid)
        return process is not None and not process.gone

    def info(self, pid: int) -> ProcessInfo:
        """Raises NotFound."""
        return self.get(pid).info(self._kv_of(pid), self._standings().get(pid))

    def list(self, all: bool = False) -> tuple[ProcessInfo, ...]:
        """By pid; `all`: with those that are gone, as far as they are kept."""
        found = sorted((p for p in self._table.values() if all or not p.gone), key=lambda p: p.pid)
        standings = self._standings()
        return tuple([p.info(self._kv_of(p.pid), standings.get(p.pid)) for p in found])

    def live(self) -> tuple[Process, ...]:
        """All live processes but the kernel's own."""
        return tuple([p for p in self._table.values() if not p.gone and p.pid != KERNEL])

    def subtree(self, process: Process) -> tuple[Process, ...]:
        """The live ones of `process` and its descendants, children first."""
        found, todo = list[Process](), [process]
        while todo:
            found.append(todo.pop())
            todo.extend(found[-1].children.values())
        return tuple([each for each in reversed(found) if not each.gone])

    # -- rights ------------------------------------------------------------------------------------

    def may_signal(self, actor: Process, target: Process) -> None:
        """A process may signal itself and its descendants; `admin` any but the kernel. Raises Forbidden."""
        if target.pid == KERNEL:
            raise Forbidden("Process 1 is the kernel.", "Stop the daemon instead (SIGTERM).", param="pid")
        if actor.group != ADMIN_GROUP and actor not in target.lineage():
            raise Forbidden(
                f"Process {actor.pid} may not signal process {target.pid}.",
                f"A process may signal itself and its descendants; others take group {ADMIN_GROUP!r}.",
                param="pid",
            )

    def spawn(self, parent: Process, call: Spawn) -> Process:
        """Make a child that has no right its parent lacks; `announce` or `discard` it next.

        Raises Forbidden, LimitExceeded, BadRequest."""
        group = call.group or (parent.group if parent.pid != KERNEL else "default")
        if not (parent.group in (ADMIN_GROUP, group) or group.startswith(f"{parent.group}/")):
            raise Forbidden(
                f"Group {group!r} is not below {parent.group!r}, the group of process {parent.pid}.",
                f"Name {parent.group!r} or a group below it ('{parent.group}/…').",
                param="group",
            )
        inherited = parent.program if parent.pid != KERNEL else ""
        child = self._make(
            parent, call.name, group, call.scheduling_class, check_nice(call.nice),
            within(parent.limits, call.limits), program=call.program or inherited, attached=False,
        )  # fmt: skip
        child.rights = call.rights
        return child

    # -- life --------------------------------------------------------------------------------------

    def announce(self, process: Process) -> None:
        """A new process can be heard of."""
        self._publish(process)

    def discard(self, process: Process) -> None:
        """A process that was made and not announced never was."""
        if not process.gone:
            self._leave(process)
            self._kept[process.pid] = None
        if process.pid in self._kept:
            self._evict(process.pid)

    def kill(self, process: Process, reason: str = "") -> None:
        """Kill a process and its descendants: their calls fail with ProcessKilled. Harmless if it is gone."""
        for each in self.subtree(process):
            self._end(each, "killed", reason)

    def exit(self, process: Process, status: int = 0, reason: str = "") -> None:
        """The process is done; its children go on. Harmless if it is gone."""
        if not process.gone:
            process.exit_status = status
            self._end(process, "exited", reason)

    def pause(self, process: Process, reason: str = "") -> None:
        if not process.gone and process.state != "paused":
            self._move(process, "paused", reason)
            process.resumed.clear()
            self._save(process)

    def resume(self, process: Process) -> None:
        if process.state == "paused":
            self._move(process, process.state_by_calls())
            process.resumed.set()
            self._save(process)

    def nice(self, process: Process, nice: int) -> None:
        process.nice = nice
        self._save(process)

    def reap(self, now: float) -> None:
        """End the processes that a caller's name made and that made no call for `idle_ttl_s`. `now`: Unix
        time, seconds."""
        ttl = self._settings.idle_ttl_s
        for process in self.live() if ttl > 0 else ():
            idle = process.attached and process.state == "idle" and not process.calls
            if idle and now - process.last_active > ttl and len(self.subtree(process)) == 1:
                self.exit(process, reason="idle")

    # -- calls -------------------------------------------------------------------------------------

    def begin(self, process: Process, call: Active) -> None:
        """A call came in and waits."""
        process.calls[call.id] = call
        process.last_active = time.time()
        self._count(process, call, waiting=1)

    def expect(self, process: Process, call: Active, sequences: int) -> None:
        """The call turned out to be so many sequences; all of them wait."""
        self._count(process, call, waiting=sequences - call.waiting)

    def seat(self, process: Process, call: Active) -> None:
        """One sequence of the call got its slot."""
        self._count(process, call, waiting=-1, seated=1)

    def finish(self, process: Process, call: Active, usage: Usage, timings: Timings, *, failed: bool) -> None:
        """The call is over, and used so much."""
        self._count(process, call, waiting=-call.waiting, seated=-call.seated)
        del process.calls[call.id]
        process.last_active = time.time()
        if call.counts:
            self.used(process, usage, timings, failed=failed)

    def used(self, process: Process, usage: Usage, timings: Timings, *, failed: bool) -> None:
        """Count one more call, and keep what it and those above it were charged."""
        process.add_usage(usage, timings, failed=failed)
        for each in process.lineage():
            if each is process or (each.budget is not None and each.budget.pid == each.pid):
                self._save(each)

    def lost_call(self, pid: int) -> None:
        """A call of an earlier kernel is lost. It counts."""
        process = self._table.get(pid)
        if process is not None:
            Charge(process.budget, admitted=True).settle(calls=1, tokens=0)
            self.used(process, Usage(), Timings(), failed=True)

    async def going(self, process: Process) -> None:
        """Wait while the process is paused."""
        while process.state == "paused":
            await process.resumed.wait()

    def _on_dispatched(self, event: Dispatched) -> None:
        if concerned := self._concerned(event):
            self.seat(*concerned)

    def _on_interrupted(self, event: Interrupted) -> None:
        if concerned := self._concerned(event):
            concerned[1].since = time.monotonic()
            self._count(*concerned, waiting=1, seated=-1)

    def _on_finished(self, event: Finished) -> None:
        if concerned := self._concerned(event):
            self._count(*concerned, seated=-1)

    def _concerned(self, event: Event) -> tuple[Process, Active] | None:
        """Whom an event of the scheduler is about: nobody if the call is over and its slot is being cleared."""
        process = self._table.get(event.pid)
        call = process.calls.get(event.call) if process is not None else None
        return None if process is None or call is None else (process, call)

    def _count(self, process: Process, call: Active, waiting: int = 0, seated: int = 0) -> None:
        call.waiting += waiting
        call.seated += seated
        process.waiting += waiting
        process.seated += seated
        state = process.state_by_calls()
        if process.state != state and process.state in ("idle", "ready", "running"):
            self._move(process, state)

    # -- the journal's -----------------------------------------------------------------------------

    def restore(self, rows: Iterable[ProcessRow], next_pid: int) -> None:
        """Take over what a kernel before this one left. Nothing runs; what was paused still is.

        A process that a caller's name made has the limits that the settings give such processes now."""
        self._pids = itertools.count(max(next_pid, KERNEL + 1))
        for row in sorted(rows, key=lambda row: row.info.pid):
            info = row.info
            limits = self._settings.limits if row.attached else info.limits
            parent = self._table.get(info.parent, self._init)
            charged = (row.charged_calls, row.charged_tokens)
            process = Process(
                info.pid, info.name, parent, info.group, info.scheduling_class, info.nice, info.program, limits,
                self._budget(info.pid, limits, parent, charged), row.attached, info.created, info.last_active,
                state=info.state if info.state in ("paused", "exited", "killed") else "idle",
                exit_status=info.exit_status, reason=info.reason, usage=info.usage, rights=info.rights,
            )  # fmt: skip
            self._enter(process)
        for process in tuple(self._table.values()):
            self._retire(process)

    # -- inside ------------------------------------------------------------------------------------

    def _make(
        self, parent: Process, name: str, group: str, scheduling_class: SchedulingClass, nice: int,
        limits: Limits, *, program: str, attached: bool,
    ) -> Process:  # fmt: skip
        check_name(name, "name")
        check_group(group)
        most = self._settings.max_processes
        if self._live >= most:
            mend = "End some, or raise max_processes of [processes]."
            raise LimitExceeded(f"There are {most} live processes already.", mend)
        if group != ADMIN_GROUP and self._accounts[account(parent, name, group)] >= max(FEW, most // 2):
            mend = "End some: the other half is for the other agents."
            raise LimitExceeded(f"This agent and those below it are half of {most} processes.", mend)
        pid, now = next(self._pids), time.time()
        budget = self._budget(pid, limits, parent, (0, 0))
        process = Process(
            pid, name, parent, group, scheduling_class, nice, program or f"p{pid}", limits, budget, attached,
            created=now, last_active=now,
        )  # fmt: skip
        self._enter(process)
        return process

    def _budget(self, pid: int, limits: Limits, parent: Process, charged: tuple[int, int]) -> Budget | None:
        if limits == Limits():
            return parent.budget
        return Budget(pid, limits, parent.budget, calls=charged[0], tokens=charged[1])

    def _enter(self, process: Process) -> None:
        self._table[process.pid] = process
        if process.parent is not None:
            process.parent.children[process.pid] = process
        if not process.gone:
            self._live += 1
            self._accounts[account(process.parent, process.name, process.group)] += 1
            for group in callers(process):
                self._names.setdefault((process.name, group), {})[process.pid] = None

    def _end(self, process: Process, state: Literal["exited", "killed"], reason: str) -> None:
        self._move(process, state, reason)
        self._leave(process)
        fate, what = (Cancelled, "has exited") if state == "exited" else (ProcessKilled, "was killed")
        why = f" ({reason})" if reason else ""
        for call in tuple(process.calls.values()):
            call.end(fate(f"Process {process.pid} {what}{why}.", "Make a new one, if it must go on."))
        self._retire(process)
        self._save(process)
        self._tell_gone(process.pid)

    def _leave(self, process: Process) -> None:
        self._live -= 1
        self._accounts[account(process.parent, process.name, process.group)] -= 1
        for group in callers(process):
            pids = self._names[process.name, group]
            del pids[process.pid]
            if not pids:
                del self._names[process.name, group]

    def _retire(self, process: Process) -> None:
        """Keep a bounded number of those that are gone. One with children stays, so that lineages and
        budgets are whole."""
        if process.gone and not process.children:
            self._kept[process.pid] = None
        while len(self._kept) > KEPT:
            self._evict(next(iter(self._kept)))

    def _evict(self, pid: int) -> None:
        del self._kept[pid]
        parent = self._table.pop(pid).parent
        if parent is not None:
            del parent.children[pid]
            if parent.gone and not parent.children:
                self._kept[parent.pid] = None

    def _move(self, process: Process, state: ProcessState, reason: str = "") -> None:
        """The one place where a state changes."""
        if state not in TRANSITIONS[process.state]:
            raise Conflict(f"Process {process.pid} is {process.state} and can't become {state}.", param="pid")
        process.state, process.reason = state, reason
        self._publish(process)

    def _save(self, process: Process) -> None:
        if process.pid != KERNEL:
            self._keep(process)

    def _publish(self, process: Process) -> None:
        self._bus.publish(
            ProcessChanged(pid=process.pid, name=process.name, state=process.state, reason=process.reason)
        )
