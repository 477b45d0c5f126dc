"""Declared plans: what is left, what is longest, and what is no plan."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aios.errors import BadRequest
from aios.kernel.plans import TOKENS_PER_S, PlanBook, ToolGaps
from aios.syscalls import PlanStep

DIAMOND = (
    PlanStep(name="split", tokens=10),
    PlanStep(name="long", tokens=100, depends_on=("search",)),
    PlanStep(name="search", kind="tool", seconds=2.0, depends_on=("split",)),
    PlanStep(name="short", tokens=20, depends_on=("split",)),
    PlanStep(name="join", tokens=30, depends_on=("long", "short")),
)


def book(*steps: PlanStep) -> PlanBook:
    plans = PlanBook()
    plans.declare("p", steps)
    return plans


def test_the_path_is_the_longest_chain_and_ahead_is_all_that_is_left():
    plans = book(*DIAMOND)
    assert plans.outlook("p", "short").path == 50
    assert plans.outlook("p", "long").path == 130
    split = plans.outlook("p", "split")
    assert split.path == 10 + 2.0 * TOKENS_PER_S + 130
    assert split.ahead == 160
    assert split.gap_s == 2.0
    assert plans.outlook("p", "join").gap_s is None
    plans.did("p", "split")
    assert plans.outlook("p", "short").ahead == 150


def test_a_call_that_names_no_step_is_the_next_that_can_be_done():
    plans = book(*DIAMOND)
    done = []
    while step := plans.step_of("p", ""):
        plans.did("p", step)
        done.append(step)
    assert set(done) == {"split", "long", "short", "join"}
    assert done[0] == "split"
    assert done[-1] == "join"
    assert plans.step_of("p", "long") == "long"
    assert plans.step_of("other", "long") == ""


@pytest.mark.parametrize(
    ("steps", "says"),
    [
        ((PlanStep(name="a"), PlanStep(name="a")), "Two steps"),
        ((PlanStep(name="a", depends_on=("b",)),), "no step"),
        ((PlanStep(name="a", depends_on=("b",)), PlanStep(name="b", depends_on=("a",))), "circle"),
    ],
)
def test_what_is_no_plan_is_refused_and_the_old_one_stays(steps, says):
    plans = book(*DIAMOND)
    with pytest.raises(BadRequest, match=says):
        plans.declare("p", steps)
    assert plans.step_of("p", "") == "split"


@given(st.lists(st.tuples(st.integers(0, 50), st.sets(st.integers(0, 9), max_size=3)), max_size=10))
def test_a_step_is_never_nearer_to_the_end_than_what_waits_for_it(drawn):
    steps = [
        PlanStep(name=str(i), tokens=tokens, depends_on=tuple(str(j) for j in before if j < i))
        for i, (tokens, before) in enumerate(drawn)
    ]
    plans = book(*steps)
    for step in steps:
        for before in step.depends_on:
            mine, theirs = plans.outlook("p", step.name).path, plans.outlook("p", before).path
            assert mine is not None
            assert theirs is not None
            assert theirs >= mine


def test_gaps_of_tools_are_learned_by_name():
    gaps = ToolGaps()
    assert gaps.called(1, ("search",), now=0.0) is None
    gaps.came(1, now=4.0)
    assert gaps.called(2, ("search",), now=10.0) == 4.0
    gaps.came(2, now=20.0)
    learned = gaps.called(1, ("search",), now=30.0)
    assert learned is not None
    assert 4.0 < learned < 10.0
    assert gaps.called(1, ("read",), now=30.0) is None
