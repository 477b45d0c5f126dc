"""Which of several cores of one model a call goes to, and whether its context is moved there first.

The call goes where it starts soonest: by the wait there, and what of its prompt is to be computed there. So the
core that holds its prefix gets it, unless waiting there costs more than the prefix saves. Moving the KV is a
third way beside waiting for it and computing it again. All are compared by seconds, as in Mooncake (Qin et al.
2024: queue, transfer and prefill); Preble (Srivatsa et al. 2024) weighs prefix and load likewise.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

ALIKE_S, ALIKE = 0.01, 0.1
"""Starts so near the soonest, in seconds and as a share of it, can't be told apart: all are guesses."""


@dataclass(frozen=True, slots=True)
class Offer:
    """What one core has for a call: so long a wait (`wait_s`), `cached` tokens of its context, and the others
    to be computed (`compute_s`). `load`: calls for each slot. `knows`: the call's process was there before."""

    wait_s: float
    compute_s: float
    cached: int = 0
    load: float = 0.0
    knows: bool = False

    @property
    def start_s(self) -> float:
        return self.wait_s + self.compute_s


@dataclass(frozen=True, slots=True)
class Move:
    """The call's context can be brought from core `source` to core `target` (places in the list of offers): it
    would start there after `start_s`, the move included."""

    source: int
    target: int
    start_s: float


@dataclass(frozen=True, slots=True)
class Route:
    """The core to go to; `source`: from where the context is to be moved there first, None: it is not."""

    core: int
    source: int | None = None


def choose(offers: Sequence[Offer], moves: Sequence[Move] = ()) -> Route:
    """Of the cores where the call starts about as soon as anywhere the one with the longest prefix, of these
    the least loaded, of these one that knows the process, of these the first. A move is made only where the
    call starts clearly later without one, wherever it goes."""
    soonest = min([way.start_s for way in (*offers, *moves)])
    alike = latest(soonest)

    def order(at: int) -> tuple[int, float, float, bool, int]:
        offer = offers[at]
        return -offer.cached, offer.load, offer.wait_s, not offer.knows, at

    if near := [at for at, offer in enumerate(offers) if offer.start_s <= alike]:
        return Route(min(near, key=order))
    move = min(moves, key=lambda each: (each.start_s, each.target, each.source))
    return Route(move.target, move.source)


def latest(soonest_s: float) -> float:
    """The latest start that can't be told from `soonest_s`."""
    return soonest_s + ALIKE_S + ALIKE * soonest_s
