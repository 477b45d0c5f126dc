"""How many requests an endpoint gets at once: little enough that the backlog stays with the scheduler.

Additive increase, multiplicative decrease (Chiu and Jain 1989): each success adds 1/limit, a refusal for load
halves the limit, at most once per round trip: a request that was sent before the last cut says nothing new.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager, contextmanager


class Window:
    """Between 1 and `most` places for requests in flight; it starts wide open. Belongs to one event loop."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._limit = float(most)
        self._in_flight = 0
        self._inside = 0
        self._cut_at = float("-inf")
        self._closed_until = float("-inf")
        self._queue: deque[asyncio.Future[None]] = deque()

    @property
    def limit(self) -> int:
        return int(self._limit)

    @property
    def capacity(self) -> int:
        """Sequences that may be with the core: those there, and one for each free place. One that waits to try
        again holds no place. Never 0, since nobody would ask again when it grew."""
        return max(1, self._inside + self._free())

    @contextmanager
    def inside(self) -> Generator[None]:
        """Encloses a sequence's whole stay with the core."""
        self._inside += 1
        try:
            yield
        finally:
            self._inside -= 1

    @asynccontextmanager
    async def place(self) -> AsyncGenerator[float]:
        """A place for one request, when one is free and the window is not closed. Gives the time (monotonic) at
        which it was."""
        await self._enter()
        try:
            yield time.monotonic()
        finally:
            self._give_back()

    def succeeded(self) -> None:
        """The endpoint took a request."""
        self._limit = min(float(self._most), self._limit + 1.0 / self._limit)

    def refused(self, sent: float) -> None:
        """The endpoint refused, for its load, a request that was sent then (monotonic)."""
        if sent > self._cut_at:
            self._cut_at = time.monotonic()
            self._limit = max(1.0, self._limit / 2.0)

    def close_for(self, seconds: float) -> None:
        """Send nothing for so long: the endpoint said so."""
        self._closed_until = max(self._closed_until, time.monotonic() + seconds)

    def _free(self) -> int:
        return 0 if time.monotonic() < self._closed_until else max(0, int(self._limit) - self._in_flight)

    async def _enter(self) -> None:
        while True:
            await self._take()
            closed = self._closed_until - time.monotonic()
            if closed <= 0:
                return
            self._give_back()
            await asyncio.sleep(closed)

    async def _take(self) -> None:
        if self._in_flight < int(self._limit) and not self._queue:
            self._in_flight += 1
            return
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._queue.append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if not turn.cancelled():  # the place was given to one who is gone
                self._give_back()
            raise

    def _give_back(self) -> None:
        self._in_flight -= 1
        while self._queue and self._in_flight < int(self._limit):
            turn = self._queue.popleft()
            if not turn.cancelled():
                self._in_flight += 1
                turn.set_result(None)
