"""What a core has to do before a call that came now would get on: how long that takes, about."""

from __future__ import annotations

import time
from collections.abc import Callable

LEARNING = 0.1
"""Weight of the newest call in the mean time of service."""


class Backlog:
    """Of a core with `capacity()` slots, at which `present()` calls are, in slots or waiting for one. A call
    that was sent to it counts at once, before it comes: calls that are sent at the same time see each other.
    `now`: the clock, in seconds."""

    def __init__(
        self,
        present: Callable[[], int],
        capacity: Callable[[], int],
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self.coming, self.coming_s = 0, 0.0
        self._present, self._capacity, self._now = present, capacity, now
        self._service_s = 1.0
        self._computed_at = 0.0

    @property
    def wait_s(self) -> float:
        """Until a slot is free, and until the prompts are computed of those who got one: prompts are computed
        one after the other, whatever the number of slots."""
        capacity = self._capacity()
        ahead = self._present() + self.coming + 1 - capacity
        prompts_s = max(0.0, self._computed_at - self._now()) + self.coming_s
        return max(0, ahead) * self._service_s / max(1, capacity) + prompts_s

    @property
    def load(self) -> float:
        """Calls for each slot."""
        return (self._present() + self.coming) / max(1, self._capacity())

    def expect(self, calls: int, compute_s: float) -> Coming:
        """So many were sent here; computing their prompt takes `compute_s`."""
        return Coming(self, calls, compute_s)

    def seated(self, compute_s: float) -> None:
        """A call got a slot, and so much of its prompt is to be computed."""
        self._computed_at = max(self._computed_at, self._now()) + compute_s

    def served(self, run_s: float) -> None:
        """A call ended that was so long in slots."""
        self._service_s += LEARNING * (run_s - self._service_s)


class Coming:
    """Calls on their way to the core of `backlog`, until each `came` or all that are left are given up."""

    def __init__(self, backlog: Backlog, calls: int, compute_s: float) -> None:
        self._backlog, self._calls, self._compute_s = backlog, calls, compute_s
        backlog.coming += calls
        backlog.coming_s += compute_s

    def came(self) -> None:
        """One is there; the prompt, which is that of all, with the first."""
        if self._calls:
            self._take(1)

    def give_up(self) -> None:
        """Who is not there yet won't come. Harmless when all are."""
        self._take(self._calls)

    def _take(self, calls: int) -> None:
        self._calls -= calls
        self._backlog.coming -= calls
        self._backlog.coming_s -= self._compute_s
        if not self._backlog.coming:
            self._backlog.coming_s = 0.0  # no rest of rounding
        self._compute_s = 0.0
