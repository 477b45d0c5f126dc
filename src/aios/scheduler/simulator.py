"""A core on a virtual clock, driving the same policy objects as the mechanism does. Nothing random in it.

The engine is the one of `cores/llama`: every step decodes one token of each running sequence and a chunk of
one prompt, and takes `step_s + decode_s * (running) + prefill_s * (chunk)`. Between two events (an arrival,
the end of a prefill, of an answer or of a quantum) those rates don't change, so time advances from event to
event and not from step to step. Contexts stay resident, the least recently used leaving, within `kv_tokens`.
"""

from __future__ import annotations

import heapq
import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from aios.scheduler.policy import Item, SchedulingPolicy
from aios.syscalls import SchedulingClass

TINY = 1e-9


@dataclass(frozen=True, slots=True)
class Engine:
    """What a core takes, seconds a token and seconds a step; `kv_tokens` of contexts stay resident; a context
    that moves into another slot costs `switch_s`."""

    slots: int = 4
    step_s: float = 0.002
    decode_s: float = 0.003
    prefill_s: float = 0.0015
    chunk: int = 128
    kv_tokens: int = 1 << 30
    switch_s: float = 0.002


@dataclass(frozen=True, slots=True)
class Call:
    """One llm call: `fresh` prompt tokens beyond the conversation so far, `output` generated tokens, and the
    seconds from its end to the next call."""

    fresh: int
    output: int
    gap_s: float = 0.0


@dataclass(slots=True)
class Session:
    """A program: its calls one after the other, from `arrival` on. `shared` tokens at the front of its context
    are the same for all sessions and resident. The rest is what became of it: times are seconds of the
    clock."""

    pid: int
    calls: Sequence[Call]
    arrival: float = 0.0
    group: str = "default"
    scheduling_class: SchedulingClass = "normal"
    nice: int = 0
    weight: float = 1.0
    kind: str = "agent"
    shared: int = 0
    oracle: bool = True
    done: float = -1.0
    waits: list[float] = field(default_factory=list[float])
    """Of each call: ready without a slot, over all its waits."""
    longest_wait: float = 0.0
    """The longest single one."""
    served: float = 0.0
    """Tokens of work."""


@dataclass(slots=True, eq=False)
class Stay:
    """A call on its way. `prefill`: tokens yet to compute before it decodes, `uncharged` of them (and of those
    computed) of its own; the rest stands for the switch."""

    session: Session
    item: Item
    prefill: float = 0.0
    todo: float = 0.0
    uncharged: int = 0
    quantum_left: float = 0.0
    wait: float = 0.0


