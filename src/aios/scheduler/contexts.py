"""Where simulated contexts are: what a virtual core asks."""

from __future__ import annotations

from typing import Protocol

from aios.scheduler.load import Session


class Contexts(Protocol):
    """The KV of one virtual core. One call of a session at a time."""

    def begin(self, session: Session) -> int:
        """`session.call` came; the tokens of its prompt."""
        ...

    def cached(self, session: Session) -> int:
        """Tokens of its context that would not have to be computed if it started now."""
        ...

    def seat(self, session: Session) -> tuple[int, float]:
        """It gets a slot: tokens whose KV is there, and seconds that moving took."""
        ...

    def leave(self, session: Session, generated: int, kv: int) -> None:
        """It is out of its slot: tokens its call generated so far, tokens of its context with KV."""
        ...

    def end(self, session: Session) -> None:
        """The program is over."""
        ...


class Recent:
    """Contexts stay, the least recently used leaving, within `capacity` tokens; a shared front is always
    there; to get one into a slot takes `switch_s`."""

    def __init__(self, capacity: int = 1 << 30, switch_s: float = 0.002) -> None:
        self._capacity, self._switch_s = capacity, switch_s
        self._held: dict[int, int] = {}

    def begin(self, session: Session) -> int:
        call, first = session.call, not session.waits
        kept = session.shared if first else session.context
        if not first and call.keep is not None:
            kept = min(kept, call.keep)
        if session.pid in self._held:
            self._held[session.pid] = min(kept, self._held[session.pid])
        return max(1, kept + call.fresh)

    def cached(self, session: Session) -> int:
        found = max(self._held.get(session.pid, 0), session.shared)
        return min(found, session.context - 1)

    def seat(self, session: Session) -> tuple[int, float]:
        cached = self.cached(session)
        self._held.pop(session.pid, None)
        return cached, self._switch_s

    def leave(self, session: Session, generated: int, kv: int) -> None:
        self._held[session.pid] = kv
        total = sum(self._held.values())
        while total > self._capacity:
            total -= self._held.pop(next(iter(self._held)))

    def end(self, session: Session) -> None:
        self._held.pop(session.pid, None)
