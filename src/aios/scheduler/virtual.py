"""A core on a virtual clock, under the same policy objects as a real one. Nothing random in it.

The engine is that of `cores/llama`, step by step: each step gives every sequence that decodes one token and
takes a bounded chunk of the prompts, in the order in which they were seated; the end of a prompt gives its
first token. Steps of one shape are taken together as a *burst*, whose time is summed in closed form; a call
that comes in its midst cuts it at the end of the step that runs.
"""

from __future__ import annotations

import itertools
import math
from bisect import bisect_left
from collections.abc import Collection
from dataclasses import dataclass
from typing import Literal

from aios.scheduler.contexts import Contexts, Recent
from aios.scheduler.costs import Costs
from aios.scheduler.load import Session
from aios.scheduler.policy import Item, SchedulingPolicy
from aios.scheduler.predict import LengthPredictor

Blind = Literal["class", "group", "program", "resident"]
"""What can be hidden from a policy, to see what it is worth."""


@dataclass(slots=True, eq=False)
class Stay:
    """A call on its way. `kv`: tokens of its context that are computed. `wait`: seconds, over all its waits."""

    session: Session
    item: Item
    kv: int = 0
    wait: float = 0.0

    @property
    def missing(self) -> int:
        """Tokens to compute before the next one is known; 1 while it decodes."""
        return self.item.context_tokens - self.kv

    @property
    def todo(self) -> int:
        return self.session.call.output - self.item.generated


@dataclass(frozen=True, slots=True)
class Burst:
    """`count` like steps: each computes so many tokens of each stay. `start`: when the first one begins."""

    start: float
    count: int
    spans: list[tuple[Stay, int]]