class Simulator:
    """Runs sessions to their ends under one policy. `quantum`: generated tokens of a stay.

    `kv_hit` afterwards: share of the context tokens that calls needed and found resident."""

    def __init__(self, engine: Engine, policy: SchedulingPolicy, *, quantum: int = 64) -> None:
        self.now = 0.0
        self.needed = self.found = 0
        self._engine, self._policy, self._quantum = engine, policy, quantum
        self._timers: list[tuple[float, int, Session, int]] = []
        self._running: list[Stay] = []
        self._stays: dict[Item, Stay] = {}
        self._context: dict[int, int] = {}
        self._resident: dict[int, int] = {}
        self._ids = itertools.count()

    @property
    def kv_hit(self) -> float:
        return self.found / self.needed if self.needed else 1.0

    def run(self, sessions: Sequence[Session]) -> None:
        """Advance until all are done; what became of them is written into them."""
        for session in sessions:
            self._at(session.arrival, session, 0)
        while self._timers or self._running or len(self._policy):
            self._begin_due()
            self._fill()
            self._advance()

    # -- calls -------------------------------------------------------------------------------------

    def _at(self, time: float, session: Session, index: int) -> None:
        heapq.heappush(self._timers, (time, next(self._ids), session, index))

    def _begin_due(self) -> None:
        while self._timers and self._timers[0][0] <= self.now + TINY:
            _, _, session, index = heapq.heappop(self._timers)
            call = session.calls[index]
            context = self._context.get(session.pid, session.shared) + call.fresh
            self._context[session.pid] = context
            item = Item(
                id=next(self._ids), pid=session.pid, program=f"p{session.pid}", group=session.group,
                scheduling_class=session.scheduling_class, nice=session.nice, priority=0, arrival=self.now,
                queued=self.now, context_tokens=context, weight=session.weight, kind=session.kind,
                expected_tokens=call.output if session.oracle else 0.0,
            )  # fmt: skip
            self._stays[item] = Stay(session, item, todo=call.output)
            self.needed += context
            self.found += self._cached(session)
            self._enqueue(item)

    def _cached(self, session: Session) -> int:
        return max(self._resident.get(session.pid, 0), session.shared)

    def _enqueue(self, item: Item) -> None:
        item.queued = self.now
        item.resident_tokens = min(self._cached(self._stays[item].session), item.context_tokens)
        self._policy.enqueue(item, self.now)

    def _fill(self) -> None:
        while len(self._running) < self._engine.slots and len(self._policy):
            item = self._policy.select(self.now, lambda item: True)
            if item is None:
                break
            stay = self._stays[item]
            waited = self.now - item.queued
            stay.wait += waited
            stay.session.longest_wait = max(stay.session.longest_wait, waited)
            item.quantum_used = 0
            cached = min(self._cached(stay.session), item.context_tokens)
            self._resident.pop(stay.session.pid, None)
            stay.uncharged = item.context_tokens - cached
            stay.prefill = stay.uncharged + self._engine.switch_s / self._engine.prefill_s
            stay.quantum_left = float(self._quantum)
            self._running.append(stay)
        if len(self._policy):
            for item in self._policy.preempt([stay.item for stay in self._running], self.now):
                self._leave(self._stays[item], ended=False)
            if len(self._running) < self._engine.slots:
                self._fill()

    def _work(self, stay: Stay, tokens: int) -> None:
        if not tokens:
            return
        stay.item.attained += tokens
        stay.session.served += tokens
        self._policy.charge(stay.item, tokens, self.now)

    def _leave(self, stay: Stay, *, ended: bool) -> None:
        self._running.remove(stay)
        item, session = stay.item, stay.session
        # What was prefilled so far is kept; the rest is computed when it comes back.
        missing = min(stay.uncharged, math.ceil(stay.prefill - TINY))
        self._work(stay, stay.uncharged - missing)
        self._keep(session.pid, item.context_tokens - missing)
        self._policy.left(item, self.now, ended=ended)
        if not ended:
            self._enqueue(item)
            return
        del self._stays[item]
        session.waits.append(stay.wait)
        self._context[session.pid] = item.context_tokens
        index = len(session.waits)
        if index < len(session.calls):
            self._at(self.now + session.calls[index - 1].gap_s, session, index)
            return
        session.done = self.now
        self._resident.pop(session.pid, None)
        self._policy.retire(item.program)

    def _keep(self, pid: int, tokens: int) -> None:
        self._resident[pid] = tokens
        total = sum(self._resident.values())
        while total > self._engine.kv_tokens:
            total -= self._resident.pop(next(iter(self._resident)))

    # -- time --------------------------------------------------------------------------------------

    def _advance(self) -> None:
        """To the next event."""
        until = self._timers[0][0] - self.now if self._timers else float("inf")
        prefilling = next((stay for stay in self._running if stay.prefill > TINY), None)
        decoding = [stay for stay in self._running if stay.prefill <= TINY]
        if not self._running:
            self.now += until if until < float("inf") else 0.0
            return
        chunk = min(self._engine.chunk, prefilling.prefill) if prefilling else 0.0
        step = self._engine.step_s + self._engine.decode_s * len(decoding) + self._engine.prefill_s * chunk
        steps = until / step
        if prefilling:
            steps = min(steps, prefilling.prefill / chunk)
        for stay in decoding:
            steps = min(steps, stay.todo, stay.quantum_left if stay.quantum_left > TINY else stay.todo)
        self.now += steps * step
        if prefilling:
            prefilling.prefill -= steps * chunk
            if prefilling.prefill <= TINY:
                self._work(prefilling, prefilling.uncharged)
                prefilling.uncharged = 0
        for stay in decoding:
            self._decode(stay, steps)

    def _decode(self, stay: Stay, steps: float) -> None:
        stay.todo -= steps
        stay.quantum_left -= steps
        done = self._generated(stay)
        if tokens := done - stay.item.generated:
            stay.item.generated = done
            stay.item.quantum_used += tokens
            stay.item.context_tokens += tokens
            self._work(stay, tokens)
        if stay.todo <= TINY:
            self._leave(stay, ended=True)
        elif stay.quantum_left <= TINY:
            stay.quantum_left = float(self._quantum)

    def _generated(self, stay: Stay) -> int:
        call = stay.session.calls[len(stay.session.waits)]
        return int(call.output - stay.todo + 1e-6)
