"""Calls that managers carry out (memory, storage): each in its manager's lane, told of, and journalled.

Their effects are `local`: a manager commits effect and result in one transaction of its own store, and keeps
the result for the call's idempotency key there. So a call is journalled when it is done, and recovery has
nothing to do for it; only one with a key that waits for a person is journalled before (see keyed.py).
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Collection, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Protocol

import msgspec

from aios.access.audit import Audited
from aios.errors import Conflict
from aios.events import EventBus, SyscallFinished, SyscallStarted
from aios.kernel.ending import Ending
from aios.kernel.guard import Guard
from aios.kernel.journal import Journal
from aios.kernel.lane import Lane
from aios.kernel.once import Claim
from aios.kernel.pcb import Process
from aios.kernel.process import ProcessTable
from aios.kernel.records import Entry, encode
from aios.kernel.visit import STOPPED
from aios.storage.stakes import Outdated, Stake
from aios.syscalls import READ_ONLY, Call, Timings, Usage, kind, memory, storage
from aios.syscalls.flow import flowing

LOSING = (storage.Purge, storage.ForgetVersions, storage.DropSnapshot, memory.Delete, memory.Clear)
"""Calls that nothing brings back. Of a deleted file the bin has all, of an overwritten one its versions."""
SENDING = (storage.ShareFile,)
"""Calls after which who is no agent can read it."""
SENT = MappingProxyType({"sink": True})
NOTHING: Mapping[str, bool] = MappingProxyType({})

ROUNDS = 100
"""How often a call is decided that others' changes keep overtaking."""

Handler = Callable[[Process, Any], Awaitable[Any]]


class Stakes(Protocol):
    """What calls of one manager would delete or write over."""

    @property
    def may(self) -> Mapping[type[Call[Any]], tuple[str, ...]]:
        """The facts that may be true of a call."""
        ...

    async def of(self, process: Process, call: Call[Any]) -> Stake:
        """What is at stake now."""
        ...

    def standing_on(self, call: Call[Any], stake: Stake) -> AbstractContextManager[None]:
        """A change in here raises Outdated, and is not made, if something else is at stake by then."""
        ...

    async def shown(self, process: Process, call: Call[Any]) -> str:
        """What would change, for a person."""
        ...


@dataclass(frozen=True, slots=True)
class Service:
    """What does each call of one manager, and how many at once."""

    table: Mapping[type[Call[Any]], Handler]
    lane: Lane
    stakes: Stakes


@dataclass(frozen=True, slots=True)
class _Keyed:
    """Of a call with a key: that it was parked, or what it gave."""

    wanted: Claim
    result: msgspec.Raw | None = None


class Services:
    """Carries out the calls of all `services`."""

    def __init__(
        self,
        services: tuple[Service, ...],
        processes: ProcessTable,
        journal: Journal,
        bus: EventBus,
        guard: Guard,
    ) -> None:
        self._services = {call: service for service in services for call in service.table}
        self._processes, self._journal, self._bus, self._guard = processes, journal, bus, guard
        self._keyed: dict[int, _Keyed] = {}

    @property
    def calls(self) -> Collection[type[Call[Any]]]:
        """What they do."""
        return self._services.keys()

    async def carry_out(self, id: int, process: Process, call: Call[Any], wanted: Claim | None = None) -> Any:
        """Do `call`, number `id`; `wanted`: its idempotency key. Raises what its manager raises, LimitExceeded
        (too many wait)."""
        service, tag = self._services[type(call)], kind(call)
        began, at = time.monotonic(), time.time()
        self._bus.publish(SyscallStarted(pid=process.pid, call=id, kind=tag, detail=_detail(call)))
        decided: Audited | None = None

        def over(error: str) -> None:
            seconds = time.monotonic() - began
            if not isinstance(call, READ_ONLY):
                self._record(id, process, tag, error, at, at + seconds, decided)
            elif decided is not None:
                self._journal.decided(decided)
            self._processes.used(process, Usage(), Timings(), failed=bool(error))
            self._bus.publish(SyscallFinished(pid=process.pid, call=id, kind=tag, seconds=seconds, error=error))

        with Ending(over):
            await self._processes.going(process)
            park = None if wanted is None else self._parks(id, process, tag, wanted)
            for _ in range(ROUNDS):
                stake = await self._stake(service, process, call)
                decided = await self._admit(id, service, process, call, stake, park)
                try:
                    result = await self._done(service, process, call, stake)
                    break
                except Outdated:  # somebody else's change came first: what was decided is not this
                    self._journal.decided(decided)
                    decided = None
            else:
                raise Conflict(f"{_detail(call)} changes all the time.", "Send the call again.")
            if wanted is not None and isinstance(call, LOSING):
                self._keyed[id] = _Keyed(wanted, encode(result))
            return result

    async def _done(self, service: Service, process: Process, call: Call[Any], stake: Stake | None) -> Any:
        """The result. Raises Outdated: something else than `stake` is at stake by now."""
        async with service.lane.turn(process.agent):
            with (
                nullcontext() if stake is None else service.stakes.standing_on(call, stake),
                flowing(self._guard.subject(process).labels) as flow,
            ):
                result = await service.table[type(call)](process, call)
        self._guard.saw(process, labels=flow.seen)
        return result

    async def _stake(self, service: Service, process: Process, call: Call[Any]) -> Stake | None:
        """What is at stake, if the decision depends on it, or a person is to be shown it."""
        may = service.stakes.may.get(type(call), ())
        if not may or not self._guard.minds(process, call, may):
            return None
        async with service.lane.turn(process.agent):
            return await service.stakes.of(process, call)

    async def _admit(
        self, id: int, service: Service, process: Process, call: Call[Any], stake: Stake | None,
        park: Callable[[], Entry] | None,
    ) -> Audited:  # fmt: skip
        async def shown() -> str:
            async with service.lane.turn(process.agent):
                return await service.stakes.shown(process, call)

        facts = SENT if isinstance(call, SENDING) else NOTHING
        if stake is not None:
            facts = {**facts, **stake.facts}
        seen = stake.seen if stake is not None and stake.facts else None
        return await self._guard.admit(process, call, id=id, facts=facts, diff=shown, seen=seen, park=park)

    def _parks(self, id: int, process: Process, kind: str, wanted: Claim) -> Callable[[], Entry]:
        """How it is journalled while a person is asked."""

        def park() -> Entry:
            self._keyed[id] = _Keyed(wanted)
            return Entry(
                id=id, pid=process.pid, agent=process.agent, kind=kind, key=wanted.key, digest=wanted.digest,
                request=wanted.request, started=time.time(),
            )  # fmt: skip

        return park

    def _record(
        self, id: int, process: Process, kind: str, error: str, started: float, finished: float,
        decided: Audited | None,
    ) -> None:  # fmt: skip
        keyed = self._keyed.pop(id, None)
        if keyed is not None and keyed.result is None and error in STOPPED and decided is None:
            return  # the question stays, and so does the call
        entry = Entry(
            id=id, pid=process.pid, agent=process.agent, kind=kind, effect="local",
            state="failed" if error else "done", error=error, started=started, finished=finished,
        )  # fmt: skip
        if keyed is not None and keyed.result is not None:
            wanted = keyed.wanted
            entry = msgspec.structs.replace(entry, key=wanted.key, digest=wanted.digest, result=keyed.result)
        self._journal.record(entry, decided)


def _detail(call: Call[Any]) -> str:
    """What `strace` shows of it: names, never contents."""
    for field in ("path", "id", "name", "query", "pattern", "block"):
        value = getattr(call, field, None)
        if value:
            return str(value)[:120]
    return ""
