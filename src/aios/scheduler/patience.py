"""Raises calls that wait too long."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable

from aios.scheduler.policy import Item, class_rank


class Patience:
    """After each `patience_s` seconds of waiting a call counts as one of the next better class. `waiting()`:
    who waits; `raised(items, now)` is told of all at once, and is asked in any case: a core may have got room
    that nobody told of."""

    def __init__(
        self,
        patience_s: float,
        waiting: Callable[[], Iterable[Item]],
        raised: Callable[[list[Item], float], None],
    ) -> None:
        self._patience_s, self._waiting, self._raised = patience_s, waiting, raised

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
        return now - item.queued >= self._patience_s * (item.raised + 1) and class_rank(item) > 0
