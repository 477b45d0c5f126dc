"""The kernel: it builds all parts, owns their tasks, and takes them down again. `async with Kernel(settings)`.

One llm call passes `trap` (dispatch.py), the core's scheduler (scheduler/scheduler.py) and the core (cores/),
and comes back through the iterator its caller awaits. Read process.py, limits.py, once.py and journal.py for
what happens to it on the way.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from types import TracebackType
from typing import Any, Self, TypeVar, cast
from urllib.parse import quote

import msgspec

import aios
from aios import plugins
from aios.access.keys import KeyRing
from aios.access.redact import Redactor
from aios.config import CoreSettings, Settings
from aios.context.manager import ContextManager
from aios.cores.core import Core
from aios.cores.ram import Ram
from aios.errors import AiosError, Cancelled, Conflict, Draining, JournalUnavailable
from aios.events import EventBus, JournalChanged, KernelChanged, StorageChanged, StoreDamaged, Subscription
from aios.kernel.aside import Aside
from aios.kernel.collector import tidy
from aios.kernel.dispatch import Dispatcher
from aios.kernel.groups import GroupTable
from aios.kernel.guard import Guard
from aios.kernel.journal import Journal
from aios.kernel.managers import Managers, managers
from aios.kernel.once import last
from aios.kernel.pcb import Process
from aios.kernel.policies import Policies
from aios.kernel.pool import Member, Pool
from aios.kernel.process import ProcessTable
from aios.kernel.status import KernelState, KernelStatus, ModelInfo
from aios.kernel.tooling import open_toolbox
from aios.kernel.toolloop import run_tools
from aios.kernel.toolorder import PolicyOrder
from aios.models import catalogue
from aios.scheduler.learned import LearnedFile
from aios.scheduler.scheduler import Scheduler
from aios.syscalls import Call, Completion, ContextInfo, Delta, Generate
from aios.syscalls.toolruns import RunTools, ToolRun
from aios.telemetry.trace import chrome_trace

log = logging.getLogger(__name__)

R = TypeVar("R")

GRACE_S = 5.0
"""How long cancelled calls may take to leave their slots."""
HOUSEKEEPING_S = 10.0
"""How often idle processes and old records are looked for."""


class Kernel:
    """One kernel. It serves inside its `async with`; leaving it drains: running calls go on for up to
    `settings.server.drain_s`, then they are cancelled.

    `cores`: use these and not those of the settings. `bus` tells all that happens, `processes` is the process
    table, `keys` are the agents' keys.

    Entering raises what the parts raise: ModelError, CoreError (a core does not start), ConfigError, Conflict
    (another kernel runs on the state folder), JournalUnavailable. Nothing is left behind then.

    `groups` are the limits of groups of agents; they can be changed while it runs. `guard` decides who may do
    what, asks people, and keeps the audit log and the secrets."""

    def __init__(self, settings: Settings, *, cores: Sequence[Core] | None = None) -> None:
        self.settings = settings
        redactor, folder = Redactor(), settings.state_dir()
        self.bus = EventBus(redactor.value)
        self.keys = KeyRing(folder / "keys.json")
        self.guard = Guard(settings.access, folder, redactor, self.bus)
        self._journal = Journal(
            folder / "journal.db", self._on_trouble, append=self.guard.audit.append, clean=redactor.text
        )
        self._pool = Pool(self.bus)
        self.processes = ProcessTable(
            settings.processes,
            self.bus,
            kv_of=self._pool.kv_of,
            standings=self._pool.standings,
            keep=self._keep,
            gone=self._forget,
        )
        self.groups = GroupTable(
            settings.groups, keep=lambda group: self._journal.spend(group.settings.name, group.row)
        )
        self._policy, self._cores = Policies(settings.scheduler), cores
        self._managers: Managers | None = None
        self._dispatcher: Dispatcher | None = None
        self._lately: Subscription | None = None
        self._stack = AsyncExitStack()
        self._state: KernelState = "closed"
        self._began = 0.0

    # -- calls -------------------------------------------------------------------------------------

    async def trap(self, pid: int, call: Call[R]) -> R:
        """Do a syscall for process `pid`: a Generate gives a Completion, and so on (syscalls/).

        Raises AiosError. Cancelling the caller cancels the call, down to the slot."""
        if getattr(call, "facts", 0):
            return cast("Any", await last(self.stream(pid, cast("Any", call)), Completion))
        return await self._need().trap(pid, call)

    def stream(self, pid: int, call: Generate) -> AsyncGenerator[Delta | Completion, None]:
        """One Delta a token, then exactly one Completion, last. Closing it cancels the call, down to the slot.

        Raises AiosError; what is wrong with the call is raised before the first Delta."""
        calls = self._need()
        outputs = calls.stream(pid, call)
        return calls.windows.personal.learning(pid, call, outputs) if call.facts else outputs

    async def run_tools(self, pid: int, asked: RunTools) -> ToolRun:
        """Ask a model, run the tools that it calls, and ask it again, until it has its answer. Each step is a
        syscall of process `pid`."""

        async def trap(call: Call[R], /) -> R:
            return await self.trap(pid, call)

        return await run_tools(trap, asked)

    def set_policy(self, policy: str, core: str = "") -> None:
        """Order the calls of a core ("": of all) by another policy, from now on; whoever waits goes on waiting.

        Raises ConfigError (no such policy), NotFound (no such core)."""
        for scheduler in self._pool.schedulers(core):
            scheduler.set_policy(self._policy(policy))

    def trace(self) -> dict[str, Any]:
        """The newest events as a timeline in Chrome's trace format."""
        names = {info.pid: info.name for info in self.processes.list(all=True)}
        return chrome_trace(self._lately.unread() if self._lately else (), names)

    async def composition(self, pid: int) -> ContextInfo:
        """What the window of the last call of a process holds, and what became of its contexts. Raises
        NotFound."""
        told = await self._need().windows.composition(self.processes.get(pid))
        stats, contexts = self._pool.context_stats(pid), self._pool.contexts(pid)
        return msgspec.structs.replace(told, stats=stats, contexts=contexts)

    # -- what it is --------------------------------------------------------------------------------

    @property
    def ready(self) -> bool:
        """Whether it takes calls."""
        return self._state == "ready"

    @property
    def draining(self) -> bool:
        """Whether it takes no calls any more, and ends those it has."""
        return self._state == "draining"

    def models(self) -> tuple[ModelInfo, ...]:
        """Models that calls may name, those of the default core first."""
        return self._pool.models()

    @property
    def managers(self) -> Managers:
        """Memory and storage. Raises Conflict before it runs."""
        self._need()
        assert self._managers is not None
        return self._managers

    def status(self) -> KernelStatus:
        live = self.processes.live()
        return KernelStatus(
            version=aios.__version__,
            uptime_s=time.monotonic() - self._began if self._began else 0.0,
            state=self._state,
            cores=self._pool.status(process.pid for process in live),
            processes=len(live),
            active_calls=self._dispatcher.active if self._dispatcher else 0,
            journal=self._journal.trouble or "ok",
            storage=(self._managers and self._managers.storage.trouble) or "ok",
        )

    # -- life --------------------------------------------------------------------------------------

    async def __aenter__(self) -> Self:
        if self._began:
            raise Conflict("A kernel is started once.", "Make a new Kernel.")
        self._began = time.monotonic()
        self._change("starting")
        try:
            async with AsyncExitStack() as stack:
                await self._start(stack)
                self._stack = stack.pop_all()
        except BaseException:
            self._change("closed")
            raise
        self._change("ready")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.drain()
        try:
            await self._end_calls(0.0 if kind else self.settings.server.drain_s)
        finally:
            await self._stack.aclose()
            self._change("closed")
            self.bus.close()

    def drain(self) -> None:
        """Take no more calls: they raise Draining. Leaving the `async with` ends those that run."""
        if self._state != "ready":
            return
        mend = "Try again when it is back."

        def draining() -> AiosError:
            return Draining("The kernel is shutting down.", mend, retry_after=5.0)

        self._need().refuse(draining)
        self.guard.asking.end(draining)
        self._change("draining")

    async def _start(self, stack: AsyncExitStack) -> None:
        if kept := self.settings.state.trace_events:
            self._lately = stack.enter_context(self.bus.subscribe(kept))
        recovered = await self._journal.open()
        stack.push_async_callback(self._journal.close)
        self.guard.open(self._journal, self.processes, recovered.access)
        stack.push_async_callback(self.guard.checkpoint)
        tasks = await stack.enter_async_context(self._task_group())
        self.groups.restore(recovered.groups)
        self.processes.restore(recovered.processes, recovered.next_pid)
        ask = Aside(self.trap, self.processes, self.groups)
        opened = managers(
            self.settings, tasks, ask, self.guard.grants, self._on_storage_trouble, self._on_damage
        )
        self._managers = await stack.enter_async_context(opened)
        await self.guard.entrust(self._managers.labelled)
        await self._start_cores(stack, tasks)  # behind their store: it takes their contexts when they close
        toolbox = await stack.enter_async_context(
            open_toolbox(
                self.settings.tools,
                self.settings.state_dir(),
                self._tool_order,
                tasks,
                self.trap,
                self.guard.redactor.text,
            )
        )
        self._dispatcher = Dispatcher(
            self.processes, self.groups, self._pool, self._journal, self.bus, tasks, self.guard, toolbox,
            first_id=recovered.next_id, idempotency_ttl_s=self.settings.state.idempotency_ttl_s,
            window=self.settings.context.window, services=self._managers.services,
            work=self.settings.state_dir() / "work",
        )  # fmt: skip
        for process in self.processes.live():
            if process.state == "paused":
                self._pool.pause(process.pid)
        self._dispatcher.recover(recovered.open_calls)
        with suppress(JournalUnavailable):
            await self._journal.settled()  # whoever asks again must find what is in doubt
        tasks.create_task(self._keep_house(), name="housekeeping")

    async def _start_cores(self, stack: AsyncExitStack, tasks: asyncio.TaskGroup) -> None:
        if self._cores is not None:
            for core in self._cores:
                await self._start_core(
                    core, CoreSettings(name=core.name, kind=type(core).__name__), stack, tasks
                )
            return
        default = CoreSettings(name="main", kind="llama", model=catalogue.default())
        ram = Ram()
        for settings in self.settings.cores or (default,):
            core: Core = plugins.load(plugins.CORES, settings.kind)(settings, self.bus, ram)
            await self._start_core(core, settings, stack, tasks)

    async def _start_core(
        self, core: Core, settings: CoreSettings, stack: AsyncExitStack, tasks: asyncio.TaskGroup
    ) -> None:
        order, state, name = self.settings.scheduler, self.settings.state_dir(), quote(core.name, safe="")
        assert self._managers is not None  # they are opened first
        contexts = ContextManager(
            core, self.bus, self.settings.context, store=self._managers.storage.slabs,
            alive=self.processes.alive, whose=lambda pid: self.processes.get(pid).agent,
        )  # fmt: skip
        policy, learned = self._policy(order.policy), LearnedFile(state / "learned" / f"{name}.json")
        await asyncio.to_thread(learned.teach, policy)
        scheduler = Scheduler(
            core, policy, self.bus, contexts, self._policy,
            quantum=order.quantum_tokens, max_queue=order.max_queue, patience_s=order.patience_s,
        )  # fmt: skip
        stack.callback(lambda: learned.keep(scheduler.policy))
        member = Member(core, settings.kind, scheduler, settings.price_prompt, settings.price_completion)
        await stack.enter_async_context(self._pool.serving(member, tasks))

    def _tool_order(self) -> PolicyOrder:
        return PolicyOrder(self._policy(self.settings.tools.policy or self.settings.scheduler.policy))

    @asynccontextmanager
    async def _task_group(self) -> AsyncGenerator[asyncio.TaskGroup]:
        """The one owner of all tasks. A task of its own holds it open, because a kernel may be entered in one
        task and left in another."""
        opened: asyncio.Future[asyncio.TaskGroup] = asyncio.get_running_loop().create_future()

        async def hold() -> None:
            async with asyncio.TaskGroup() as tasks:
                opened.set_result(tasks)
                await asyncio.Event().wait()

        holder = asyncio.create_task(hold(), name="kernel")
        holder.add_done_callback(self._on_holder_done)
        try:
            yield await opened
        finally:
            holder.cancel()
            await asyncio.wait([holder])
            if not holder.cancelled():
                holder.result()

    def _on_holder_done(self, holder: asyncio.Task[None]) -> None:
        """A defect ended a task, and by that all of them: nothing may wait for what can't come."""
        if holder.cancelled() or self._dispatcher is None:
            return
        log.critical("the kernel failed", exc_info=holder.exception())

        def failure() -> AiosError:
            return AiosError(f"The kernel failed: {holder.exception()!r}.", "Start it again; report this.")

        self._dispatcher.refuse(failure)
        self._dispatcher.end_all(failure)
        self._change("closed")

    async def _end_calls(self, patience_s: float) -> None:
        calls = self._need()
        with suppress(TimeoutError):
            async with asyncio.timeout(patience_s):
                await calls.quiet()
        calls.end_all(lambda: Cancelled("The kernel shut down.", "Send the call again when it is back."))
        with suppress(TimeoutError):
            async with asyncio.timeout(GRACE_S):
                await calls.quiet()

    async def _keep_house(self) -> None:
        ttl = self.settings.state.idempotency_ttl_s
        while True:
            now = time.time()
            self.processes.reap(now)
            self._journal.expire(now - ttl, [info.pid for info in self.processes.list(all=True)])
            await self.guard.keep_house()
            await asyncio.sleep(HOUSEKEEPING_S)
            if not self._need().active:
                tidy()

    # -- inside ------------------------------------------------------------------------------------

    def _need(self) -> Dispatcher:
        if self._dispatcher is None:
            raise Conflict("The kernel is not running.", "Use it inside `async with Kernel(settings)`.")
        return self._dispatcher

    def _keep(self, process: Process) -> None:
        self._need()
        self._journal.touch(process.pid, process.row)

    def _forget(self, pid: int) -> None:
        """A process is gone: nothing of it is kept for its next call."""
        self.guard.forget(pid)
        self._pool.drop(pid)
        if self._dispatcher is not None:
            self._dispatcher.windows.forget(pid)
            self._dispatcher.foresight.forget(self.processes.get(pid))
            self._dispatcher.tools.forget(self.processes.get(pid))

    def _change(self, state: KernelState) -> None:
        if state != self._state:
            self._state = state
            self.bus.publish(KernelChanged(state=state))

    def _on_trouble(self, trouble: str) -> None:
        if trouble:
            log.warning("the journal is degraded: %s", trouble)
        self.bus.publish(JournalChanged(state="degraded" if trouble else "ok", reason=trouble))

    def _on_storage_trouble(self, trouble: str) -> None:
        if trouble:
            log.warning("files can't be written: %s", trouble)
        self.bus.publish(StorageChanged(state="degraded" if trouble else "ok", reason=trouble))

    def _on_damage(self, name: str, reason: str) -> None:
        log.warning("%s", reason)
        self.bus.publish(StoreDamaged(name=name, reason=reason))
