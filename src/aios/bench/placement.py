"""The kernel's own placement of contexts, for simulated cores."""

from __future__ import annotations

import itertools

from aios.context.residency import Residency
from aios.cores.core import ContextSpec, Copy, KvOp, Load, Save, Sequence
from aios.events import EventBus
from aios.scheduler.costs import Costs
from aios.scheduler.load import Session
from aios.syscalls import Generate

SPEC = ContextSpec(bytes_base=64, bytes_per_token=23_044, ram_bytes=1 << 30)
"""SmolLM2-135M with the default parking memory."""
NOTHING = Generate(prompt="")


class Planned:
    """Contexts of a simulated core with `slots` slots, planned by `Residency` as in the kernel: in a slot,
    parked within the budget, shared fronts, or dropped. Only the token ids are made up, each one new, those of
    the shared fronts the same for a family."""

    def __init__(self, slots: int, costs: Costs, spec: ContextSpec = SPEC) -> None:
        self._now = 0.0
        self._residency = Residency(spec, slots, EventBus(), now=lambda: self._now)
        self._spec, self._costs = spec, costs
        self._sequences: dict[int, Sequence] = {}
        self._fronts: dict[int, list[int]] = {}
        self._fresh = itertools.count()
        self._ids = itertools.count(1)

    def begin(self, session: Session, now: float) -> int:
        self._now = now
        before = self._sequences.get(session.pid)
        if before is None:
            kept = self._front(session)
        else:
            kept = before.tokens + before.generated
            kept = kept if session.call.keep is None else kept[: session.call.keep]
        tokens = kept + self._new(max(session.call.fresh, 0 if kept else 1))
        sequence = Sequence(next(self._ids), NOTHING, session.pid, "all", tokens=tokens)
        self._sequences[session.pid] = sequence
        self._residency.enter(sequence)
        return len(tokens)

    def cached(self, session: Session) -> int:
        return self._residency.cached(self._sequences[session.pid])

    def dropped(self, session: Session) -> int:
        return self._residency.dropped(self._sequences[session.pid])

    def seat(self, session: Session, now: float) -> tuple[int, float]:
        self._now = now
        seat = self._residency.seat(self._sequences[session.pid])
        assert seat is not None  # slots and stays are counted together
        return seat.cached, sum(self._seconds(op) for op in seat.ops)

    def leave(self, session: Session, now: float, kv: int, generated: int, *, ended: bool) -> None:
        self._now = now
        sequence = self._sequences[session.pid]
        sequence.generated += self._new(generated - len(sequence.generated))
        sequence.kv = kv
        self._residency.leave(sequence)
        if ended:
            self._residency.exit(sequence)

    def end(self, session: Session) -> None:
        del self._sequences[session.pid]
        self._residency.drop(session.pid)

    def _seconds(self, op: KvOp) -> float:
        match op:
            case Save(_, extent):
                return self._costs.move((extent.size - self._spec.bytes_base) // self._spec.bytes_per_token)
            case Load(_, _, tokens) | Copy(_, _, tokens):
                return self._costs.move(tokens)
            case _:
                return 0.0

    def _front(self, session: Session) -> list[int]:
        known = self._fronts.setdefault(session.family, [])
        known += self._new(session.shared - len(known))
        return known[: session.shared]

    def _new(self, count: int) -> list[int]:
        return list(itertools.islice(self._fresh, max(0, count)))
