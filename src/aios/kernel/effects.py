"""The process.* syscalls: each is planned, committed with its result in one transaction, and then happens.

So a process call happens exactly once: if the kernel dies before the commit it never was, after it the next
kernel starts from it. If the journal can't be written nothing happens.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import msgspec

from aios.access.audit import Audited
from aios.errors import AiosError, Draining, Forbidden
from aios.events import EventBus, SyscallFinished, SyscallStarted
from aios.kernel.ending import Ending
from aios.kernel.guard import Guard
from aios.kernel.journal import Journal
from aios.kernel.limits import Charge
from aios.kernel.once import Claim
from aios.kernel.pcb import Process, check_nice, hidden, unknown
from aios.kernel.pool import Pool
from aios.kernel.process import KERNEL, ProcessTable
from aios.kernel.records import Entry, encode
from aios.syscalls import Exit, Nice, ProcessInfo, SendSignal, Signal, Spawn, Timings, Usage, kind

Effect = Spawn | SendSignal | Nice | Exit


@dataclass(frozen=True, slots=True)
class Plan:
    """`changes` of `targets`, the last of which the result describes. `happen` can't fail and is harmless where
    something else was quicker; `undo` takes back what planning did."""

    targets: tuple[Process, ...]
    changes: dict[str, Any]
    happen: Callable[[], None]
    undo: Callable[[], None] = lambda: None


class Effects:
    """Carries out process calls."""

    def __init__(
        self, processes: ProcessTable, pool: Pool, journal: Journal, bus: EventBus, guard: Guard
    ) -> None:
        self._processes, self._pool, self._journal, self._bus = processes, pool, journal, bus
        self._guard = guard
        self._plans: dict[type[Effect], Callable[[Process, Any], Plan]] = {
            Spawn: self._spawn,
            SendSignal: self._signal,
            Nice: self._nice,
            Exit: self._exit,
        }
        self._signals: dict[Signal, Callable[[Process, str], Plan]] = {
            "kill": self._kill,
            "pause": self._pause,
            "resume": self._resume,
        }

    async def carry_out(self, id: int, actor: Process, call: Effect, wanted: Claim | None) -> ProcessInfo:
        """Do `call`, number `id`, for `actor`; `wanted`: its idempotency key. Raises Forbidden, NotFound,
        Conflict, BadRequest, LimitExceeded, and JournalUnavailable: then it did not happen."""
        began, tag = time.monotonic(), kind(call)
        charge: Charge | None = None
        parked: Entry | None = None
        decided: Audited | None = None
        self._bus.publish(SyscallStarted(pid=actor.pid, call=id, kind=tag, detail=_detail(call)))

        def park() -> Entry:
            nonlocal parked
            parked = msgspec.structs.replace(entry, effect="none")  # nothing of it has happened
            return parked

        def over(error: str) -> None:
            if charge is not None:
                charge.settle(calls=int(not error), tokens=0)
            self._processes.used(actor, Usage(), Timings(), failed=bool(error))
            seconds = time.monotonic() - began
            self._bus.publish(SyscallFinished(pid=actor.pid, call=id, kind=tag, seconds=seconds, error=error))

        with Ending(over):
            charge = Charge(None if isinstance(call, Exit) else actor.budget)  # leaving is always allowed
            entry = Entry(
                id=id, pid=actor.pid, agent=actor.agent, kind=tag, effect="local",
                key=wanted.key if wanted else None, digest=wanted.digest if wanted else "",
                request=wanted.request if wanted else encode(call), started=time.time(),
            )  # fmt: skip
            try:
                decided = await self._admit(actor, call, id, park if wanted else None)
                return await self._commit(self._plans[type(call)](actor, call), entry, decided)
            except AiosError as problem:
                if decided is not None:  # let in, and refused for something else
                    self._journal.decided(decided)
                if parked is not None and problem.code != Draining.code:
                    failed = {"state": "failed", "error": problem.code, "finished": time.time()}
                    self._journal.record(msgspec.structs.replace(parked, **failed))
                raise

    async def _admit(
        self, actor: Process, call: Effect, id: int, park: Callable[[], Entry] | None
    ) -> Audited:  # fmt: skip
        """As the guard's, but a process that is not the actor's to know of is not there. Raises NotFound."""
        try:
            return await self._guard.admit(actor, call, id=id, park=park)
        except Forbidden:
            if isinstance(call, SendSignal | Nice) and hidden(actor, self._processes.get(call.pid)):
                raise unknown(call.pid) from None
            raise

    async def _commit(self, plan: Plan, entry: Entry, decided: Audited) -> ProcessInfo:
        for process in plan.targets:
            process.planned.append(plan.changes)

        def settle(durable: bool) -> None:
            for process in plan.targets:
                process.planned.remove(plan.changes)
            (plan.happen if durable else plan.undo)()

        result = msgspec.structs.replace(self._processes.info(plan.targets[-1].pid), **plan.changes)
        done = msgspec.structs.replace(entry, state="done", result=encode(result), finished=time.time())
        await self._journal.commit(done, [process.row() for process in plan.targets], settle, decided)
        return result

    def _target(self, actor: Process, pid: int) -> Process:
        if hidden(actor, self._processes.get(pid)):
            raise unknown(pid)  # be it gone or not
        target = self._processes.living(pid)
        self._processes.may_signal(actor, target)
        return target

    def _spawn(self, actor: Process, call: Spawn) -> Plan:
        child = self._processes.spawn(actor, call)
        table = self._processes
        return Plan((child,), {}, lambda: table.announce(child), lambda: table.discard(child))

    def _signal(self, actor: Process, call: SendSignal) -> Plan:
        target = self._target(actor, call.pid)
        return self._signals[call.signal](target, call.reason)

    def _kill(self, target: Process, reason: str) -> Plan:
        changes = {"state": "killed", "reason": reason, "active_calls": 0, "waiting_s": 0.0}
        return Plan(self._processes.subtree(target), changes, lambda: self._processes.kill(target, reason))

    def _pause(self, target: Process, reason: str) -> Plan:
        def happen() -> None:
            self._processes.pause(target, reason)
            if target.state == "paused":
                self._pool.pause(target.pid)

        return Plan((target,), {"state": "paused", "reason": reason}, happen)

    def _resume(self, target: Process, reason: str) -> Plan:
        def happen() -> None:
            self._processes.resume(target)
            if target.state != "paused":
                self._pool.resume(target.pid)

        state = target.state_by_calls() if target.state == "paused" else target.state
        return Plan((target,), {"state": state, "reason": reason}, happen)

    def _nice(self, actor: Process, call: Nice) -> Plan:
        target = self._target(actor, call.pid)
        changes = {"nice": check_nice(call.nice)}
        return Plan((target,), changes, lambda: self._processes.nice(target, call.nice))

    def _exit(self, actor: Process, call: Exit) -> Plan:
        if actor.pid == KERNEL:
            raise Forbidden("Process 1 is the kernel.", "Stop the daemon instead (SIGTERM).")
        changes = {"state": "exited", "exit_status": call.status, "active_calls": 0, "waiting_s": 0.0}
        return Plan((actor,), changes, lambda: self._processes.exit(actor, call.status))


def _detail(call: Effect) -> str:
    match call:
        case Spawn():
            return call.name
        case SendSignal():
            return f"{call.signal} {call.pid}"
        case Nice():
            return f"{call.nice} {call.pid}"
        case Exit():
            return str(call.status)
