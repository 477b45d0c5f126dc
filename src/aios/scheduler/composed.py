"""The default policy: fairness between groups, programs in the best order, contexts where they lie."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import takewhile

from aios.scheduler.counters import Counters
from aios.scheduler.gittins import Sizes, level
from aios.scheduler.policy import CLASSES, Item
from aios.scheduler.pressure import Pressure
from aios.scheduler.queues import GroupQueues


@dataclass(slots=True)
class Program:
    """Tokens of work that its ended calls took, and what kind it is of."""

    kind: str
    attained: float = 0.0


class Composed:
    """Four rules, each only among those that the one before leaves equal:

    1. class: `interactive` before `normal` before `batch` before `idle`;
    2. groups: the one that had the fewest tokens for its weight (`Counters`, as in `fair`); inside a group the
       highest `priority` less `nice`;
    3. programs: the least Gittins rank of the program's attained service, with its missing KV as the cost of
       switching to it, in levels, four for each doubling (`Sizes`); of a program that declared its plan,
       the least work left, which is its Gittins rank when sizes are known;
    4. calls: the longest chain of what waits for it, if that is known; then the least work left of the call,
       which is what its context lacks of KV and what it is expected to generate (Schrage 1968); then the
       longest wait.

    **Under memory pressure** (`Pressure`: contexts are dropped for want of room) rule 3 gives way: the longest
    resident context first, then the longest wait. Any order that serves many programs in turn computes most
    contexts anew then; this one ends those that have theirs before it begins others (longest prefix first: Cao
    et al. 2025).

    **Starvation bound.** An item that waited `starve_s`, or was raised, is overdue, and *relieved*: of all
    overdue the one that waits longest is selected, whatever its class. A relief is never followed by another in
    the next selection, nor before the core did 1 + `relief` tokens of work for each uncached token of who was
    relieved: when all are overdue because contexts don't fit, computing them again for relief alone would be
    most of the work, and make everybody wait the more (thrashing: Denning 1968; rationed by a deficit, as in
    Shreedhar & Varghese 1995). So let m items precede one in the order of waiting, and U be the uncached tokens
    of those and of who was relieved before them: after `starve_s` it is selected within (1 + relief) * U tokens
    of work and, not counting those during that work, 2 * (m + 1) selections. To be raised changes no class:
    where all wait too long, all would count as urgent, and relief would not be rationed.

    A running item leaves at the end of its quantum for one that is better by rules 1 to 3, or to be relieved;
    before its end only for one of a better class, unless it was relieved itself.

    `programs=False` leaves rule 3 out, `pressure=False` what holds under memory pressure; with
    `interrupts=False` nobody leaves before its end: to see what they are worth."""

    name = "composed"

    def __init__(
        self, *, quantum: int = 64, starve_s: float = 30.0, relief: float = 10.0, programs: bool = True,
        pressure: bool = True, interrupts: bool = True,
    ) -> None:  # fmt: skip
        self._quantum, self._starve_s, self._relief = max(1, quantum), starve_s, relief
        self._ranks, self._minds_pressure, self._interrupts = programs, pressure, interrupts
        self._groups = Counters()
        self._known: set[Item] = set()
        self._classes = [GroupQueues(self._groups) for _ in CLASSES]
        self._waiting: OrderedDict[Item, GroupQueues] = OrderedDict()
        """Where each is queued; who waits longest comes first."""
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
        queues, waiting = self._classes[_rank(item)], self._waiting
        late = item not in waiting and waiting and item.queued < next(reversed(waiting)).queued
        if late:  # another policy had it, before this one
            self._waiting = waiting = OrderedDict(
                sorted([*waiting.items(), (item, queues)], key=lambda each: each[0].queued)
            )
        waiting[item] = queues
        if self._minds_pressure and self._pressure.came(item):
            self._reorder()
        queues.push(item, self._key(item))

    def withdraw(self, item: Item) -> None:
        queues = self._waiting.pop(item, None)
        if queues is not None:
            queues.discard(item)
        self._forget(item)

    def select(self, now: float, fits: Callable[[Item], bool]) -> Item | None:
        item = self._overdue(now, fits)
        if item is not None:
            self._waiting.pop(item).discard(item)
            return item
        for queues in self._classes:
            if queues.groups and (item := queues.pop(fits)) is not None:
                del self._waiting[item]
                return item
        return None

    def preempt(self, running: Iterable[Item], now: float) -> list[Item]:
        first = next(self._next(1), None) if self._interrupts else None
        if first is None:
            return []
        urgent = _rank(first)
        seated = [item for item in running if item.quantum_used >= self._quantum or urgent < _rank(item)]
        heads = sorted(map(self._standing, self._next(len(seated))))
        starving = self._starving(now)
        due: list[Item] = []
        for item in sorted(seated, key=lambda item: (*self._standing(item), item.quantum_used), reverse=True):
            better = heads[0] < self._standing(item) if heads else False
            outclassed = better and heads[0][0] < _rank(item) and item not in self._relieved
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
            if sizes.count.bit_count() == 1:  # twice as much is known as when all were ordered last
                self._reorder()

    def learned(self) -> dict[str, list[float]]:
        return {kind: sizes.recent for kind, sizes in self._sizes.items() if sizes.recent}

    def learn(self, sizes: Mapping[str, list[float]]) -> None:
        for kind, known in sizes.items():
            for size in known:
                self._sizes.setdefault(kind, Sizes()).add(size)

    def __len__(self) -> int:
        return len(self._waiting)

    def rises(self, item: Item) -> bool:
        return not item.raised

    def level_of(self, item: Item) -> int:
        """Of its program: 0 is served first. Of a program that said what it will do the rank is what is
        left."""
        if not self._ranks:
            return 0
        if item.ahead is not None:
            return level(item.ahead)
        before = self._programs.get(item.program)
        age = (before.attained if before else 0.0) + item.attained
        setup = 0 if item.quantum_used else item.uncached  # who generated has its KV; the count is of before
        sizes = self._sizes.get(item.kind)
        if sizes is None:
            sizes = self._sizes[item.kind] = Sizes()
        return sizes.level(age, setup)

    def _key(self, item: Item) -> tuple[float, ...]:
        """Among items of a class and group."""
        urgency = item.nice - item.priority
        if self._pressure.high:
            return urgency, -item.resident_tokens, item.queued
        return urgency, self.level_of(item), -(item.path or 0.0), item.remaining, item.queued

    def _reorder(self) -> None:
        """What keys are made of has changed."""
        for item, queues in self._waiting.items():
            queues.push(item, self._key(item))

    def _standing(self, item: Item) -> tuple[int, float, int, int]:
        """Less is better, by rules 1 to 3."""
        level = 0 if self._pressure.high else self.level_of(item)
        return _rank(item), self._groups[item.group], item.nice - item.priority, level

    def _overdue(self, now: float, fits: Callable[[Item], bool]) -> Item | None:
        """Whom to relieve: who waited too long, in every other selection at most."""
        if self._overdue_last or not self._starving(now):
            self._overdue_last = False
            return None
        overdue = takewhile(lambda item: self._waited(item, now), self._waiting)
        found = next(filter(fits, overdue), None)
        self._overdue_last = found is not None
        if found:
            self._owed = (1 + self._relief) * found.uncached
            self._relieved.add(found)
        return found

    def _starving(self, now: float) -> bool:
        """Somebody is overdue, and the last relief is paid back."""
        if not self._waiting or self._owed > 0:
            return False
        return self._waited(next(iter(self._waiting)), now)

    def _waited(self, item: Item, now: float) -> bool:
        """Too long."""
        return item.raised > 0 or now - item.queued >= self._starve_s

    def _next(self, count: int) -> Iterator[Item]:
        """The first `count` items that wait, as far as rules 1 and 2 and the order in a queue say."""
        for queues in self._classes:
            for item in queues.head(count):
                count -= 1
                yield item

    def _forget(self, item: Item) -> None:
        if item in self._known:
            self._known.remove(item)
            self._groups.leave(item.group)


def _rank(item: Item) -> int:
    """Of its class, 0 is the most urgent; to be raised does not change it."""
    return CLASSES.index(item.scheduling_class)
