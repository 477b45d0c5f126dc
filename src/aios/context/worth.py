"""What it is worth to keep a context: what its loss would cost, over what keeping it costs.

Keeping KV of b bytes for the g seconds until it is wanted costs b * g byte-seconds of a memory that others want
too; losing it costs computing its tokens again. So what is worth least per byte-second goes first: the waste
of InferCept (Abhyankar et al. 2024, section 4.1: preserve, swap or discard by min(waste)) as a greedy knapsack,
with gaps expected from each agent's own history as in Continuum (Li et al. 2025, section 4).
"""

from __future__ import annotations

from collections import Counter

from aios.config import Eviction
from aios.context.entry import Entry
from aios.context.rates import Rates
from aios.cores.core import ContextSpec

MOVE_S = 0.05
"""What a move between cores takes besides: a step of the engine, and the store's commit."""
LEARNING = 0.3
"""Weight of the newest gap in an agent's mean."""
SOON = 0.01
"""Seconds until a context is wanted whose call waits already."""


class Gaps:
    """How long agents stay away between two calls. Times are seconds of one monotonic clock."""

    def __init__(self, prior: float = 1.0) -> None:
        self._mean: dict[int, float] = {}
        self._left: dict[int, float] = {}
        self._calls: Counter[int] = Counter()
        self._declared: dict[int, float] = {}
        self._all = prior

    def came(self, pid: int, now: float) -> None:
        """A call of the process came."""
        self._calls[pid] += 1
        left = self._left.pop(pid, None)
        self._declared.pop(pid, None)
        if left is not None:
            gap = now - left
            self._mean[pid] = (1 - LEARNING) * self._mean.get(pid, self._all) + LEARNING * gap
            self._all += 0.05 * (gap - self._all)

    def went(self, pid: int, now: float) -> None:
        """A call of the process is over."""
        if pid in self._calls:
            self._calls[pid] -= 1
            if not self._calls[pid]:
                del self._calls[pid]
                self._left[pid] = now

    def declare(self, pid: int, seconds: float, now: float) -> None:
        """The process is known to stay away for so long from now on, this time."""
        self._declared[pid] = now - self._left.get(pid, now) + seconds

    def forget(self, pid: int) -> None:
        for table in (self._mean, self._left, self._declared):
            table.pop(pid, None)
        self._calls.pop(pid, None)

    def mean(self, pid: int) -> float:
        return self._mean.get(pid, self._all)

    def expected(self, pid: int, now: float) -> float:
        """Seconds until its next call. One that is later than expected stays away for as long again as it is
        late. Of one whose habits are not known the time that passed says nothing of the time to come."""
        if self._calls[pid]:
            return SOON
        mean = self._declared.get(pid, self._mean.get(pid))
        away = now - self._left.get(pid, now)
        if mean is None:
            return max(self._all, away - self._all)
        return max(mean - away, away - mean, mean / 4, SOON)


class Worth:
    """Ranks entries of one core: the least goes first. With `lru` the order is that of use alone. What
    computing takes is as measured when the core started, what reading takes as its `rates` say by now."""

    def __init__(
        self, spec: ContextSpec, gaps: Gaps, eviction: Eviction = "waste", rates: Rates | None = None
    ) -> None:
        self._spec, self._gaps, self._eviction = spec, gaps, eviction
        self.rates = rates or Rates()

    def size(self, tokens: int) -> int:
        """Bytes of a parked context."""
        return self._spec.bytes_base + tokens * self._spec.bytes_per_token

    def gap(self, entry: Entry, now: float) -> float:
        """Seconds until `entry` is wanted. What is shared is wanted at about the rate at which it was."""
        if entry.pid == 0:
            return max(SOON, now - entry.since)
        return self._gaps.expected(entry.pid, now)

    def in_ram(self, entry: Entry, now: float) -> tuple[float, int]:
        """Of its extent: seconds saved per byte and second; among equals the newest is worth most."""
        if self._eviction == "lru":
            return 0.0, entry.used
        back = self.read_s(entry) if entry.file else self.compute_s(entry)
        load = self.rates.ram.seconds(self.size(len(entry.tokens)))
        return (back - load) / self._weight(entry, now), entry.used

    def on_disk(self, entry: Entry, now: float) -> tuple[float, int]:
        """Of its file, likewise."""
        if self._eviction == "lru":
            return 0.0, entry.used
        return (self.compute_s(entry) - self.read_s(entry)) / self._weight(entry, now), entry.used

    def swappable(self, entry: Entry) -> bool:
        """Reading it back would be quicker than computing it again."""
        return self.read_s(entry) < self.compute_s(entry)

    def compute_s(self, entry: Entry) -> float:
        return len(entry.tokens) * self._spec.prefill_s

    def read_s(self, entry: Entry) -> float:
        return self.rates.disk.seconds(self.size(len(entry.tokens)))

    def move_s(self, entry: Entry) -> float:
        """Until another core can go on with it: saved, written to a file and read again, as far as that is
        still to be done."""
        size = self.size(len(entry.tokens))
        saved = self.rates.ram.seconds(size) if entry.slot is not None else 0.0
        written = 0.0 if entry.file else self.rates.disk.seconds(size)
        return MOVE_S + saved + written + self.read_s(entry)

    def _weight(self, entry: Entry, now: float) -> float:
        return self.size(len(entry.tokens)) * self.gap(entry, now)
