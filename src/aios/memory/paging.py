"""What stays in RAM: LRU-K under byte budgets.

LRU-K (O'Neil, O'Neil, Weikum 1993) evicts the page whose K-th last reference is furthest back. A page that was
read once, as by a scan, has no K-th last reference and goes before any that is read again and again. References
within the *correlated reference period* count as one (section 2.1.1); the history of a page outlives its stay
in RAM by the *retained information period* (section 2.1.2), or no page could ever show a second reference.
"""

from __future__ import annotations

import heapq
from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass

NEVER = -1
"""Time of a reference that was not made."""


@dataclass(slots=True)
class History:
    """`times[i]`: the i-th last uncorrelated reference; `last`: the last one of any kind."""

    times: list[int]
    last: int


class LruK:
    """The order in which pages should go. Time is counted in references.

    `correlated`: references; 0 counts each. `retained`: histories of absent pages that are kept."""

    def __init__(self, k: int = 2, *, correlated: int = 0, retained: int = 100_000) -> None:
        if k < 1:
            raise ValueError("k is at least 1")
        self._k, self._correlated, self._retained = k, correlated, retained
        self._now = 0
        self._present: dict[str, History] = {}
        self._absent: OrderedDict[str, History] = OrderedDict()

    def __contains__(self, key: str) -> bool:
        return key in self._present

    def reference(self, key: str) -> None:
        """`key` is read or written, and is in RAM from now on. (Figure 2.1 of the paper.)"""
        self._now += 1
        history = self._present.get(key)
        if history is None:
            history = self._absent.pop(key, None) or History([NEVER] * self._k, NEVER)
            history.times = [self._now, *history.times[:-1]]
            self._present[key] = history
        elif self._now - history.last > self._correlated:
            # The time of a burst counts for nothing: earlier references move up by its length.
            burst = history.last - history.times[0]
            moved = [time if time == NEVER else time + burst for time in history.times[:-1]]
            history.times = [self._now, *moved]
        history.last = self._now

    def evict(self, key: str) -> None:
        """`key` left RAM; its history is kept a while."""
        self._absent[key] = self._present.pop(key)
        while len(self._absent) > self._retained:
            self._absent.popitem(last=False)

    def forget(self, key: str) -> None:
        """`key` is gone for good."""
        self._present.pop(key, None)
        self._absent.pop(key, None)

    def order(self, keys: Iterable[str]) -> list[tuple[bool, int, int, str]]:
        """A heap of these pages, the first to go on top: those in a burst last (and so the page that just
        came), then by the K-th last reference, then by the last one."""
        heap = [self._rank(key) for key in keys]
        heapq.heapify(heap)
        return heap

    def _rank(self, key: str) -> tuple[bool, int, int, str]:
        history = self._present[key]
        return (self._now - history.last <= self._correlated, history.times[-1], history.last, key)


@dataclass(slots=True)
class _Page:
    owner: str
    data: bytes
    pinned: bool


class Pages:
    """Bytes in RAM, within a budget in all and one for each owner.

    When either is more than `high` full, `crowded` names what should go until it is `low` full. Pinned pages
    never go. All of it is plain data: moving victims to a backing store is the caller's."""

    def __init__(
        self, policy: LruK, *, total: int, per_owner: int, high: float = 0.8, low: float = 0.7
    ) -> None:
        if not 0 <= low <= high <= 1:
            raise ValueError("0 <= low <= high <= 1")
        self._policy = policy
        self._total, self._per_owner, self._high, self._low = total, per_owner, high, low
        self._pages: dict[str, _Page] = {}
        self._owned: dict[str, dict[str, None]] = {}
        self._used: dict[str, int] = {}
        self._pinned: dict[str, int] = {}
        self.used = 0
        """Bytes in RAM."""

    def __contains__(self, key: str) -> bool:
        return key in self._pages

    def used_by(self, owner: str) -> int:
        return self._used.get(owner, 0)

    def pinned_by(self, owner: str) -> int:
        return self._pinned.get(owner, 0)

    def holds(self, key: str, data: bytes) -> bool:
        """Whether `data`, this very object, is what is there."""
        page = self._pages.get(key)
        return page is not None and page.data is data

    def get(self, key: str) -> bytes | None:
        """What is there, and that counts as a reference; None if it is not in RAM."""
        page = self._pages.get(key)
        if page is None:
            return None
        self._policy.reference(key)
        return page.data

    def put(self, key: str, owner: str, data: bytes, *, pinned: bool = False) -> None:
        """Keep `data` in RAM. More than `high` of a budget is not kept: it would push all others out."""
        self.remove(key)
        if not pinned and len(data) > self._high * min(self._total, self._per_owner):
            return
        self._policy.reference(key)
        self._pages[key] = _Page(owner, data, pinned)
        self._owned.setdefault(owner, {})[key] = None
        self._count(owner, len(data), len(data) if pinned else 0)

    def pin(self, key: str, pinned: bool) -> None:
        """Change whether a page in RAM may go."""
        page = self._pages[key]
        if page.pinned != pinned:
            page.pinned = pinned
            self._count(page.owner, 0, len(page.data) if pinned else -len(page.data))

    def remove(self, key: str, *, gone: bool = False) -> None:
        """Out of RAM, if it is there; `gone`: it will not come back."""
        page = self._pages.pop(key, None)
        if page is not None:
            self._policy.evict(key)
            del self._owned[page.owner][key]
            self._count(page.owner, -len(page.data), -len(page.data) if page.pinned else 0)
        if gone:
            self._policy.forget(key)

    def crowded(self, owner: str) -> list[tuple[str, bytes]]:
        """Pages that should go, now that `owner` put something: first so that its own budget holds, then so
        that the whole does. They stay until `remove`."""
        victims: dict[str, bytes] = {}
        mine = self._victims(self._owned.get(owner, {}), self.used_by(owner), self._per_owner)
        victims.update(mine)
        freed = sum(map(len, victims.values()))
        rest = (
            [key for key in self._pages if key not in victims] if self.used > self._high * self._total else []
        )
        victims.update(self._victims(rest, self.used - freed, self._total))
        return list(victims.items())

    def _victims(self, keys: Iterable[str], used: int, budget: int) -> dict[str, bytes]:
        if used <= self._high * budget:
            return {}
        heap = self._policy.order(key for key in keys if not self._pages[key].pinned)
        victims: dict[str, bytes] = {}
        while heap and used > self._low * budget:
            key = heapq.heappop(heap)[-1]
            victims[key] = self._pages[key].data
            used -= len(victims[key])
        return victims

    def _count(self, owner: str, size: int, pinned: int) -> None:
        self.used += size
        self._used[owner] = self.used_by(owner) + size
        self._pinned[owner] = self.pinned_by(owner) + pinned
        if not self._owned.get(owner) and not self._used[owner]:
            for table in (self._used, self._pinned, self._owned):
                table.pop(owner, None)
