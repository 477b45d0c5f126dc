"""Which core a call goes to, for any offers."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import assume, given
from hypothesis import strategies as st

from aios.kernel.routing import Move, Offer, choose, latest

seconds = st.floats(0.0, 100.0)
loads = st.sampled_from([0.0, 0.25, 0.5, 1.0, 2.0])
offers = st.builds(Offer, seconds, seconds, st.integers(0, 50), loads, st.booleans())
pools = st.lists(offers, min_size=1, max_size=6)


@st.composite
def ways(draw):
    pool = draw(pools)
    place = st.integers(0, len(pool) - 1)
    made = draw(st.lists(st.builds(Move, place, place, seconds), max_size=4))
    return pool, [move for move in made if move.source != move.target]


def start_s(pool, moves, route) -> float:
    if route.source is None:
        return pool[route.core].start_s
    return min([m.start_s for m in moves if (m.source, m.target) == (route.source, route.core)])


@given(ways())
def test_no_call_starts_later_than_it_could_by_more_than_can_be_told(drawn) -> None:
    pool, moves = drawn
    soonest = min([each.start_s for each in (*pool, *moves)])
    assert start_s(pool, moves, choose(pool, moves)) <= latest(soonest)


@given(ways())
def test_a_move_is_made_only_where_it_beats_waiting_and_computing(drawn) -> None:
    pool, moves = drawn
    route = choose(pool, moves)
    if route.source is not None:
        chosen = start_s(pool, moves, route)
        assert all(offer.start_s > latest(chosen) for offer in pool)
    else:
        assert route == choose(pool)  # that it could have been moved changes nothing


@given(pools, seconds, seconds)
def test_of_those_that_start_alike_the_holder_of_the_longest_prefix(pool, wait_s, compute_s) -> None:
    pool = [replace(offer, wait_s=wait_s, compute_s=compute_s) for offer in pool]
    chosen = pool[choose(pool).core]
    assert chosen.cached == max(offer.cached for offer in pool)
    alike = [offer for offer in pool if offer.cached == chosen.cached]
    assert chosen.load == min(offer.load for offer in alike)


@given(pools, st.integers(0, 50), seconds, seconds)
def test_of_those_with_equal_prefixes_the_least_loaded_then_one_that_knows_the_process(
    pool, cached, wait_s, compute_s
) -> None:
    pool = [replace(offer, cached=cached, wait_s=wait_s, compute_s=compute_s) for offer in pool]
    at = choose(pool).core
    assert (pool[at].load, not pool[at].knows, at) == min((o.load, not o.knows, i) for i, o in enumerate(pool))


@given(pools, st.integers(0, 5), st.integers(1, 1000), st.floats(0.0001, 0.01))
def test_a_prefix_wins_exactly_until_waiting_costs_more_than_it_saves(pool, at, tokens, prefill_s) -> None:
    """One core holds the prefix, the others are idle and hold nothing."""
    at %= len(pool)
    assume(len(pool) > 1)
    idle = Offer(wait_s=0.0, compute_s=tokens * prefill_s)
    for wait_s, holder in ((0.9 * idle.compute_s, True), (1.2 * idle.compute_s + 0.02, False)):
        offered = [idle] * len(pool)
        offered[at] = Offer(wait_s=wait_s, compute_s=0.0, cached=tokens, load=3.0)
        assert (choose(offered).core == at) is holder


@given(pools, st.integers(0, 5))
def test_a_core_that_gets_busier_gets_no_call_for_it(pool, at) -> None:
    at %= len(pool)
    assume(choose(pool).core != at)
    busier = [*pool]
    busier[at] = replace(pool[at], wait_s=pool[at].wait_s + 1000.0)
    assert choose(busier).core != at
