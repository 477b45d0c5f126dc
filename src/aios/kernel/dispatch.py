"""`trap`: every syscall comes through here. Authorize, charge, journal, look up, call the manager.

An llm call runs in the task of its caller; one of several choices, or with an idempotency key, has others."""

from __future__ import annotations

import asyncio
import itertools
import secrets
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator, Iterable
from contextlib import aclosing, contextmanager
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from aios.access.keys import ADMIN_GROUP
from aios.cores.core import Delta
from aios.errors import AiosError, BadRequest
from aios.events import EventBus, SyscallFinished, SyscallStarted
from aios.kernel.active import Active
from aios.kernel.admission import Admission
from aios.kernel.aside import Aside
from aios.kernel.completion import Answer, timings
from aios.kernel.effects import Effect, Effects
from aios.kernel.ending import Ending
from aios.kernel.failover import steps_of
from aios.kernel.foresight import Foresight
from aios.kernel.groups import GroupTable
from aios.kernel.guard import Guard
from aios.kernel.journal import Journal
from aios.kernel.keyed import Keyed
from aios.kernel.limits import Charge
from aios.kernel.once import Claim, Once, Output, claim, last
from aios.kernel.pcb import Process
from aios.kernel.personal import Personal
from aios.kernel.pool import Pool
from aios.kernel.process import ProcessTable
from aios.kernel.records import AGAIN, Entry, encode
from aios.kernel.services import Service, Services
from aios.kernel.toolcalls import ToolCalls
from aios.kernel.tooling import Toolbox
from aios.kernel.visit import STOPPED, Begun, Past, Visit, detail, over
from aios.kernel.windows import Windows
from aios.scheduler.ticket import Ticket, kind_of
from aios.syscalls import (
    Call,
    Completion,
    DeclarePlan,
    Embed,
    Embeddings,
    Exit,
    Generate,
    Nice,
    ProcessInfo,
    ProcessList,
    Ps,
    Result,
    SendSignal,
    Spawn,
    WindowPolicy,
    kind,
)
from aios.syscalls.tools import AddTools, CallTool, ListTools, RemoveTools, ToolSyscall

R = TypeVar("R")


