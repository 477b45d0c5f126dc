"""A pool of cores of one make, each of which takes a step whenever the test says so."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections.abc import AsyncGenerator
from pathlib import Path

from aios import plugins
from aios.config import ContextSettings
from aios.context.manager import ContextManager
from aios.cores.core import Capabilities, ContextSpec, Seat, Sequence
from aios.errors import CoreError
from aios.events import ContextMoved, EventBus
from aios.kernel.pool import Member, Pool
from aios.scheduler.scheduler import Scheduler
from aios.scheduler.ticket import Ticket
from aios.syscalls import Generate
from tests.stepcore import StepCore

ids = itertools.count(1)


class Keeper:
    """Files of contexts are empty ones. `gone`: its core is. `asked`: how often it was to move something."""

    fingerprint = "twins"

    def __init__(self) -> None:
        self.gone, self.asked = False, 0

    async def move(self, ops) -> None:
        self.asked += 1
        await asyncio.sleep(0)
        if self.gone:
            raise CoreError("gone")

    async def swap_out(self, extent, path: Path) -> bool:
        await asyncio.to_thread(path.touch)
        return True

    def damaged(self) -> list:
        return []

    def reads(self) -> list:
        return []


class Store:
    """Where those are."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.names = folder, itertools.count()

    def reserve(self, size: int, owner: str) -> Path:
        return self.folder / f"{next(self.names)}.slab"

    async def seal(self, space: str, labels) -> None:
        await asyncio.sleep(0)

    def remove(self, path: Path) -> None:
        path.unlink(missing_ok=True)

    async def find(self, space: str) -> list:
        return []


class Twin(StepCore):
    """Computing a token of a prompt is said to take `prefill_s`."""

    def __init__(self, name: str, capacity: int, length: int, prefill_s: float) -> None:
        super().__init__(capacity, length)
        self.name, self.keeper = name, Keeper()
        spec = ContextSpec(64, 64, ram_bytes=2**20, prefill_s=prefill_s, keeper=self.keeper)
        self.capabilities = Capabilities(interruptible=True, contexts=spec)

    async def start(self, tasks: asyncio.TaskGroup) -> None:
        pass

    async def close(self) -> None:
        pass

    async def run(self, sequence: Sequence, seat: Seat):
        async with contextlib.aclosing(super().run(sequence, seat)) as steps:
            async for step in steps:
                sequence.kv = len(sequence.tokens) + len(sequence.generated) - 1
                yield step


class Twins:
    """The pool, and callers before it."""

    def __init__(self, tasks: asyncio.TaskGroup, members: list[Member], pool: Pool, bus: EventBus) -> None:
        self.tasks, self.members, self.pool, self.bus = tasks, members, pool, bus
        self.calls: list[asyncio.Task[None]] = []

    def core(self, member: Member) -> Twin:
        assert isinstance(member.core, Twin)
        return member.core

    async def settle(self, pid: int, tokens: list[int], *, count: int = 1) -> tuple[Member, Sequence, Ticket]:
        """A call is prepared and sent to the core that the pool chooses for it."""
        call, ticket = Generate(model="m"), Ticket(pid=pid, call_id=next(ids))
        made = [Sequence(next(ids), call, pid, "default", i, list(tokens)) for i in range(count)]
        return await self.pool.settle(self.pool.route("m", pid), made, ticket), made[0], ticket

    async def begin(self, pid: int, tokens: list[int], *, at: Member | None = None) -> Member:
        """A call is on its core, or waits there; `at`: on that one, whatever the pool would say."""
        member, sequence, ticket = await self.settle(pid, tokens)
        if at is not None and ticket.coming is not None:
            ticket.coming.give_up()
        member = at or member

        async def call() -> None:
            async for _ in member.scheduler.submit(sequence, ticket):
                pass

        self.calls.append(self.tasks.create_task(call()))
        await asyncio.sleep(0)
        return member

    async def finish(self) -> None:
        """All calls end."""
        while any(not call.done() for call in self.calls):
            for member in self.members:
                await self.core(member).tick()

    async def held(self, pid: int, tokens: list[int], *, at: Member) -> Member:
        """A call of `pid` was computed `at` that core, and is over."""
        await self.begin(pid, tokens, at=at)
        await self.finish()
        at.scheduler.backlog.seated(-1e9)  # what was computed is so now, whatever the clock says
        return at


@contextlib.asynccontextmanager
async def twins(
    folder: Path, count: int = 2, *, slots: int = 1, prefill_s: float = 0.01
) -> AsyncGenerator[Twins]:
    """The cores have a swap space each. Answers are two tokens long."""
    bus = EventBus()
    pool, members = Pool(bus), []

    def policy(name: str):
        return plugins.load(plugins.POLICIES, name)(quantum=64)

    async with asyncio.TaskGroup() as tasks, contextlib.AsyncExitStack() as stack:
        for number in range(count):
            core = Twin(f"core{number}", slots, 2, prefill_s)
            contexts = ContextManager(core, bus, ContextSettings(), store=Store(folder))
            scheduler = Scheduler(core, policy("fifo"), bus, contexts, policy, quantum=64, max_queue=100)
            members.append(Member(core, "steps", scheduler))
            await stack.enter_async_context(pool.serving(members[-1], tasks))
        made = Twins(tasks, members, pool, bus)
        yield made
        await made.finish()


def moves(events) -> list[int]:
    """Of which processes contexts went to files."""
    return [e.pid for e in events.unread() if isinstance(e, ContextMoved) and e.where == "swapped"]
