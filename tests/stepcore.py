"""A core that takes one step whenever the test says so, and callers of a scheduler before it."""

import asyncio
import contextlib

from aios import plugins
from aios.config import ContextSettings
from aios.context.manager import ContextManager
from aios.cores.core import Capabilities, Ended, Seat, Sequence, Yielded
from aios.errors import CoreError, DeadlineExceeded
from aios.events import EventBus
from aios.scheduler.scheduler import Scheduler
from aios.scheduler.ticket import Ticket
from aios.syscalls import Delta, Generate


class StepCore:
    """Sequences produce `length` tokens, one each time `tick` is called."""

    name = "steps"
    models = ("m",)
    epoch = 0

    def __init__(self, capacity: int, length: int = 3) -> None:
        self.capacity = capacity
        self.capabilities = Capabilities(interruptible=True)
        self.length = length
        self.order: list[int] = []
        self.inside: set[int] = set()
        self.most = 0
        self.fail: set[int] = set()
        self._stop: set[int] = set()
        self._clock = asyncio.Condition()
        self.ticks = 0

    async def tick(self, times: int = 1) -> None:
        for _ in range(times):
            await asyncio.sleep(0)
            async with self._clock:
                self.ticks += 1
                self._clock.notify_all()
            for _ in range(5):
                await asyncio.sleep(0)

    async def run(self, sequence: Sequence, seat: Seat):
        self.order.append(sequence.id)
        self.inside.add(sequence.id)
        self.most = max(self.most, len(self.inside))
        try:
            while len(sequence.generated) < self.length:
                async with self._clock:
                    await self._clock.wait()
                if sequence.id in self.fail:
                    raise CoreError("boom")
                sequence.generated.append(0)
                yield Delta(content="x")
                if sequence.id in self._stop and len(sequence.generated) < self.length:
                    self._stop.discard(sequence.id)
                    yield Yielded()
                    return
            yield Ended(reasons={0: "stop"}, completion_tokens=len(sequence.generated))
        finally:
            self.inside.discard(sequence.id)

    def interrupt(self, sequence: Sequence) -> None:
        self._stop.add(sequence.id)


class Bench:
    """A scheduler with callers."""

    def __init__(self, core: StepCore, policy, tasks: asyncio.TaskGroup, **options) -> None:
        self.core, self.tasks = core, tasks
        self.calls: list[asyncio.Task] = []
        self.bus = EventBus()
        self.scheduler = Scheduler(
            core,
            policy,
            self.bus,
            ContextManager(core, self.bus, ContextSettings()),
            lambda name: plugins.load(plugins.POLICIES, name)(quantum=2),
            **{"quantum": 2, "max_queue": 100, **options},
        )

    async def start(self) -> "Bench":
        await self.scheduler.start(self.tasks)
        return self

    def call(self, id: int, pid: int = 1, **ticket) -> asyncio.Task:
        self.calls.append(self.tasks.create_task(self._call(id, pid, ticket)))
        return self.calls[-1]

    async def finish(self) -> None:
        await asyncio.gather(*self.calls, return_exceptions=True)
        await self.scheduler.close()

    async def _call(self, id: int, pid: int, ticket: dict):
        sequence = Sequence(id, Generate(), pid, "default")
        got = 0
        try:
            async for step in self.scheduler.submit(sequence, Ticket(pid=pid, call_id=id, **ticket)):
                got += isinstance(step, Delta)
        except (CoreError, DeadlineExceeded) as error:
            return error
        return got


@contextlib.asynccontextmanager
async def bench(capacity: int, policy, **options):
    length = options.pop("length", 3)
    async with asyncio.TaskGroup() as tasks:
        b = await Bench(StepCore(capacity, length), policy, tasks, **options).start()
        yield b
        await b.finish()
