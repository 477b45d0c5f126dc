"""The default policy: fairness between groups, programs in the best order, contexts where they lie."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial

from aios.scheduler.counters import Counters, Turns
from aios.scheduler.gittins import Sizes
from aios.scheduler.policy import Item, class_rank
from aios.scheduler.pressure import Pressure
from aios.scheduler.ready import ReadyQueue


@dataclass(slots=True)
class Program:
    """Tokens of work that its ended calls took, and what kind it is of."""

    kind: str
    attained: float = 0.0


class Composed:
    """Four rules, each only among those that the one before leaves equal:

    1. class: `interactive` before `normal` before `batch` before `idle`;
    2. groups: the one that had the fewest tokens for its weight (`Counters`, as in `fair`);
    3. programs: the least Gittins rank of the program's attained service, with its missing KV as the cost of
       switching to it, in levels, four for each doubling (`Sizes`); of a program that declared its plan,
       the least work left, which is its Gittins rank when sizes are known;
    4. calls: the longest chain of what waits for it, if that is known; then the longest resident context; then
       the longest wait.

    **Under memory pressure** (`Pressure`: contexts are dropped for want of room) rule 3 gives way: the longest
    resident context first, then the longest wait. Any order that serves many programs in turn computes most
    contexts anew then; this one ends those that have theirs before it begins others (longest prefix first: Cao
    et al. 2025).

    **Starvation bound.** An item that waited `starve_s` is overdue, and *relieved*: of all overdue the one that
    waits longest is selected, whatever its class. A relief is never followed by another in the next selection,
    nor before the core did 1 + `relief` tokens of work for each uncached token of who was relieved: when all
    are overdue because contexts don't fit, computing them again for relief alone would be most of the work,
    and make everybody wait the more (thrashing: Denning 1968; rationed by a deficit, as in Shreedhar &
    Varghese 1995). So let m items precede one in the order of waiting, and U be the uncached tokens of those
    and of who was relieved before them: after `starve_s` it is selected within (1 + relief) * U tokens of work
    and, not counting those during that work, 2 * (m + 1) selections.

    A running item leaves at the end of its quantum for one that is better by rules 1 to 3, or to be relieved;
    before its end only for one of a better class, unless it was relieved itself."""

    name = "composed"

    def __init__(self, *, quantum: int = 64, starve_s: float = 30.0, relief: float = 10.0) -> None:
        self._quantum, self._starve_s, self._relief = max(1, quantum), starve_s, relief
        self._groups = Counters()
        self._known: set[Item] = set()
        self._queues: dict[tuple[int, str], ReadyQueue] = {}
        self._turns: dict[int, Turns] = {}
        self._places: dict[Item, tuple[int, str]] = {}
        self._waiting = ReadyQueue()
        self._programs: dict[str, Program] = {}
        self._sizes: dict[str, Sizes] = {}
        self._pressure = Pressure()
        self._overdue_last = False
        self._owed = 0.0
        self._relieved: set[Item] = set()

    def enqueue(self, item: Item, now: float) -> None:
        if item not in self._known:
            self._known.add(item)
            self._groups.enter(item.group)
        if item.program not in self._programs:
            self._programs[item.program] = Program(item.kind)
        if item in self._places:
            self._take(item)
        if self._pressure.came(item):
            self._reorder()
        rank, group = place = self._places[item] = class_rank(item), item.group
        if place not in self._queues:
            self._queues[place] = ReadyQueue()
            if rank not in self._turns:
                self._turns[rank] = Turns(self._groups)
            self._turns[rank].add(group)
        self._queues[place].push(item, self._key(item))
        self._waiting.push(item, item.queued)

    def withdraw(self, item: Item) -> None:
        self._take(item)
        self._forget(item)

    def select(self, now: float, fits: Callable[[Item], bool]) -> Item | None:
        item = self._overdue(now, fits) or self._best(fits)
        if item:
            self._take(item)
        return item

    def preempt(self, running: Iterable[Item], now: float) -> list[Item]:
        first = next(self._next(1), None)
        if first is None:
            return []
        urgent = class_rank(first)
        seated = [item for item in running if item.quantum_used >= self._quantum or urgent < class_rank(item)]
        heads = sorted(map(self._standing, self._next(len(seated))))
        starving = self._starving(now)
        due: list[Item] = []
        for item in sorted(seated, key=lambda item: (*self._standing(item), item.quantum_used), reverse=True):
            better = heads[0] < self._standing(item) if heads else False
            outclassed = better and heads[0][0] < class_rank(item) and item not in self._relieved
            if outclassed or (item.quantum_used >= self._quantum and (better or starving)):
                due.append(item)
                if better:
                    heads.pop(0)
                else:
                    starving = False
        return due

    def charge(self, item: Item, tokens: int, now: float) -> None:
        self._owed -= tokens
        if self._pressure.worked(tokens):
            self._reorder()
        self._groups.charge(item.group, tokens, item.weight)

    def left(self, item: Item, now: float, *, ended: bool) -> None:
        self._relieved.discard(item)
        program = self._programs.get(item.program)
        if program:
            self._pressure.keeps(item.program, item.context_tokens)
        if ended:
            if program:
                program.attained += item.attained
            self._forget(item)

    def retire(self, program: str) -> None:
        over = self._programs.pop(program, None)
        self._pressure.forget(program)
        if over and over.attained:
            sizes = self._sizes.setdefault(over.kind, Sizes())
            sizes.add(over.attained)
            if len(sizes.recent).bit_count() == 1:  # twice as much is known as when all were ordered last
                self._reorder()

    def learned(self) -> dict[str, list[float]]:
        return {kind: sizes.recent for kind, sizes in self._sizes.items() if sizes.recent}

    def learn(self, sizes: Mapping[str, list[float]]) -> None:
        for kind, known in sizes.items():
            for size in known:
                self._sizes.setdefault(kind, Sizes()).add(size)

    def __len__(self) -> int:
        return len(self._places)

    def level_of(self, item: Item) -> int:
        """Of its program: 0 is served first. Of a program that said what it will do the rank is what is
        left."""
        if item.ahead is not None:
            return _level(item.ahead)
        before = self._programs.get(item.program)
        age = (before.attained if before else 0.0) + item.attained
        setup = 0 if item.quantum_used else item.uncached  # who generated has its KV; the count is of before
        sizes = self._sizes.get(item.kind)
        if sizes is None:
            sizes = self._sizes[item.kind] = Sizes()
        return _level(sizes.rank(age, setup))

    def _key(self, item: Item) -> tuple[float, ...]:
        """Among items of a class and group."""
        if self._pressure.high:
            return -item.resident_tokens, item.queued
        return self.level_of(item), -(item.path or 0.0), -item.resident_tokens, item.queued

    def _reorder(self) -> None:
        """What keys are made of has changed."""
        for item, place in self._places.items():
            self._queues[place].push(item, self._key(item))

    def _standing(self, item: Item) -> tuple[int, float, int]:
        """Less is better, by rules 1 to 3."""
        level = 0 if self._pressure.high else self.level_of(item)
        return class_rank(item), self._groups[item.group], level

    def _overdue(self, now: float, fits: Callable[[Item], bool]) -> Item | None:
        """Whom to relieve: who waited too long, in every other selection at most."""
        if self._overdue_last or not self._starving(now):
            self._overdue_last = False
            return None
        found = self._waiting.pop(lambda item: now - item.queued >= self._starve_s and fits(item))
        self._overdue_last = found is not None
        if found:
            self._owed = (1 + self._relief) * found.uncached
            self._relieved.add(found)
        return found

    def _starving(self, now: float) -> bool:
        """Somebody is overdue, and the last relief is paid back."""
        oldest = self._waiting.first()
        return oldest is not None and now - oldest.queued >= self._starve_s and self._owed <= 0

    def _best(self, fits: Callable[[Item], bool]) -> Item | None:
        for rank in sorted(self._turns):
            if item := self._turns[rank].find(partial(self._pop, rank, fits)):
                return item
        return None

    def _pop(self, rank: int, fits: Callable[[Item], bool], group: str) -> Item | None:
        return self._queues[rank, group].pop(fits)

    def _next(self, count: int) -> Iterator[Item]:
        """The first `count` items that wait, as far as rules 1 and 2 and the order in a queue say."""
        for rank in sorted(self._turns):
            for group in self._turns[rank].first(count):
                items = self._queues[rank, group].head(count)
                count -= len(items)
                yield from items

    def _take(self, item: Item) -> None:
        """Out of all queues."""
        place = self._places.pop(item, None)  # it may have been raised since it was put there
        if place is None:
            return
        self._waiting.discard(item)
        queue = self._queues[place]
        queue.discard(item)
        if not queue:
            del self._queues[place]
            self._turns[place[0]].discard(place[1])

    def _forget(self, item: Item) -> None:
        if item in self._known:
            self._known.remove(item)
            self._groups.leave(item.group)


def _level(tokens: float) -> int:
    """Four levels for each doubling."""
    return int(4 * math.log2(max(1.0, tokens)))
