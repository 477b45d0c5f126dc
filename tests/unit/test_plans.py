"""Declared plans: what is left, what is longest, and what is no plan."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aios.errors import BadRequest
from aios.kernel.plans import KEPT_STEPS, MAX_LINKS, MAX_STEPS, TOKENS_PER_S, PlanBook, ToolGaps
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


def test_a_call_that_names_no_step_is_one_at_which_no_other_is():
    plans = book(*DIAMOND)
    plans.began("p", "split", 1)
    assert plans.step_of("p", "") == "split"  # there is no other: it may be a repetition
    plans.did("p", "split")
    plans.left("p", "split", 1)
    first = plans.step_of("p", "")
    plans.began("p", first, 2)
    second = plans.step_of("p", "")
    assert {first, second} == {"long", "short"}
    plans.began("p", second, 3)
    assert plans.step_of("p", "") == first
    plans.left("p", second, 3)
    assert plans.step_of("p", "") == second
    assert plans.step_of("p", first) == first


def test_a_step_is_given_back_when_the_last_call_at_it_is_over():
    plans = book(PlanStep(name="a"), PlanStep(name="b"))
    plans.began("p", "a", 1)
    plans.began("p", "a", 2)
    plans.left("p", "a", 1)
    assert plans.step_of("p", "") == "b"
    plans.left("p", "a", 2)
    assert plans.step_of("p", "") == "a"


def test_a_call_that_began_under_an_earlier_plan_gives_nothing_back():
    plans = book(PlanStep(name="a"), PlanStep(name="b"))
    plans.began("p", "a", 1)
    plans.declare("p", [PlanStep(name="a"), PlanStep(name="b")])
    plans.began("p", "a", 2)
    plans.left("p", "a", 1)
    assert plans.step_of("p", "") == "b"
    plans.forget("p")
    plans.left("p", "a", 2)
    assert plans.step_of("p", "") == ""


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


NUMBERS = st.integers(0, 9)
DRAWN = st.tuples(st.sampled_from(("llm", "tool")), NUMBERS, NUMBERS, st.lists(NUMBERS, max_size=4))


class Plain:
    """A plan as it is defined."""

    def __init__(self, steps: list[PlanStep]) -> None:
        self.steps, self.done = {step.name: step for step in steps}, set[str]()

    def before(self, step: PlanStep) -> set[str]:
        found: set[str] = set()
        for name in step.depends_on:
            found |= {name} if self.steps[name].kind == "llm" else self.before(self.steps[name])
        return found

    def ready(self) -> set[str]:
        left = [s for s in self.steps.values() if s.kind == "llm" and s.name not in self.done]
        return {step.name for step in left if self.before(step) <= self.done}

    def path(self, name: str) -> float:
        step = self.steps[name]
        own = step.tokens if step.kind == "llm" else step.seconds * TOKENS_PER_S
        return own + max((self.path(s.name) for s in self.steps.values() if name in s.depends_on), default=0.0)

    def ahead(self) -> int:
        return sum(s.tokens for s in self.steps.values() if s.kind == "llm" and s.name not in self.done)

    def gap(self, name: str) -> float | None:
        tools = [s.seconds for s in self.steps.values() if s.kind == "tool" and name in s.depends_on]
        return max(tools, default=None)


@given(st.lists(DRAWN, max_size=9), st.randoms(), st.lists(NUMBERS, max_size=12))
def test_a_plan_is_as_it_is_defined_whatever_is_done_in_which_order(drawn, random, named):
    steps = [
        PlanStep(
            name=str(i),
            kind=kind,
            tokens=tokens,
            seconds=seconds,
            depends_on=tuple(str(j) for j in before if j < i),
        )
        for i, (kind, tokens, seconds, before) in enumerate(drawn)
    ]
    plain = Plain(steps)
    random.shuffle(steps)
    plans = book(*steps)
    for name in ["none", *map(str, named), *([""] * len(steps))]:
        for step in steps:
            outlook = plans.outlook("p", step.name)
            assert (outlook.path, outlook.ahead) == (plain.path(step.name), plain.ahead())
            assert outlook.gap_s == plain.gap(step.name)
        following = plans.step_of("p", "")
        assert following in (plain.ready() or {""})
        plans.did("p", name or following)
        plain.done.add(name or following)
    assert plans.step_of("p", "") == ""


@pytest.mark.parametrize("kind", ["llm", "tool"])
def test_a_plan_of_many_layers_is_taken_and_followed_to_its_end(kind):
    layers = 500
    steps = [
        PlanStep(
            name=f"{layer}/{i}",
            kind=kind if 0 < layer < layers - 1 else "llm",
            depends_on=(f"{layer - 1}/0", f"{layer - 1}/1") if layer else (),
        )
        for layer in range(layers)
        for i in range(2)
    ]
    plans = book(*steps)
    done = []
    while step := plans.step_of("p", ""):
        plans.did("p", step)
        done.append(step)
    assert [int(name.split("/")[0]) for name in done] == sorted(
        int(s.name.split("/")[0]) for s in steps if s.kind == "llm"
    )


def test_a_chain_as_long_as_a_plan_can_be_is_taken_and_a_longer_one_refused():
    chain = [PlanStep(name="0", tokens=1)]
    for i in range(1, MAX_STEPS):
        chain.append(PlanStep(name=str(i), kind="tool", seconds=1.0, depends_on=(str(i - 1),)))
    plans = book(*chain)
    assert plans.outlook("p", "0").path == 1 + (MAX_STEPS - 1) * TOKENS_PER_S
    with pytest.raises(BadRequest, match=f"at most {MAX_STEPS}"):
        plans.declare("p", [*chain, PlanStep(name="more")])
    assert plans.step_of("p", "") == "0"


def test_a_plan_of_too_many_dependencies_is_refused():
    firsts = [PlanStep(name=str(i)) for i in range(100)]
    names = tuple(step.name for step in firsts)
    lasts = [PlanStep(name=f"last {i}", depends_on=names) for i in range(MAX_LINKS // 100)]
    plans = book(*firsts, *lasts)
    with pytest.raises(BadRequest, match=f"at most {MAX_LINKS}"):
        plans.declare("p", [*firsts, *lasts, PlanStep(name="more", depends_on=("0",))])


def kept(plans: PlanBook) -> list[int]:
    """Which of the programs `0`, `1`... have a plan."""
    return [n for n in range(1000) if plans.step_of(str(n), "")]


def test_of_more_steps_than_are_kept_the_oldest_plans_go():
    """One that is declared anew is among the newest, and what it had counts no more."""
    plans, steps = PlanBook(), [PlanStep(name=str(i)) for i in range(MAX_STEPS)]
    most = KEPT_STEPS // MAX_STEPS
    for n in range(most):
        plans.declare(str(n), steps)
    for _ in range(3):
        plans.declare("0", steps)
    assert kept(plans) == list(range(most))
    plans.declare(str(most), steps)
    assert kept(plans) == [0, *range(2, most + 1)]
    plans.forget("2")
    plans.declare("1", steps)
    assert kept(plans) == [0, 1, *range(3, most + 1)]


def test_what_steps_depend_on_counts_too_when_plans_are_kept():
    names = [str(i) for i in range(100)]
    steps = [PlanStep(name=name) for name in names]
    steps += [PlanStep(name=f"last {i}", depends_on=tuple(names)) for i in range(MAX_LINKS // 100)]
    plans, each = PlanBook(), 200 + MAX_LINKS // 10
    for n in range(KEPT_STEPS // each + 2):
        plans.declare(str(n), steps)
    assert kept(plans) == list(range(2, KEPT_STEPS // each + 2))


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


def test_the_usual_gap_of_a_process_is_that_of_its_own_tools():
    gaps = ToolGaps()
    assert gaps.usual(1) is None
    gaps.called(1, ("search",), now=0.0)
    gaps.came(1, now=4.0)
    gaps.came(1, now=50.0)  # after an answer, not a tool
    assert (gaps.usual(1), gaps.usual(2)) == (4.0, None)
    gaps.called(1, ("read",), now=60.0)
    gaps.came(1, now=70.0)
    assert 4.0 < (gaps.usual(1) or 0.0) < 10.0
    gaps.forget(1)
    assert gaps.usual(1) is None


def test_a_number_of_tokens_that_no_float_holds_is_no_step():
    with pytest.raises(msgspec.ValidationError, match=r"tokens"):
        msgspec.json.decode(b'{"name": "a", "tokens": 1%b}' % (b"0" * 400), type=PlanStep)
