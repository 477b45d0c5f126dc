"""The scheduling mechanism of one core: ready queue, slots, quantum. It decides nothing: the policy does.

A call's sequence enters by `submit`, waits in the policy's queue, gets a slot (prepared by the seating), runs
as a task of the kernel's task group, may be interrupted and wait again, and leaves when it ended, failed or
its caller went away. Everything happens on one event loop, so state needs no locks."""

from __future__ import annotations

import asyncio
import itertools
import logging
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Literal

from aios.context.manager import ContextManager
from aios.context.seating import Place
from aios.cores.core import Core, Ended, Sequence, Step, Yielded
from aios.errors import AiosError, CoreError
from aios.events import (
    Dispatched,
    EventBus,
    Finished,
    FirstToken,
    Interrupted,
    PolicyChanged,
    Promoted,
    Queued,
)
from aios.scheduler.backlog import Backlog
from aios.scheduler.door import Door
from aios.scheduler.members import Members
from aios.scheduler.patience import Patience
from aios.scheduler.places import Places
from aios.scheduler.policy import Item, SchedulingPolicy, level_under
from aios.scheduler.predict import LengthPredictor
from aios.scheduler.shares import Make, offering, replaced
from aios.scheduler.ticket import Run, Standing, Ticket, too_late
from aios.syscalls import Delta

log = logging.getLogger(__name__)