class Dispatcher:
    """Takes syscalls. `first_id`: no call before had this number or a higher one."""

    def __init__(
        self,
        processes: ProcessTable,
        groups: GroupTable,
        pool: Pool,
        journal: Journal,
        bus: EventBus,
        tasks: asyncio.TaskGroup,
        guard: Guard,
        toolbox: Toolbox,
        *,
        first_id: int,
        idempotency_ttl_s: float,
        window: WindowPolicy,
        work: Path,
        services: tuple[Service, ...] = (),
    ) -> None:
        self._processes, self._groups, self._pool, self._journal = processes, groups, pool, journal
        self._bus, self._tasks, self._guard, self._loop = bus, tasks, guard, asyncio.get_running_loop()
        self._once, self._effects_open = Once(journal, tasks, ttl_s=idempotency_ttl_s), 0
        self.windows = Windows(window, bus, Aside(self.trap, processes, groups), Personal(self.trap, tasks))
        self.foresight = Foresight()
        self._effects = Effects(processes, pool, journal, bus, guard)
        self.tools = ToolCalls(toolbox, self, processes, pool, journal, self._once, guard, work=work)
        served = Services(services, processes, journal, bus, guard)
        self._services = Keyed(served, journal, tasks, ttl_s=idempotency_ttl_s)
        self._ids = itertools.count(first_id)
        self._boot = secrets.token_hex(4)  # numbers may come again after a crash, names of answers must not
        self._visits: dict[int, Visit] = {}
        self._refusal: Callable[[], AiosError] | None = None
        self._quiet = asyncio.Event()
        self._table: dict[type, Callable[[Process, Any], Awaitable[Any]]] = {
            Generate: self._complete,
            Embed: self._embed,
            Spawn: self._effect,
            SendSignal: self._effect,
            Nice: self._effect,
            Exit: self._effect,
            DeclarePlan: self._plan,
            Ps: self._list,
            CallTool: self.tools.call,
            ListTools: self.tools.list,
            AddTools: self.tools.add,
            RemoveTools: self.tools.remove,
            **dict.fromkeys(self._services.calls, self._serve),
        }

    # -- the way in --------------------------------------------------------------------------------

    async def trap(self, pid: int, call: Call[R]) -> R:
        """Do `call` for process `pid`. Raises AiosError."""
        handle = self._table.get(type(call))
        if handle is None:
            raise BadRequest(f"{type(call).__name__} is no syscall.", "See aios.syscalls.")
        try:
            return self._guard.redactor.value(await handle(self._processes.get(pid), call))
        except AiosError as problem:
            raise self._guard.cleaned(problem) from problem.__cause__

    def stream(self, pid: int, call: Generate) -> AsyncGenerator[Delta | Completion, None]:
        """The deltas of `call` as they come, and last its Completion. Closing it cancels, down to the slot.
        All errors are raised from within it."""
        return self._generate(pid, call) if call.idempotency_key is None else self._keyed(pid, call)

    @property
    def active(self) -> int:
        """Calls under way."""
        return len(self._visits) + self._effects_open

    def refuse(self, why: Callable[[], AiosError]) -> None:
        """Take no more calls: each gets an error of its own."""
        self._refusal = self._refusal or why
        self._rest()

    async def quiet(self) -> None:
        """Return when calls are refused and none is under way."""
        await self._quiet.wait()

    def end_all(self, fate: Callable[[], AiosError]) -> None:
        """Make every call of a model or a tool fail. Process calls are always nearly done."""
        for visit in tuple(self._visits.values()):
            visit.active.end(fate())

    # -- llm ---------------------------------------------------------------------------------------

    async def _complete(self, process: Process, call: Generate) -> Completion:
        """`stream` without the deltas. A generator on the way costs a twentieth of the call."""
        if call.idempotency_key is not None:
            return await last(self._keyed(process.pid, call), Completion)
        visit = self.enter(process, call)
        with Ending(partial(self.leave, visit)):
            begun = await self._begin(visit, call)
            answer, steps = begun.answer, begun.steps
            try:
                while not answer.complete:
                    with visit.active:
                        step = await anext(steps)
                    answer.take(step)
            finally:
                await steps.aclose()
            return self._result(visit, begun)

    async def _keyed(self, pid: int, call: Generate) -> AsyncGenerator[Delta | Completion, None]:
        wanted = claim(self._processes.get(pid).agent, call.idempotency_key or "", call)
        outputs = self._once.outputs(wanted, lambda: self._generate(pid, call, wanted), cancellable=True)
        async with aclosing(outputs):
            async for output in outputs:
                assert isinstance(output, Delta | Completion)
                yield output

    async def _generate(
        self, pid: int, call: Generate, wanted: Claim | None = None, past: Past | None = None
    ) -> AsyncGenerator[Delta | Completion, None]:
        visit = self.enter(self._processes.get(pid), call, wanted, past)
        with Ending(partial(self.leave, visit)):
            begun = await self._begin(visit, call)
            answer, steps = begun.answer, begun.steps
            async with aclosing(steps):
                while not answer.complete:
                    with visit.active:
                        step = await anext(steps)
                    answer.take(step)
                    if isinstance(step, Delta):
                        yield step
            result = self._result(visit, begun)
        yield result

    async def _begin(self, visit: Visit, call: Generate) -> Begun:
        """Let it in, and put it before its core."""
        process, active = visit.process, visit.active
        call = self._pool.named(call)
        member = self._pool.route(call.model, process.pid)
        with active:
            await visit.permit(self._guard, call)
            call = await self.windows.fitted(process, member.core, call, active.id)
            admission = await self.admit(visit)
            sequences = await self.windows.prepared(process, member.core, call, active.id)
            member = await self._pool.settle(member, sequences, visit.ticket)
            prompt = max([len(sequence.tokens) for sequence in sequences])
            await admission.hold(member, prompt, member.most(call, prompt))
        answer = Answer(len(sequences))
        visit.used = partial(answer.usage, prompt)
        self._journal.record(visit.begin(), visit.decided)
        self._processes.expect(process, active, len(sequences))
        active.steps = steps = steps_of(self._pool, member, sequences, visit, self._tasks)
        return Begun(call, member, answer, steps)

    def _result(self, visit: Visit, begun: Begun) -> Completion:
        """It is complete: the answer, which is told to whom it concerns."""
        result = begun.answer.completion(
            id=f"{self._boot}-{visit.active.id}", model=begun.call.model or begun.member.core.models[0],
            created=int(time.time()), timings=timings(visit.ticket, time.monotonic()),
        )  # fmt: skip
        visit.stored = encode(result) if visit.wanted is not None else None
        if (gap_s := self.foresight.went(visit.process, visit.step, result)) is not None:
            begun.member.scheduler.contexts.seating.declare(visit.process.pid, gap_s)
        return result

    async def _embed(self, process: Process, call: Embed) -> Embeddings:
        visit = self.enter(process, call)
        with Ending(partial(self.leave, visit)):
            call = self._pool.named(call)
            member = self._pool.route(call.model, process.pid)
            with visit.active:
                await visit.permit(self._guard, call)
                await (await self.admit(visit)).hold_texts(member, call.inputs)
                await self._processes.going(process)
                self._journal.record(visit.begin(), visit.decided)
                self._processes.seat(process, visit.active)
                result = await member.core.embed(call)
            visit.used = lambda: result.usage
            return result

    def enter(
        self, process: Process, call: Generate | Embed | ToolSyscall, wanted: Claim | None = None,
        past: Past | None = None,
    ) -> Visit:  # fmt: skip
        """Let a call in, or raise Draining or Conflict. From here on it is counted, and told of."""
        self._check_open(process)
        wanted_class = call.scheduling_class if isinstance(call, Generate) else None
        urgency = self._groups.scheduling_class(process.group, process.scheduling_class, wanted_class)
        now = time.monotonic()
        id = next(self._ids) if past is None else past.entry.id
        active = Active(id, kind(call), now, self._tasks, self._loop)
        ticket = Ticket(
            pid=process.pid, call_id=id, program=process.program, kind=kind_of(process.name),
            group=process.group, scheduling_class=urgency, nice=process.nice, arrival=now,
            weight=self._groups.weight(process.group),
        )  # fmt: skip
        visit = Visit(process, active, ticket, wanted)
        if isinstance(call, Generate):
            ticket.policy = call.policy and self._groups.policy(process.group, call.policy, self._pool.policies)
            ticket.priority = call.priority
            visit.step = self.foresight.came(process, call, ticket)
        self._visits[id] = visit
        if isinstance(call, Generate | CallTool) and call.deadline_s is not None:
            ticket.deadline = now + call.deadline_s
            active.end_after(call.deadline_s)
        if past is not None:
            visit.admission, visit.entry, visit.begun = Admission(past.charge, None), past.entry, True
        self._bus.publish(SyscallStarted(pid=process.pid, call=id, kind=active.kind, detail=detail(call)))
        self._processes.begin(process, active)
        return visit

    async def admit(self, visit: Visit) -> Admission:
        """Raises LimitExceeded; waits where too many calls of its process or group run, or too fast."""
        if visit.admission is None:
            process = visit.process
            visit.admission = Admission.of(process.budget, self._groups, process.group)
        await visit.admission.enter()
        return visit.admission

    def leave(self, visit: Visit, error: str) -> None:
        """Whatever became of it: settle, count, journal and tell."""
        process, active, ticket, usage = visit.process, visit.active, visit.ticket, visit.used()
        active.over()
        took = timings(ticket, time.monotonic())
        visit.settle()
        self.foresight.left(process, visit.step, active.id)
        self._processes.finish(process, active, usage, took, failed=bool(error))
        if visit.entry is not None and not (visit.parked and error in STOPPED):
            self._journal.record(over(visit.entry, error, visit.stored))
        elif visit.entry is None and visit.decided is not None:  # let in, and refused for something else
            self._journal.decided(visit.decided)
        self._bus.publish(
            SyscallFinished(
                pid=process.pid, call=active.id, kind=active.kind, seconds=took.total_s, error=error,
                prompt_tokens=usage.prompt_tokens, cached_tokens=usage.cached_tokens,
                completion_tokens=usage.completion_tokens, queue_s=took.queue_s, run_s=took.run_s,
            )
        )  # fmt: skip
        del self._visits[active.id]
        self._rest()

    # -- process -----------------------------------------------------------------------------------

    async def _effect(self, process: Process, call: Effect) -> Result:
        if call.idempotency_key is None:
            return await self._carry_out(process, call)
        wanted = claim(process.agent, call.idempotency_key, call)
        work = self._once.outputs(wanted, lambda: self._again(None, process, call, wanted), cancellable=False)
        return await last(work, ProcessInfo)

    async def _again(
        self, id: int | None, process: Process, call: Effect, wanted: Claim
    ) -> AsyncGenerator[Output, None]:
        yield await self._carry_out(process, call, wanted, id)

    async def _carry_out(
        self, process: Process, call: Effect, wanted: Claim | None = None, again: int | None = None
    ) -> ProcessInfo:
        with self._under_way(process) as id:
            return await self._effects.carry_out(id if again is None else again, process, call, wanted)

    async def _serve(self, process: Process, call: Call[Any]) -> Any:
        with self._under_way(process) as id:
            return await self._services.carry_out(id, process, call)

    async def _list(self, process: Process, call: Ps) -> ProcessList:
        """All for the kernel and admins; for others those of their privilege group."""
        self._journal.decided(await self._guard.admit(process, call))
        listed = self._processes.list(call.all)
        if process.group != ADMIN_GROUP:
            listed = tuple([info for info in listed if info.group == process.group])
        return ProcessList(processes=listed)

    async def _plan(self, process: Process, call: DeclarePlan) -> ProcessInfo:
        self._check_open(process)
        self._journal.decided(await self._guard.admit(process, call))
        self.foresight.declare(process, call.steps)
        return self._processes.info(process.pid)

    # -- after a crash -----------------------------------------------------------------------------

    def recover(self, calls: Iterable[Entry]) -> None:
        """What was open when the last kernel died: a call that can be asked for again runs again, with its
        charge held from now on; any other is lost."""
        for entry in calls:
            if not self._rerun(entry):
                self._give_up(entry)

    def _rerun(self, entry: Entry) -> bool:
        if entry.key is None or entry.request is None:
            return False
        try:
            process = self._processes.living(entry.pid)
            if entry.kind.startswith(("tool.", "memory.", "storage.")):
                return (self.tools if entry.kind.startswith("tool.") else self._services).rerun(process, entry)
            call = msgspec.json.decode(entry.request, type=Generate | Effect)
        except (AiosError, msgspec.MsgspecError):
            return False
        wanted = Claim(entry.agent, entry.key, entry.digest, entry.request)
        if not isinstance(call, Generate):  # a person had been asked
            self._once.rerun(wanted, lambda: self._again(entry.id, process, call, wanted))
            return True
        timeless = msgspec.structs.replace(call, deadline_s=None)
        past = Past(entry, Charge(process.budget, admitted=True))
        self._once.rerun(wanted, lambda: self._generate(process.pid, timeless, wanted, past))
        return True

    def _give_up(self, entry: Entry) -> None:
        state = "lost" if entry.effect in AGAIN else "in_doubt"
        self._journal.record(msgspec.structs.replace(entry, state=state, error=state, finished=time.time()))
        self._bus.publish(SyscallFinished(pid=entry.pid, call=entry.id, kind=entry.kind, error=state))
        self._processes.lost_call(entry.pid)

    # -- inside ------------------------------------------------------------------------------------

    def _check_open(self, process: Process) -> None:
        if self._refusal is not None:
            raise self._refusal()
        self._processes.living(process.pid)

    @contextmanager
    def _under_way(self, process: Process) -> Generator[int]:
        """The number of a call that is let in, and counted."""
        self._check_open(process)
        self._effects_open += 1
        try:
            yield next(self._ids)
        finally:
            self._effects_open -= 1
            self._rest()

    def _rest(self) -> None:
        if self._refusal is not None and not self.active:
            self._quiet.set()
