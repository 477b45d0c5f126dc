"""How promising a program is, from how long programs like it turned out to be."""

from __future__ import annotations

from bisect import bisect_right, insort
from collections import deque
from itertools import accumulate


class Sizes:
    """Sizes (tokens of work) of the programs of one kind that ended, and the Gittins rank they imply.

    The rank of a program of age a (tokens attained) is the least expected work for each completion that one can
    reach by going on for some more work D:  min over D of  E[min(S - a, D) | S > a] / P(S - a <= D | S > a).
    To serve the least rank first minimises mean completion time when sizes are known only as a distribution
    (Gittins 1989; Aalto, Ayesta & Righter 2009, section 3). Programs of much the same size are so served the
    most advanced first, heavy-tailed ones the least attained first, without being told which they are.

    Before anything is known, and beyond the largest size seen, sizes are taken for log-uniform over the
    doublings of `base` up to `base * 2**doublings` (heavy-tailed: the rank grows with age), with the weight of
    one program each. At most `keep` sizes are remembered, the newest."""

    def __init__(self, *, base: int = 128, doublings: int = 12, keep: int = 256) -> None:
        self._recent: deque[tuple[float, int]] = deque()
        self._keep, self._calls = keep, 0
        self._sorted = [float(base << k) for k in range(doublings + 1)]

    def add(self, size: float, calls: int = 1) -> None:
        """A program of this kind ended, with so many tokens of work in so many calls."""
        if len(self._recent) == self._keep:
            oldest, its_calls = self._recent.popleft()
            del self._sorted[bisect_right(self._sorted, oldest) - 1]
            self._calls -= its_calls
        self._recent.append((size, calls))
        self._calls += calls
        insort(self._sorted, size)

    @property
    def ending(self) -> float:
        """Of a call, the probability that its program ends with it: of those seen, and one of two unseen."""
        return (len(self._recent) + 1) / (self._calls + 2)

    def index(self, age: float, ahead: float) -> float:
        """The rank of a program of that age whose present call has `ahead` tokens of work left, tokens: it ends
        with this call, or goes on after it. What must be computed of its context again is part of `ahead`: so
        the index has the cost of switching to the program in it (Asawa & Teneketzis 1996)."""
        return min(ahead / self.ending, ahead + self.rank(age + ahead))

    def rank(self, age: float) -> float:
        """Tokens; smaller is to be served first. O(sizes)."""
        survivors = self._sorted[bisect_right(self._sorted, age) :]
        if not survivors:
            return max(1.0, age)  # older than anything thinkable: as far to go as it has come
        left = [size - age for size in survivors]
        count = len(left)
        return min(
            (done + (count - ended) * horizon) / ended
            for ended, (done, horizon) in enumerate(zip(accumulate(left), left, strict=True), 1)
        )
