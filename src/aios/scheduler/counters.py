"""Virtual token counters: who had how much, by weight."""

from __future__ import annotations


class Counters:
    """One counter a flow (a group, a program): tokens of work it was given, over its weight. The active flow
    with the least is behind its fair share (virtual token counter: Sheng et al. 2024, algorithm 2).

    A flow is active while it has items that wait or run. One that comes back is lifted to the least of those
    active, or, if there are none, to the last that left: idling earns no credit."""

    def __init__(self) -> None:
        self._served: dict[str, float] = {}
        self._items: dict[str, int] = {}
        self._floor = 0.0

    def __getitem__(self, flow: str) -> float:
        return self._served.get(flow, self._floor)

    def enter(self, flow: str) -> None:
        """An item of `flow` came."""
        if flow not in self._items:
            floor = min((self._served[active] for active in self._items), default=self._floor)
            self._served[flow] = max(self._served.get(flow, 0.0), floor)
        self._items[flow] = self._items.get(flow, 0) + 1

    def leave(self, flow: str) -> None:
        """An item of `flow` is gone for good."""
        self._items[flow] -= 1
        if self._items[flow] == 0:
            del self._items[flow]
            self._floor = self._served[flow]
            if not self._items:
                self._served = {name: at for name, at in self._served.items() if at > self._floor}

    def charge(self, flow: str, tokens: int, weight: float) -> None:
        self._served[flow] = self[flow] + tokens / weight
