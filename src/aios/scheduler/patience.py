"""Raises calls that wait too long."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable

from aios.scheduler.policy import Item, SchedulingPolicy, rises_under


class Patience:
    """Raises a call after each `patience_s` seconds of waiting, if under `policy()` it can be raised once more.
    `waiting()`: who waits; `raised(items, now)` is told of all at once, and is asked in any case: a core may
    have got room that nobody told of."""

    def __init__(
        self,
        patience_s: float,
        policy: Callable[[], SchedulingPolicy],
        waiting: Callable[[], Iterable[Item]],
        raised: Callable[[list[Item], float], None],
    ) -> None:
        self._patience_s, self._policy, self._waiting, self._raised = patience_s, policy, waiting, raised

    async def watch(self) -> None:
        """For ever."""
        while True:
            await asyncio.sleep(self._patience_s / 4)
            now = time.monotonic()
            found = [item for item in self._waiting() if self._due(item, now)]
            for item in found:
                item.raised += 1
            self._raised(found, now)

    def _due(self, item: Item, now: float) -> bool:
        waited = now - item.queued >= self._patience_s * (item.raised + 1)
        return waited and rises_under(self._policy(), item)
