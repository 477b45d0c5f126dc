"""The door before a full queue: callers wait there in order, they are not refused."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable


class Door:
    """Lets callers in while `room()` says that there is room."""

    def __init__(self, room: Callable[[], bool]) -> None:
        self._room = room
        self._waiting: deque[asyncio.Future[None]] = deque()

    def __len__(self) -> int:
        """How many wait."""
        return len(self._waiting)

    async def enter(self, until: float | None) -> None:
        """Wait for one's turn, until the loop's time `until`. Raises TimeoutError."""
        if self._room() and not self._waiting:
            return
        place: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(place)
        try:
            async with asyncio.timeout_at(until):
                await place
        except BaseException:
            if place in self._waiting:
                self._waiting.remove(place)
            else:
                self.open()  # it was let in and does not come
            raise

    def open(self) -> None:
        """There may be room: let the next one in."""
        while self._waiting and self._room():
            place = self._waiting.popleft()
            if not place.done():
                place.set_result(None)
                return
