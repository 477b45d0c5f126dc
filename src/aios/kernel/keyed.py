"""Calls of managers that have an idempotency key: one run each, whoever asks, and one that waits for a person
outlives the kernel.

A manager keeps the result of a keyed change beside the change, so that sending it again is harmless. Hence a
call that was parked in a crash is simply made again by the next kernel; who resubmits it joins that run."""

from __future__ import annotations

import asyncio
import logging
import time
from asyncio import Future
from collections.abc import Awaitable, Callable, Collection
from typing import Any

import msgspec

from aios.errors import AiosError, Cancelled, Conflict
from aios.kernel.journal import Journal
from aios.kernel.once import Claim, claim, conflict
from aios.kernel.pcb import Process
from aios.kernel.records import Entry
from aios.kernel.services import LOSING, Services
from aios.syscalls import READ_ONLY, Call
from aios.syscalls.base import answer_of
from aios.syscalls.memory import MemoryCall
from aios.syscalls.storage import StorageCall

log = logging.getLogger(__name__)

Work = Callable[[], Awaitable[Any]]


class Keyed:
    """Stands before `services`. Results of calls that nothing brings back are kept by the journal, for
    `ttl_s`: their managers have nothing left to keep one beside."""

    def __init__(self, services: Services, journal: Journal, tasks: asyncio.TaskGroup, *, ttl_s: float) -> None:
        self._services, self._journal, self._tasks, self._ttl_s = services, journal, tasks, ttl_s
        self._runs: dict[tuple[str, str], tuple[str, Future[Any]]] = {}

    @property
    def calls(self) -> Collection[type[Call[Any]]]:
        """What they do."""
        return self._services.calls

    async def carry_out(self, id: int, process: Process, call: Call[Any]) -> Any:
        """Do `call`, number `id`. Raises what its manager raises, LimitExceeded, and Conflict (the key is of
        another call)."""
        key = getattr(call, "idempotency_key", None)
        if not key or isinstance(call, READ_ONLY):
            return await self._services.carry_out(id, process, call)
        wanted = claim(process.agent, key, call)
        digest, run = self._runs.get((wanted.agent, key), ("", None))
        if run is None:
            run = self._begin(wanted, lambda: self._first(id, process, call, wanted))
        elif digest != wanted.digest:
            raise conflict(key)
        # The call goes on without its caller, who may ask again.
        return await asyncio.shield(run)

    def rerun(self, process: Process, entry: Entry) -> bool:
        """A call that a person was asked about when the last kernel ended. False if nobody can ask for it."""
        if entry.key is None or entry.request is None:
            return False
        try:
            call = msgspec.json.decode(entry.request, type=MemoryCall | StorageCall)
        except msgspec.MsgspecError:
            return False
        wanted = Claim(entry.agent, entry.key, entry.digest, entry.request)
        self._begin(wanted, lambda: self._services.carry_out(entry.id, process, call, wanted))
        return True

    def _begin(self, wanted: Claim, work: Work) -> Future[Any]:
        run: Future[Any] = asyncio.get_running_loop().create_future()
        self._runs[wanted.agent, wanted.key] = (wanted.digest, run)
        self._tasks.create_task(self._drive(run, wanted, work), name=f"call {wanted.key}")
        return run

    async def _drive(self, run: Future[Any], wanted: Claim, work: Work) -> None:
        try:
            run.set_result(await work())
        except AiosError as error:
            run.set_exception(error)
        except Exception as error:
            # Nobody awaits this task: a defect that one call met must reach its callers, and not the kernel.
            log.exception("a call under key %r failed", wanted.key)
            told = f"The kernel has a defect that this call met: {error!r}."
            run.set_exception(AiosError(told, "Please report it."))
        finally:
            if not run.done():
                run.set_exception(Cancelled("The call was cancelled.", "Send it again."))
            run.exception()  # it may be that nobody asks
            del self._runs[wanted.agent, wanted.key]

    async def _first(self, id: int, process: Process, call: Call[Any], wanted: Claim) -> Any:
        if isinstance(call, LOSING):
            await self._journal.settled()  # a run that just ended is found there
            since = time.time() - self._ttl_s
            kept = await self._journal.find(wanted.agent, wanted.key, since, answer_of(type(call)))
            if kept is not None:
                if kept.digest != wanted.digest:
                    raise conflict(wanted.key)
                if kept.result is None:
                    raise Conflict(f"Whether the call under {wanted.key!r} took effect is in doubt.", "Look.")
                return kept.result
        return await self._services.carry_out(id, process, call, wanted)
