"""Counters and turns of flows, against the plain way to say what they are."""

from __future__ import annotations

from functools import partial

from hypothesis import given
from hypothesis import strategies as st

from aios.config import GroupSettings
from aios.kernel.groups import GroupTable
from aios.scheduler.counters import Counters, Turns

FLOWS = st.sampled_from("abcdefgh")
STEPS = st.lists(st.tuples(st.sampled_from(("come", "go", "work")), FLOWS, st.integers(1, 50)), max_size=120)


class Plain:
    """What Counters does, said by looking at all flows."""

    def __init__(self) -> None:
        self.served: dict[str, float] = {}
        self.items: dict[str, int] = {}
        self.floor = 0.0

    def enter(self, flow: str) -> None:
        if flow not in self.items:
            floor = min((self.served[each] for each in self.items), default=self.floor)
            self.served[flow] = max(self.served.get(flow, 0.0), floor)
        self.items[flow] = self.items.get(flow, 0) + 1

    def leave(self, flow: str) -> None:
        self.items[flow] -= 1
        if not self.items[flow]:
            del self.items[flow]
            self.floor = self.served[flow]


def _among(some: list[str], flow: str) -> str | None:
    return flow if flow in some else None


@given(STEPS)
def test_turns_are_in_the_order_of_counters_and_then_of_waiting(steps: list[tuple[str, str, int]]) -> None:
    counters, plain = Counters(), Plain()
    turns, waiting = Turns(counters), list[str]()
    for step, flow, tokens in steps:
        if step == "come":
            counters.enter(flow)
            plain.enter(flow)
            if flow not in waiting:
                turns.add(flow)
                waiting.append(flow)
        elif flow not in plain.items:
            continue
        elif step == "work":
            counters.charge(flow, tokens, 2.0)
            plain.served[flow] += tokens / 2.0
        else:
            counters.leave(flow)
            plain.leave(flow)
            if flow not in plain.items:
                turns.discard(flow)
                waiting.remove(flow)
        assert {each: counters[each] for each in plain.items} == {
            each: plain.served[each] for each in plain.items
        }
        order = sorted(waiting, key=lambda each: plain.served[each])
        assert turns.first(len(order)) == order
        assert turns.first(1) == order[:1]
        assert [turns.find(partial(_among, order[n:])) for n in range(3)] == [
            next(iter(order[n:]), None) for n in range(3)
        ]


@given(st.dictionaries(st.sampled_from(["a", "a/b", "a/c", "a/c/d", "b", "b/e"]), st.floats(0.1, 9.0)))
def test_a_share_is_the_weight_among_those_beside_it(weights: dict[str, float]) -> None:
    groups = GroupTable([], keep=lambda group: None)
    for name, weight in weights.items():
        groups.set(GroupSettings(name=name))
        groups.set(GroupSettings(name=name, weight=weight))
    made = GroupTable([GroupSettings(name=n, weight=w) for n, w in weights.items()], keep=lambda group: None)
    for name in ("a/b", "a/new", "a/c/d", "b/e", "other/x"):
        share = weights.get(name.partition("/")[0], 1.0)
        for depth in range(1, name.count("/") + 1):
            above, here = "/".join(name.split("/")[:depth]), "/".join(name.split("/")[: depth + 1])
            beside = [w for n, w in weights.items() if n.rpartition("/")[0] == above and n != here]
            share *= weights.get(here, 1.0) / (weights.get(here, 1.0) + sum(beside))
        assert abs(groups.weight(name) - share) < 1e-9
        assert abs(made.weight(name) - share) < 1e-9
