"""Programs on cores, on a virtual clock: the same policy objects as live, nothing random."""

from __future__ import annotations

import heapq
import itertools
import math
from collections.abc import Callable, Sequence

from aios.scheduler.load import Session
from aios.scheduler.virtual import VirtualCore

Route = Callable[[Session, Sequence[VirtualCore]], int]
"""Which core a new program goes to. It stays there: that is where its context is."""


def least_loaded(session: Session, cores: Sequence[VirtualCore]) -> int:
    """The core with the fewest calls that wait or run, the first of equals."""
    return min(range(len(cores)), key=lambda index: cores[index].load)


class Simulator:
    """Runs sessions to their ends."""

    def __init__(self, cores: Sequence[VirtualCore], *, route: Route = least_loaded) -> None:
        self.now = 0.0
        self._cores, self._route = cores, route
        self._home: dict[int, int] = {}
        self._events: list[tuple[float, int, Session | VirtualCore]] = []
        self._order = itertools.count()

    def run(self, sessions: Sequence[Session]) -> None:
        """Advance until all are done; what became of them is written into them."""
        for session in sessions:
            self._at(session.arrival, session)
        while self._events:
            time, _, what = heapq.heappop(self._events)
            if isinstance(what, VirtualCore):
                if time == what.until:  # else its burst was cut, or is over
                    self.now = time
                    self._advance(what)
            else:
                self.now = time
                self._submit(what)

    def _submit(self, session: Session) -> None:
        home = self._home.get(session.pid)
        if home is None:
            home = self._home[session.pid] = self._route(session, self._cores)
        core = self._cores[home]
        core.submit(session, self.now)
        self._await(core)

    def _advance(self, core: VirtualCore) -> None:
        for session in core.advance(self.now):
            if not session.over:
                self._at(self.now + session.calls[len(session.waits) - 1].gap_s, session)
        self._await(core)

    def _await(self, core: VirtualCore) -> None:
        if core.until < math.inf:
            self._at(core.until, core)

    def _at(self, time: float, what: Session | VirtualCore) -> None:
        heapq.heappush(self._events, (time, next(self._order), what))