class VirtualCore:
    """`slots` slots and a ready queue. `chunk`: prompt tokens a step; `quantum`: generated tokens of a stay
    after which the policy is asked for interrupts. `blind`: what the policy is not shown."""

    def __init__(
        self,
        policy: SchedulingPolicy,
        costs: Costs | None = None,
        contexts: Contexts | None = None,
        *,
        slots: int = 4,
        quantum: int = 64,
        chunk: int = 128,
        blind: Collection[Blind] = (),
    ) -> None:
        self.policy, self.slots = policy, slots
        self.until = math.inf
        """When something happens next."""
        self.busy = 0.0
        """Seconds with something in a slot."""
        self._costs, self._contexts = costs or Costs(), contexts or Recent()
        self._quantum, self._chunk, self._blind = max(1, quantum), chunk, frozenset(blind)
        self._running: list[Stay] = []
        self._stays: dict[Item, Stay] = {}
        self._burst: Burst | None = None
        self._arrived = False
        self._lengths = LengthPredictor()
        self._ids = itertools.count(1)

    @property
    def load(self) -> int:
        """Calls that wait or run."""
        return len(self._stays)

    def submit(self, session: Session, now: float) -> None:
        """The next call of `session` came."""
        session.context = self._contexts.begin(session, now)
        session.prompted += session.context
        stay = Stay(session, self._item(session, now))
        self._stays[stay.item] = stay
        self._enqueue(stay, now)
        self._arrived = True
        if self._burst is None:
            self._begin(now)
        else:
            self._cut(self._burst, now)

    def advance(self, now: float) -> list[Session]:
        """The burst is over. Those whose call ended."""
        ended: list[Session] = []
        if self._burst:
            for stay, count in self._burst.spans:
                self._compute(stay, count, self._burst.count, now)
            ended = [stay.session for stay in self._running if not stay.todo]
            for stay in [stay for stay in self._running if not stay.todo]:
                self._leave(stay, now, ended=True)
        self._begin(now)
        return ended

    # -- calls -------------------------------------------------------------------------------------

    def _item(self, session: Session, now: float) -> Item:
        number, blind = next(self._ids), self._blind
        expected = {
            "": self._lengths.predict(session.pid, session.kind, session.call.limit),
            "call": float(session.call.output),
            "program": session.ahead() - session.call.fresh,
        }[session.oracle]
        return Item(
            id=number, pid=session.pid, program=f"c{number}" if "program" in blind else f"p{session.pid}",
            group="" if "group" in blind else session.group, kind=session.kind, nice=session.nice,
            scheduling_class="normal" if "class" in blind else session.scheduling_class, priority=0,
            weight=1.0 if "group" in blind else session.weight, arrival=now, queued=now,
            context_tokens=session.context, expected_tokens=expected, policy=session.policy,
            gap_s=session.gap_s(),
        )  # fmt: skip

    def _enqueue(self, stay: Stay, now: float) -> None:
        stay.item.queued = now
        if "resident" not in self._blind:
            stay.item.resident_tokens = self._contexts.cached(stay.session)
            stay.item.dropped_tokens = self._contexts.dropped(stay.session)
        self.policy.enqueue(stay.item, now)

    def _seat(self, stay: Stay, now: float) -> float:
        waited = now - stay.item.queued
        stay.wait += waited
        stay.session.longest_wait = max(stay.session.longest_wait, waited)
        stay.item.quantum_used = 0
        stay.kv, seconds = self._contexts.seat(stay.session, now)
        self._running.append(stay)
        return seconds

    def _leave(self, stay: Stay, now: float, *, ended: bool) -> None:
        self._running.remove(stay)
        item, session = stay.item, stay.session
        self._contexts.leave(session, now, stay.kv, item.generated, ended=ended)
        self.policy.left(item, now, ended=ended)
        if not ended:
            self._enqueue(stay, now)
            return
        del self._stays[item]
        session.waits.append(stay.wait)
        self._lengths.learn(session.pid, session.kind, item.generated)
        if "program" in self._blind:
            self.policy.retire(item.program)
        if session.over:
            session.done = now
            self._contexts.end(session)
            self.policy.retire(item.program)

    # -- time --------------------------------------------------------------------------------------

    def _begin(self, now: float) -> None:
        """Fill the slots and plan the next burst."""
        start = now + self._fill(now)
        self._burst = self._plan(start) if self._running else None
        self.until = self._end(self._burst) if self._burst else math.inf
        if self._burst:
            self.busy += self.until - now

    def _fill(self, now: float) -> float:
        """Free slots go to whom the policy selects. With somebody who arrived it is asked who must leave, else
        only of those who used their quantum up, as the mechanism does. Seconds that moving KV took."""
        seconds = self._select(now)
        arrived, self._arrived = self._arrived, False
        asked = [s.item for s in self._running if arrived or s.item.quantum_used >= self._quantum]
        if asked and len(self.policy):
            for item in self.policy.preempt(asked, now):
                self._leave(self._stays[item], now, ended=False)
            seconds += self._select(now)
        return seconds

    def _select(self, now: float) -> float:
        seconds = 0.0
        while len(self._running) < self.slots and len(self.policy):
            item = self.policy.select(now, lambda item: True)
            if item is None:
                break
            seconds += self._seat(self._stays[item], now)
        return seconds

    def _plan(self, start: float) -> Burst:
        spans: list[tuple[Stay, int]] = []
        budget, count = self._chunk, 1 << 30
        for stay in self._running:
            if stay.missing == 1:
                spans.append((stay, 1))
                due = self._quantum - stay.item.quantum_used % self._quantum
                count = min(count, stay.todo, due)
            elif budget:
                tokens = min(budget, stay.missing)
                budget -= tokens
                spans.append((stay, tokens))
                count = min(count, stay.missing // tokens)
        return Burst(start, count, spans)

    def _end(self, burst: Burst) -> float:
        """When it is over."""
        seconds = burst.count * self._costs.step_s
        if any(stay.missing > 1 for stay, _ in burst.spans):
            seconds += burst.count * self._costs.chunk_s
        for stay, tokens in burst.spans:
            if stay.missing == 1:
                seconds += self._costs.decode(burst.count, stay.item.context_tokens)
            else:
                seconds += self._costs.prefill(burst.count * tokens, stay.kv)
        return burst.start + seconds

    def _cut(self, burst: Burst, now: float) -> None:
        """End the burst with the step that runs at `now`."""

        def end(count: int) -> float:
            return self._end(Burst(burst.start, count, burst.spans))

        count = min(burst.count, bisect_left(range(burst.count), now, key=end))
        self._burst = Burst(burst.start, count, burst.spans)
        self.busy -= self.until - end(count)
        self.until = end(count)

    def _compute(self, stay: Stay, tokens: int, steps: int, now: float) -> None:
        """`steps` steps with `tokens` tokens each were done for it."""
        if not steps:
            return
        decoding = stay.missing == 1
        work = tokens * steps
        stay.kv += work
        if not decoding:
            stay.session.computed += work
        if decoding or not stay.missing:
            made = work if decoding else 1
            stay.item.generated += made
            stay.item.quantum_used += made
            stay.item.context_tokens += made
            stay.session.context += made
            stay.session.generated += made
            work += 0 if decoding else 1
        self._charge(stay, work, now)

    def _charge(self, stay: Stay, tokens: int, now: float) -> None:
        stay.item.attained += tokens
        self.policy.charge(stay.item, tokens, now)
