"""Warm boxes: one for each agent and profile, started when first needed, never shared between agents.

Measured on two cores: a run in a warm box 3 ms (a fork of the zygote in it), in a session 1 ms, in a new box 50
to 70 ms. A pool of boxes that are started ahead, one for each run, would hide the start but not the 15 ms of
processor time that making the namespaces takes each time; and a box over one work folder can't be made before
it is known whose it is.
"""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from pathlib import Path

import msgspec

from aios.syscalls.tools import Profile
from aios.tools.sandbox.box import Box, Sandbox
from aios.tools.sandbox.profile import Outcome, Run

Key = tuple[str, str, bytes]


class _Place:
    """Where the box of one key is, or will be. `running`: it is used, or being opened."""

    def __init__(self) -> None:
        self.turn = asyncio.Lock()
        self.users = 0
        self.running = False
        self.used = 0.0
        self.box: Box | None = None


class Boxes:
    """Keeps at most `most` boxes, and each for `idle_s` seconds after its last run. `find`: the sandbox to use,
    asked when the first box is needed."""

    def __init__(
        self, find: Callable[[], Awaitable[Sandbox]], *, most: int = 32, idle_s: float = 300.0
    ) -> None:
        self._find, self._most, self._idle_s = find, most, idle_s
        self._sandbox: Sandbox | None = None
        self._finding = asyncio.Lock()
        self._busy = asyncio.Semaphore(most)
        self._places: OrderedDict[Key, _Place] = OrderedDict()
        self._sweeper: asyncio.Task[None] | None = None

    def start(self, tasks: asyncio.TaskGroup) -> None:
        """Look after idle boxes from now on, in a task of `tasks`."""
        self._sweeper = tasks.create_task(self._sweep(), name="idle boxes")

    async def close_all(self) -> None:
        """End all boxes."""
        if self._sweeper is not None:
            self._sweeper.cancel()
            await asyncio.wait([self._sweeper])
        while self._places:
            await _close(self._places.popitem()[1])

    def __len__(self) -> int:
        """How many boxes there are, with those being opened."""
        return sum(place.running or place.box is not None for place in self._places.values())

    async def run(self, owner: str, work: Path, run: Run, profile: Profile) -> Outcome:
        """Run it in the box of `owner` over `work`, after what runs there. Raises SandboxUnavailable."""
        key = (owner, str(work), msgspec.json.encode(profile))
        place = self._places.setdefault(key, _Place())
        self._places.move_to_end(key)
        place.users += 1
        try:
            async with place.turn, self._busy:
                place.running = True
                if place.box is None or place.box.closed:
                    place.box = None
                    place.box = await self._open(work, profile)
                return await place.box.run(run)
        finally:
            place.running = False
            place.users -= 1
            place.used = time.monotonic()

    def has(self, owner: str) -> bool:
        """Whether `owner` has boxes."""
        return any(key[0] == owner for key in self._places)

    async def close(self, owner: str) -> None:
        """End the boxes of `owner`, and what runs in them."""
        for key in [key for key in self._places if key[0] == owner]:
            await _close(self._places.pop(key))

    async def _open(self, work: Path, profile: Profile) -> Box:
        async with self._finding:
            self._sandbox = self._sandbox or await self._find()
        while len(self) > self._most:
            # No more than `most` run, so of these one is idle: the one that was used longest ago goes.
            await _close(next(place for place in self._places.values() if place.box and not place.running))
        await asyncio.to_thread(work.mkdir, 0o700, True, True)
        return await self._sandbox.open(work, profile)

    async def _sweep(self) -> None:
        while True:
            await asyncio.sleep(self._idle_s / 2)
            before = time.monotonic() - self._idle_s
            for key, place in list(self._places.items()):
                if not place.users and place.used <= before:
                    del self._places[key]
                    await _close(place)


async def _close(place: _Place) -> None:
    box, place.box = place.box, None
    if box is not None:
        await box.close()