class Scheduler:
    """Orders the sequences of one core. `quantum` generated tokens per stay; at most `max_queue` wait.
    `contexts`: of that core; `make`: makes policies that calls choose."""

    def __init__(
        self,
        core: Core,
        policy: SchedulingPolicy,
        bus: EventBus,
        contexts: ContextManager,
        make: Make,
        *,
        quantum: int,
        max_queue: int,
        patience_s: float = 30.0,
    ) -> None:
        self.core, self.policy, self.contexts = core, policy, contexts
        self._bus, self._make, self._quantum, self._max_queue = bus, make, quantum, max_queue
        self._patience = Patience(patience_s, lambda: self.policy, self._ready_items, self._raised)
        self._places = Places(lambda: core.capacity)
        self._tasks: asyncio.TaskGroup | None = None
        self._watcher: asyncio.Task[None] | None = None
        self._runs: dict[Item, Run] = {}
        self._running: dict[Item, Run] = {}
        self._paused: set[int] = set()
        self._held: dict[Item, Run] = {}
        self._door = Door(lambda: len(self._runs) - len(self._running) < self._max_queue)
        self._lengths = LengthPredictor()
        self.backlog = Backlog(lambda: len(self._runs) + len(self._door), lambda: core.capacity)
        self._interruptible = False
        self._members = Members()
        self._ids = itertools.count(1)

    @property
    def running(self) -> int:
        return len(self._running)

    @property
    def waiting(self) -> int:
        return len(self._runs) - len(self._running) + len(self._door)

    @property
    def prefill_s(self) -> float:
        """Seconds that a token of a prompt takes, about; 0.0 unknown."""
        spec = self.core.capabilities.contexts
        return spec.prefill_s if spec else 0.0

    def knows(self, pid: int) -> bool:
        """Whether the process had calls here."""
        return pid in self._members

    def cached(self, sequence: Sequence) -> int:
        """How many tokens of its context would not have to be computed here."""
        return self.contexts.seating.cached(sequence)

    async def start(self, tasks: asyncio.TaskGroup) -> None:
        """The core is up: learn what it can do. Running sequences become tasks of `tasks`."""
        self._tasks, self._loop = tasks, asyncio.get_running_loop()
        self._interruptible = self.core.capabilities.interruptible
        await self.contexts.start(tasks)
        self._watcher = tasks.create_task(self._patience.watch(), name=f"waits for {self.core.name}")

    async def close(self) -> None:
        """No call comes any more: keep the contexts for the next start. The core is still up."""
        if self._watcher:
            self._watcher.cancel()
        await self.contexts.close()

    # -- a call's way ------------------------------------------------------------------------------

    async def submit(self, sequence: Sequence, ticket: Ticket) -> AsyncGenerator[Step, None]:
        """The steps of `sequence`, the last of which is `Ended`. Waits at the door while the queue is full.
        Closing the generator cancels, down to the slot. Raises what the core raises, and DeadlineExceeded."""
        if ticket.coming is not None:
            ticket.coming.came()
        try:
            await self._door.enter(self._loop_time(ticket.deadline))
        except TimeoutError:
            raise too_late() from None
        run = self._admit(sequence, ticket)
        try:
            while True:
                if not run.unread:
                    await self._wait(run)
                for step in run.read():
                    if isinstance(step, AiosError):
                        raise step
                    yield step
                    if isinstance(step, Ended):
                        return
        finally:
            self._remove(run)

    def _admit(self, sequence: Sequence, ticket: Ticket) -> Run:
        now = time.monotonic()
        chosen = "" if ticket.policy == self.policy.name else ticket.policy
        if chosen:
            self.policy = offering(self.policy, chosen, self._make, self._runs, self._quantum)
        item = Item(
            id=next(self._ids), pid=ticket.pid, program=ticket.program, group=ticket.group,
            scheduling_class=ticket.scheduling_class, nice=ticket.nice, priority=ticket.priority,
            arrival=ticket.arrival, queued=now, context_tokens=len(sequence.tokens), deadline=ticket.deadline,
            weight=ticket.weight, kind=ticket.kind, width=sequence.width, policy=chosen,
            expected_tokens=self._lengths.predict(ticket.pid, ticket.kind, sequence.call.max_tokens),
            path=ticket.path, ahead=ticket.ahead, gap_s=ticket.gap_s,
        )  # fmt: skip
        self._members.join(ticket.pid, ticket.program)
        run = Run(sequence, ticket, item)
        self._runs[item] = run
        self.contexts.seating.enter(sequence)
        self._make_ready(run)
        self._dispatch(arrived=True)
        return run

    async def _wait(self, run: Run) -> None:
        reader = run.reader = self._loop.create_future()
        deadline = self._loop_time(run.ticket.deadline)
        if deadline is None:
            await reader
            return
        try:
            async with asyncio.timeout_at(deadline):
                await reader
        except TimeoutError:
            raise too_late() from None

    def _remove(self, run: Run) -> None:
        """The caller is done with the run, or gone."""
        if self._runs.pop(run.item, None) is None:
            return
        self._held.pop(run.item, None)
        self._places.forget(run.item)
        self.contexts.seating.exit(run.sequence)
        if run.task is None and not run.over:  # what it was given counts
            self.policy.left(run.item, time.monotonic(), ended=True)
        self.policy.withdraw(run.item)
        if run.task and not run.task.done():
            self._loop.call_soon(run.task.cancel)  # its end frees the slot: it must have begun
        self._door.open()
        if run.item.width > 1:  # slots may have been held for it; else none became free
            self._dispatch()

    # -- slots -------------------------------------------------------------------------------------

    def _make_ready(self, run: Run) -> None:
        now, item, sequence, seating = time.monotonic(), run.item, run.sequence, self.contexts.seating
        item.queued, item.raised = now, 0
        item.resident_tokens, item.dropped_tokens = seating.cached(sequence), seating.dropped(sequence)
        item.context_tokens = len(sequence.tokens) + len(sequence.generated)
        if item.pid in self._paused:
            self.policy.withdraw(item)
            self._held[item] = run
            return
        self.policy.enqueue(item, now)
        self._places.wait(item)
        self._bus.publish(
            Queued(pid=item.pid, call=run.ticket.call_id, core=self.core.name, waiting=len(self.policy))
        )

    def _dispatch(self, *, arrived: bool = False) -> None:
        """Fill free slots with whom the policy selects. With somebody who `arrived`, interrupt whom the policy
        wants out for one that waits; the others are asked about at the end of their quantum."""
        now = time.monotonic()
        self.contexts.check()
        while self._places.free > 0 and len(self.policy):
            item = self.policy.select(now, lambda item: self._places.fits(item, now))
            if item is None:
                break
            self._seat(self._runs[item], now)
        if arrived and self._interruptible and len(self.policy):
            candidates = [run.item for run in self._running.values() if not run.leaving]
            for item in self.policy.preempt(candidates, now):
                self._interrupt(self._running[item], "quantum")

    def _seat(self, run: Run, now: float) -> None:
        seat = self.contexts.seating.seat(run.sequence)
        assert seat is not None  # slots and runs are counted together
        assert self._tasks is not None
        run.slot, run.leaving, run.item.quantum_used = seat.slot, "", 0
        run.ticket.queue_s += now - run.item.queued
        self._running[run.item] = run
        self._places.take(run.item)
        self.backlog.seated((run.item.context_tokens - seat.cached) * self.prefill_s)
        self._bus.publish(
            Dispatched(
                pid=run.item.pid, call=run.ticket.call_id, core=self.core.name, slot=seat.slot,
                waited_s=now - run.item.queued, tokens=run.item.context_tokens, cached=seat.cached,
            )
        )  # fmt: skip
        stay = self._stay(run, self.core.run(run.sequence, seat))
        run.task = self._tasks.create_task(stay, name=f"call {run.ticket.call_id} on {self.core.name}")

    async def _stay(self, run: Run, steps: AsyncGenerator[Step, None]) -> None:
        """One stay in a slot. The supervisor of a core's work: no error of it may take the kernel down."""
        began = time.monotonic()
        last: Step | AiosError | None = None
        try:
            async with aclosing(steps):
                async for step in steps:
                    last = step
                    if isinstance(step, Delta):
                        self._account(run, step)
                    if not isinstance(step, Yielded):
                        run.hand(step)
        except AiosError as error:
            last = error
            run.hand(error)
        except Exception as error:
            log.exception("core %s failed", self.core.name)
            last = CoreError(f"Core {self.core.name} failed: {error!r}.", "See the log and report this.")
            run.hand(last)
        finally:
            run.ticket.run_s += time.monotonic() - began
            self._charge(run, 0)
            self._vacate(run, last)

    def _account(self, run: Run, step: Delta) -> None:
        now, item = time.monotonic(), run.item
        if item.quantum_used == 0:
            run.ticket.first_token = run.ticket.first_token or now
            who = {"pid": item.pid, "call": run.ticket.call_id, "generated": item.generated}
            self._bus.publish(FirstToken(**who, core=self.core.name, slot=run.slot))
        item.quantum_used += step.tokens
        item.generated += step.tokens
        self._charge(run, step.tokens)
        if item.quantum_used >= self._quantum and len(self.policy) and not run.leaving:
            due = [item] if self._places.held_for(now) else self.policy.preempt([item], now)
            for each in due:
                self._interrupt(self._running[each], "quantum")

    def _charge(self, run: Run, decoded: int) -> None:
        """Tell the policy of work done: `decoded` tokens, and the prefill since it was told last."""
        tokens = decoded + run.sequence.prefilled - run.prefilled
        run.prefilled = run.sequence.prefilled
        if tokens:
            run.item.attained += tokens
            self.policy.charge(run.item, tokens, time.monotonic())

    def _vacate(self, run: Run, last: Step | AiosError | None) -> None:
        """The run is out of its slot: because it ended, was interrupted, failed or was cancelled."""
        item, call_id = run.item, run.ticket.call_id
        del self._running[item]
        self._places.give_back(item)
        self.contexts.seating.leave(run.sequence)
        run.task = None
        generated = len(run.sequence.generated)
        run.over = not isinstance(last, Yielded) or item not in self._runs
        self.policy.left(item, time.monotonic(), ended=run.over)
        if isinstance(last, Yielded):
            why = "core_lost" if last.why == "core_lost" else run.leaving or "quantum"
            run.ticket.interrupts += 1
            self._bus.publish(
                Interrupted(
                    pid=item.pid, call=call_id, core=self.core.name, slot=run.slot, why=why, generated=generated
                )
            )  # fmt: skip
            if not run.over:
                self._make_ready(run)
        else:
            if isinstance(last, Ended):
                self._lengths.learn(item.pid, item.kind, generated)
                self.backlog.served(run.ticket.run_s)
            failed = "failed" if isinstance(last, AiosError) else "cancelled"
            reason = "ended" if isinstance(last, Ended) else failed
            self._bus.publish(
                Finished(
                    pid=item.pid, call=call_id, core=self.core.name, slot=run.slot, generated=generated,
                    reason=reason,
                )
            )  # fmt: skip
        run.slot = -1
        self._door.open()
        self._dispatch()

    def _interrupt(self, run: Run, why: Literal["quantum", "pause"]) -> None:
        if self._interruptible and not run.leaving:
            run.leaving = why
            self.core.interrupt(run.sequence)

    def _raised(self, items: list[Item], now: float) -> None:
        for item in items:
            self.policy.enqueue(item, now)
            self._bus.publish(
                Promoted(
                    pid=item.pid, call=self._runs[item].ticket.call_id, core=self.core.name,
                    waited_s=now - item.queued, raised=item.raised,
                )
            )  # fmt: skip
        self._dispatch(arrived=bool(items))

    def _ready_items(self) -> list[Item]:
        return [item for item in self._runs if item not in self._running and item not in self._held]

    # -- processes ---------------------------------------------------------------------------------

    def pause(self, pid: int) -> None:
        """Hold the calls of a process: running ones leave their slots (where the core can), none gets one."""
        self._paused.add(pid)
        for run in list(self._runs.values()):
            if run.item.pid == pid and run.item not in self._running:
                self._places.forget(run.item)
                self.policy.withdraw(run.item)
                self._held[run.item] = run
            elif run.item.pid == pid:
                self._interrupt(run, "pause")

    def resume(self, pid: int) -> None:
        """Let a paused process go on. Unknown pids are ignored."""
        self._paused.discard(pid)
        for item in [item for item in self._held if item.pid == pid]:
            self._make_ready(self._held.pop(item))
        self._dispatch(arrived=True)

    def drop(self, pid: int) -> None:
        """The process is gone: its contexts are forgotten."""
        self._paused.discard(pid)
        self.contexts.seating.drop(pid)
        if over := self._members.leave(pid):
            self.policy.retire(over)

    def set_policy(self, policy: SchedulingPolicy) -> None:
        """Order by another policy, but for calls that chose theirs, be it the one that is replaced. Who waits
        goes on waiting; how long programs are is handed on."""
        now = time.monotonic()
        waiting = [item for item in self._ready_items() if not item.policy]
        for item in waiting:
            self.policy.withdraw(item)
        named = [i for i, run in self._runs.items() if not i.policy and run.ticket.policy == self.policy.name]
        self.policy = replaced(self.policy, policy, self._make, self._runs, named, self._quantum)
        for item in sorted(waiting, key=lambda item: item.queued):
            self.policy.enqueue(item, now)
        self._bus.publish(PolicyChanged(core=self.core.name, policy=policy.name))
        self._dispatch(arrived=True)

    def standings(self) -> dict[int, Standing]:
        """Of the processes that have calls here."""
        found: dict[int, Standing] = {}
        for item in self._runs:
            level = level_under(self.policy, item)
            before = found.get(item.pid, Standing(0, 0))
            found[item.pid] = Standing(max(level, before.level), item.attained + before.attained)
        return found

    def kv_of(self, pid: int) -> tuple[Place, int]:
        """Where the newest context of a process is, and how many tokens long."""
        return self.contexts.seating.place_of(pid)

    def _loop_time(self, deadline: float | None) -> float | None:
        return None if deadline is None else deadline - time.monotonic() + self._loop.time()
