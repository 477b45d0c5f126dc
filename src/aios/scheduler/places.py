"""Slots of one core, counted, for items that take one or several."""

from __future__ import annotations

from collections.abc import Callable

from aios.scheduler.policy import Item

HOLD_S = 1.0
"""One that takes several slots and waited so long gets the next ones that become free: narrower ones would
slip past it for ever."""


class Places:
    """`capacity()`: how many slots there are, which may change."""

    def __init__(self, capacity: Callable[[], int]) -> None:
        self._capacity = capacity
        self._taken = 0
        self._wide: dict[Item, None] = {}

    @property
    def free(self) -> int:
        return self._capacity() - self._taken

    def take(self, item: Item) -> None:
        self._wide.pop(item, None)
        self._taken += item.width

    def give_back(self, item: Item) -> None:
        self._taken -= item.width

    def wait(self, item: Item) -> None:
        """`item` waits."""
        if item.width > 1:
            self._wide[item] = None

    def forget(self, item: Item) -> None:
        """`item` waits no more."""
        self._wide.pop(item, None)

    def held_for(self, now: float) -> Item | None:
        """The item for which free slots are held."""
        oldest = next(iter(self._wide), None)
        return oldest if oldest and now - oldest.queued >= HOLD_S else None

    def fits(self, item: Item, now: float) -> bool:
        """It may have its slots now."""
        if item.width > self._capacity() - self._taken:
            return False
        return not self._wide or self.held_for(now) in (None, item)
