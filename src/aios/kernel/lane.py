"""The queue before a manager: so many calls at once, the others in turn by agent."""

from __future__ import annotations

import asyncio
from collections import OrderedDict, deque
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from contextvars import ContextVar

from aios.errors import LimitExceeded


class Lane:
    """`width` calls run at once and `most_waiting` wait; those that wait go on one of each agent in turn, those
    of one agent in the order in which they came (Nagle 1985, RFC 970, for packets)."""

    def __init__(self, name: str, width: int, most_waiting: int) -> None:
        self._name, self._free, self._most_waiting = name, width, most_waiting
        self._queues: OrderedDict[str, deque[asyncio.Future[None]]] = OrderedDict()
        self._waiting = 0
        self._mine: ContextVar[str | None] = ContextVar(f"{name} lane", default=None)

    @property
    def waiting(self) -> int:
        return self._waiting

    @asynccontextmanager
    async def turn(self, agent: str) -> AsyncGenerator[None]:
        """A place in the lane. Raises LimitExceeded if too many wait."""
        await self._enter(agent)
        token = self._mine.set(agent)
        try:
            yield
        finally:
            self._mine.reset(token)
            self._leave()

    @asynccontextmanager
    async def stepped_out(self) -> AsyncGenerator[None]:
        """Inside a turn: the place is another's meanwhile, because what is waited for here isn't the
        manager."""
        agent = self._mine.get()
        if agent is None:
            yield
            return
        self._leave()
        try:
            yield
        finally:
            # Its turn ends soon, and must have a place to give back: it does not queue for that.
            self._free -= 1

    async def _enter(self, agent: str) -> None:
        if self._free > 0 and not self._waiting:
            self._free -= 1
            return
        if self._waiting >= self._most_waiting:
            what = f"{self._waiting} calls wait for {self._name} already."
            raise LimitExceeded(what, "Try again later.", retry_after=1.0)
        place: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._queues.setdefault(agent, deque()).append(place)
        self._waiting += 1
        try:
            await place
        except asyncio.CancelledError:
            if place.done() and not place.cancelled():
                self._leave()  # it was given a place, and can't use it
            raise

    def _leave(self) -> None:
        self._free += 1
        while self._free > 0 and self._queues:
            agent, queue = next(iter(self._queues.items()))
            place = queue.popleft()
            self._waiting -= 1
            self._queues.move_to_end(agent)
            if not queue:
                del self._queues[agent]
            if not place.done():
                self._free -= 1
                place.set_result(None)
