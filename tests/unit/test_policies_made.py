"""Policies as the configuration wants them."""

import pytest
from tests.items import item

from aios import plugins
from aios.config import parse
from aios.errors import ConfigError
from aios.kernel.policies import Policies
from aios.scheduler.composed import Composed
from aios.scheduler.fair import Fair

SIZES = {"": [100.0] * 40 + [10_000.0] * 10}
"""Most programs are short, and who is not is long."""


def policies(options: dict) -> Policies:
    return Policies(parse({"scheduler": {"options": options}}).scheduler)


def test_every_policy_can_be_made_without_parameters():
    make = policies({})
    assert {make(name).name for name in plugins.names(plugins.POLICIES)} == set(plugins.names(plugins.POLICIES))


def test_parameters_reach_their_policy_and_no_other():
    make = policies({"composed": {"starve_s": 1, "relief": 2.5}})
    for policy, overdue in ((make("composed"), True), (Composed(), False)):
        urgent, late = item(1, scheduling_class="interactive", queued=1.5), item(2, queued=0.0)
        for each in (urgent, late):
            policy.enqueue(each, each.queued)
        assert (policy.select(2.0, lambda _: True) is late) == overdue
    assert isinstance(make("fair"), Fair)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"compsed": {}}, "composed"),
        ({"composed": {"starve": 1}}, "starve_s"),
        ({"composed": {"starve_s": "long"}}, "composed.starve_s"),
        ({"composed": {"quantum": 1}}, "composed.quantum"),
        ({"composed": {"relief": -1}}, "composed.relief"),
        ({"fifo": {"levels": 2}}, "no parameters"),
        ({"mlfq": {"levels": 0}}, "levels must be"),
        ({"priority": {"aging_s": -1}}, "priority.aging_s"),
    ],
)
def test_what_a_policy_does_not_have_is_an_error_that_says_so(options, says):
    with pytest.raises(ConfigError) as caught:
        policies(options)
    assert says in f"{caught.value} {caught.value.mend}"


def test_without_the_order_of_programs_the_longest_wait_is_next():
    served = item(1, program="served", queued=0.0)
    chosen = {}
    for ranks in (True, False):
        policy = Composed(programs=ranks)
        policy.learn(SIZES)
        policy.enqueue(served, 0.0)
        policy.select(0.0, lambda _: True)
        served.attained = 4000
        policy.left(served, 1.0, ended=True)
        served.attained = 0
        again, fresh = item(2, program="served", queued=1.0), item(3, program="fresh", queued=2.0)
        for each in (again, fresh):
            policy.enqueue(each, each.queued)
        first = policy.select(3.0, lambda _: True)
        assert first is not None
        chosen[ranks] = first.program
    assert chosen == {True: "fresh", False: "served"}


def test_without_the_pressure_rule_dropped_contexts_change_no_order():
    chosen = {}
    for minds in (True, False):
        policy = Composed(pressure=minds)
        policy.learn(SIZES)
        lost = item(1, program="lost", queued=0.0, context_tokens=2000, dropped_tokens=2000)
        kept = item(2, program="kept", queued=1.0, context_tokens=3000, resident_tokens=2900, attained=2000)
        for each in (lost, kept):
            policy.enqueue(each, each.queued)
        first = policy.select(2.0, lambda _: True)
        assert first is not None
        chosen[minds] = first.program
    assert chosen[True] == "kept"
    assert chosen[False] == "lost"
