"""Virtual token counters: who had how much, by weight, and whose turn it is."""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

SLACK = 64
"""Entries that are over and may stay, besides as many as there are live ones."""


class Counters:
    """One counter a flow (a group, a program): tokens of work it was given, over its weight. The active flow
    with the least is behind its fair share (virtual token counter: Sheng et al. 2024, algorithm 2).

    A flow is active while it has items that wait or run. One that comes back is lifted to the least of those
    active, or, if there are none, to the last that left: idling earns no credit. All of it takes O(log n)
    amortised, with n flows."""

    def __init__(self) -> None:
        self._served: dict[str, float] = {}
        self._items: dict[str, int] = {}
        self._floor = 0.0
        self._least: list[tuple[float, str]] = []
        """Heap with one entry for each of `_heaped`, among them all active; a counter only rises, so an entry
        is what it was, or less."""
        self._heaped: set[str] = set()
        self._room = SLACK

    def __getitem__(self, flow: str) -> float:
        return self._served.get(flow, self._floor)

    def enter(self, flow: str) -> None:
        """An item of `flow` came."""
        if flow not in self._items:
            at = self._served[flow] = max(self._served.get(flow, 0.0), self._least_active())
            if flow not in self._heaped:
                self._heaped.add(flow)
                heapq.heappush(self._least, (at, flow))
        self._items[flow] = self._items.get(flow, 0) + 1

    def leave(self, flow: str) -> None:
        """An item of `flow` is gone for good."""
        self._items[flow] -= 1
        if self._items[flow] == 0:
            del self._items[flow]
            self._floor = self._served[flow]
            if not self._items and len(self._served) > self._room:
                self._served = {name: at for name, at in self._served.items() if at > self._floor}
                self._room = 2 * len(self._served) + SLACK

    def charge(self, flow: str, tokens: int, weight: float) -> None:
        self._served[flow] = self[flow] + tokens / weight

    def _least_active(self) -> float:
        while self._least:
            at, flow = self._least[0]
            if flow not in self._items:
                heapq.heappop(self._least)
                self._heaped.discard(flow)
            elif at < self._served[flow]:
                heapq.heapreplace(self._least, (self._served[flow], flow))
            else:
                return at
        return self._floor


class Turns:
    """Flows that have something waiting, the one with the least of `counters` first; of equals the one that
    waits longest. `add` and `discard` take O(log n) amortised, what looks at k flows O(k log n). A flow that
    is here must be active there."""

    def __init__(self, counters: Counters) -> None:
        self._counters = counters
        self._heap: list[tuple[float, int, str]] = []
        self._place: dict[str, int] = {}
        self._count = itertools.count()

    def add(self, flow: str) -> None:
        """It waits from now on."""
        number = self._place[flow] = next(self._count)
        if len(self._heap) > 2 * len(self._place) + SLACK:
            self._heap = [entry for entry in self._heap if self._place.get(entry[2]) == entry[1]]
            heapq.heapify(self._heap)
        heapq.heappush(self._heap, (self._counters[flow], number, flow))

    def discard(self, flow: str) -> None:
        """It does not wait any more."""
        self._place.pop(flow, None)

    def find(self, take: Callable[[str], T | None]) -> T | None:
        """What `take` gives for the first flow that it gives something for. It must not add or discard."""
        passed: list[tuple[float, int, str]] = []
        found: T | None = None
        while (flow := self._first()) is not None and (found := take(flow)) is None:
            passed.append(heapq.heappop(self._heap))
        for entry in passed:
            heapq.heappush(self._heap, entry)
        return found

    def first(self, count: int) -> list[str]:
        """At most `count` flows, in order."""
        flows: list[str] = []

        def take(flow: str) -> bool | None:
            flows.append(flow)
            return len(flows) >= count or None

        if count > 0:
            self.find(take)
        return flows

    def _first(self) -> str | None:
        """The first of those that wait, whose entry is on top of the heap then."""
        while self._heap:
            at, number, flow = self._heap[0]
            if self._place.get(flow) != number:
                heapq.heappop(self._heap)  # it left, or came back
            elif at < (served := self._counters[flow]):
                heapq.heapreplace(self._heap, (served, number, flow))
            else:
                return flow
        return None
