"""How promising a program is, from how long programs like it turned out to be."""

from __future__ import annotations

from bisect import bisect_right, insort
from collections import deque
from math import inf, log2

AGES = 4096
"""Most ages whose level is remembered."""


class Sizes:
    """Sizes (tokens of work) of the programs of one kind that ended, and the Gittins rank they imply.

    The rank of a program of age a (tokens attained) is the least expected work for each completion that one can
    reach by going on for some more work D:  min over D of  E[min(S - a, D) | S > a] / P(S - a <= D | S > a).
    To serve the least rank first minimises mean completion time when sizes are known only as a distribution
    (Gittins 1989; Aalto, Ayesta & Righter 2009, section 3). Programs of much the same size are so served the
    most advanced first, heavy-tailed ones the least attained first, without being told which they are.

    Before anything is known, and beyond the largest size seen, sizes are taken for log-uniform over the
    doublings of `base` up to `base * 2**doublings` (heavy-tailed: the rank grows with age), all of them
    together with the weight of one program. Below `base`, a call or two of an agent, this expects
    nobody to end. At most `keep` sizes are remembered, the newest."""

    def __init__(self, *, base: int = 512, doublings: int = 10, keep: int = 256) -> None:
        self.count = 0
        """How many there ever were."""
        self._recent: deque[float] = deque()
        self._keep = keep
        self._sorted = [(float(base << k), 1.0 / (doublings + 1)) for k in range(doublings + 1)]
        """Sizes and their weights."""
        self._levels: dict[tuple[float, float], int] = {}

    @property
    def recent(self) -> list[float]:
        """The sizes that are remembered, the oldest first."""
        return list(self._recent)

    def add(self, size: float) -> None:
        """A program of this kind ended with so many tokens of work."""
        if len(self._recent) == self._keep:
            self._sorted.remove((self._recent.popleft(), 1.0))
        self._levels.clear()
        self.count += 1
        self._recent.append(size)
        insort(self._sorted, (size, 1.0))

    def level(self, age: float, setup: float = 0.0) -> int:
        """That of the rank. O(sizes) for what is new since the last `add`."""
        known = self._levels.get((age, setup))
        if known is None:
            if len(self._levels) >= AGES:
                self._levels.clear()
            known = self._levels[age, setup] = level(self.rank(age, setup))
        return known

    def rank(self, age: float, setup: float = 0.0) -> float:
        """Tokens; smaller is to be served first. `setup`: tokens of work that come before any of it advances
        (switching costs in the index: Asawa & Teneketzis 1996). O(sizes)."""
        survivors = self._sorted[bisect_right(self._sorted, (age, inf)) :]
        if not survivors:
            return setup + max(1.0, age)  # older than anything thinkable: as far to go as it has come
        alive = sum(weight for _, weight in survivors)
        best, done, ended = inf, setup * alive, 0.0
        for size, weight in survivors:
            done += weight * (size - age)
            ended += weight
            best = min(best, (done + (alive - ended) * (size - age)) / ended)
        return best


def level(tokens: float) -> int:
    """Of a rank: four levels for each doubling."""
    return int(4 * log2(max(1.0, tokens)))
