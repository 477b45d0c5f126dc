"""Keeps the worker of one embedded core running."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable

from aios.cores.llama.link import Link, WorkerLost
from aios.cores.llama.messages import FromWorker, Options, Ready, ToWorker
from aios.errors import AiosError, CoreUnavailable, EngineCrashed
from aios.events import CoreChanged, EventBus

PERIOD_S = 60.0


class Supervisor:
    """Starts the worker with `options()`, hands on what it says (`deliver`), and starts another when it dies:
    at most `max_restarts` times a minute. `lost` is told WorkerLost when a worker was replaced, so that whoever
    asked the old one asks the new one, or the error after which there is none."""

    def __init__(
        self,
        name: str,
        options: Callable[[], Options],
        bus: EventBus,
        *,
        max_restarts: int,
        deliver: Callable[[FromWorker], None],
        lost: Callable[[AiosError], None],
    ) -> None:
        self.epoch = 0
        """How often the worker died; what it held in its slots died with it."""
        self._name, self._options, self._bus = name, options, bus
        self._max_restarts = max_restarts
        self._deliver, self._lost = deliver, lost
        self._link: Link | None = None
        self._ready: Ready | None = None
        self._up = asyncio.Event()
        self._failed: AiosError | None = None
        self._task: asyncio.Task[None] | None = None

    @property
    def ready(self) -> Ready:
        """What the worker said of itself. Raises CoreUnavailable before `start`."""
        if self._ready is None:
            raise CoreUnavailable(f"Core {self._name} is not started.", "Await `start()` first.")
        return self._ready

    @property
    def pid(self) -> int:
        """Of the worker process. Raises CoreUnavailable before `start`."""
        return self._worker().pid

    async def start(self, tasks: asyncio.TaskGroup) -> None:
        """Raises ModelError, EngineCrashed."""
        await self._open()
        self._task = tasks.create_task(self._supervise(), name=f"core {self._name}")

    async def close(self) -> None:
        if self._task:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        self._fail(CoreUnavailable(f"Core {self._name} is closed.", "Start the kernel again."))
        if self._link:
            await self._link.close()

    async def wait(self) -> None:
        """Until a worker is up. Raises what keeps it from ever being."""
        await self._up.wait()
        if self._failed:
            raise self._failed

    def send(self, message: ToWorker) -> None:
        if self._link:
            self._link.send(message)

    async def _open(self) -> None:
        self._link, self._ready = await Link.open(self._options())
        self._up.set()

    async def _supervise(self) -> None:
        deaths: deque[float] = deque()
        while True:
            try:
                while True:
                    self._deliver(await self._worker().receive())
            except WorkerLost as lost:
                self._up.clear()
                self.epoch += 1
                deaths.append(time.monotonic())
                while deaths[0] < deaths[-1] - PERIOD_S:
                    deaths.popleft()
                self._bus.publish(CoreChanged(core=self._name, state="lost", reason=str(lost)))
                await self._worker().close()
                if len(deaths) > self._max_restarts:
                    return self._give_up(f"it died {len(deaths)} times within a minute")
            try:
                await self._open()
            except AiosError as error:
                return self._give_up(str(error))
            self._bus.publish(CoreChanged(core=self._name, state="restarted"))
            self._lost(WorkerLost("The engine's worker was restarted."))

    def _give_up(self, why: str) -> None:
        self._fail(EngineCrashed(f"Core {self._name} is not restarted: {why}.", "Restart the kernel."))
        self._bus.publish(CoreChanged(core=self._name, state="closed", reason=why))

    def _fail(self, error: AiosError) -> None:
        self._failed = error
        self._up.set()  # whoever waits for the worker must learn that there will be none
        self._lost(error)

    def _worker(self) -> Link:
        if self._link is None:
            raise CoreUnavailable(f"Core {self._name} is not started.", "Await `start()` first.")
        return self._link
