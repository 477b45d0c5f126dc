"""How fast, and how much for a while: a token bucket, and a budget that refills."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable


class Bucket:
    """Lets `per_minute` units a minute through, and at most a minute's worth at once (token bucket: Turner
    1986). Those who wait are served first come, first served. `clock`: seconds, monotonic."""

    def __init__(self, per_minute: float, clock: Callable[[], float] = time.monotonic) -> None:
        self.per_minute = per_minute
        self._clock = clock
        self._level = per_minute
        self._at = clock()
        self._turn = asyncio.Lock()
        self._given = asyncio.Event()

    @property
    def level(self) -> float:
        """Units that may pass now; less than 0 while what was used in advance is paid back."""
        now = self._clock()
        self._level = min(self.per_minute, self._level + (now - self._at) * self.per_minute / 60.0)
        self._at = now
        return self._level

    async def take(self, units: float) -> None:
        """Wait until so many units (or a whole minute's worth, if that is less) are there, and use them up.
        Nothing is used if the caller is cancelled while it waits."""
        async with self._turn:
            while (missing := min(units, self.per_minute) - self.level) > 1e-9:
                self._given.clear()
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(missing * 60.0 / self.per_minute):
                        await self._given.wait()
            self._level -= units

    def give(self, units: float) -> None:
        """Put units back, for whoever waits; a negative number uses up more than was taken, which the next
        ones wait for."""
        self._level = min(self.per_minute, self.level + units)
        self._given.set()


class Purse:
    """At most `limit` in each period of `period_s` seconds, from the first payment of it. `clock`: Unix time.

    At all times `spent + held <= limit`, but for calls whose cost was only known at their end."""

    def __init__(
        self,
        limit: float,
        period_s: float,
        *,
        spent: float = 0.0,
        began: float = 0.0,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.limit, self.period_s = limit, period_s
        self.spent, self.began = spent, began
        self.held = 0.0
        self._clock = clock

    def left(self) -> float:
        now = self._clock()
        if now >= self.began + self.period_s:
            self.spent, self.began = 0.0, now
        return self.limit - self.spent - self.held

    def refills_in(self) -> float:
        """Seconds until a new period begins."""
        return max(0.0, self.began + self.period_s - self._clock())

    def settle(self, held: float, cost: float) -> None:
        """What was held is over, and cost so much."""
        self.left()
        self.held -= held
        self.spent += cost
