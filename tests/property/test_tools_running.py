"""The table of running calls, under any order of arrivals, ends and cancellations."""

import itertools
from collections import Counter

from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from aios.errors import ToolBusy
from aios.syscalls.tools import Tool
from aios.tools.order import Item, RoundRobin
from aios.tools.running import PASSES, Running
from aios.tools.tool import Caller

TOOLS = {
    "free": Tool(name="free"),
    "one": Tool(name="one", concurrency=1),
    "two": Tool(name="two", concurrency=2),
    "slow": Tool(name="slow", concurrency=3, calls_per_min=60),
}
MOST = 6


class Calls(RuleBasedStateMachine):
    def __init__(self):
        super().__init__()
        self.now = 100.0
        self.running, self.waiting, self.starts = [], [], []
        self.table = Running(RoundRobin, MOST, self.start)
        for tool in TOOLS.values():
            self.table.admit(tool, self.now)
        self.count = 0

    def start(self, item):
        self.running.append(item)
        if item in self.waiting:
            self.waiting.remove(item)
        if item.tool == "slow":
            self.starts.append(self.now)

    @rule(
        tool=st.sampled_from(sorted(TOOLS)),
        agent=st.sampled_from("abc"),
        keys=st.frozensets(st.sampled_from("xyz"), max_size=2),
    )
    def arrive(self, tool, agent, keys):
        self.count += 1
        item = Item(self.count, Caller(agent=agent, folder=""), tool, keys, self.now)
        waited = len(self.waiting)
        self.waiting.append(item)
        try:
            self.table.submit(item, self.now)
        except ToolBusy:
            self.waiting.remove(item)
            assert waited == MOST

    @precondition(lambda self: self.running)
    @rule(data=st.data())
    def end(self, data):
        item = data.draw(st.sampled_from(self.running))
        self.running.remove(item)
        self.table.leave(item, self.now)

    @precondition(lambda self: self.waiting)
    @rule(data=st.data())
    def cancel(self, data):
        item = data.draw(st.sampled_from(self.waiting))
        self.waiting.remove(item)
        self.table.leave(item, self.now)

    @rule(seconds=st.floats(0.0, 3.0))
    def pass_time(self, seconds):
        self.now += seconds
        self.table.wake("slow", self.now)

    @invariant()
    def no_tool_is_over_its_limit(self):
        for name, count in Counter(item.tool for item in self.running).items():
            assert TOOLS[name].concurrency is None or count <= TOOLS[name].concurrency
            assert self.table.calls(name) == count

    @invariant()
    def no_key_has_two_holders(self):
        assert max(Counter(key for item in self.running for key in item.keys).values(), default=0) <= 1

    @invariant()
    def nobody_waits_who_could_run(self):
        taken = {key for item in self.running for key in item.keys}
        calls = Counter(item.tool for item in self.running)
        for item in self.waiting:
            limit = TOOLS[item.tool].concurrency
            full = limit is not None and calls[item.tool] >= limit
            rated = self.table.wakes_at(item.tool, self.now) is not None
            assert full or rated or taken & item.keys or self.kept_from(item)

    def kept_from(self, item):
        """For a call of several resources that others were let before often enough."""
        return any(other.passed >= PASSES and other.keys & item.keys for other in self.waiting)

    @invariant()
    def where_nothing_runs_nothing_waits(self):
        assert self.running or all(item.tool == "slow" or self.blocked_by_slow(item) for item in self.waiting)

    def blocked_by_slow(self, item):
        return any(other.tool == "slow" and other.passed >= PASSES for other in self.waiting)

    @invariant()
    def the_rate_is_kept(self):
        for first in self.starts:
            assert sum(first <= start < first + 10 for start in self.starts) <= 11

    @invariant()
    def the_table_knows_exactly_who_runs_and_waits(self):
        assert (len(self.table), self.table.waiting) == (len(self.running), len(self.waiting))


TestCalls = Calls.TestCase


@given(st.data(), st.lists(st.frozensets(st.sampled_from("xyz"), min_size=2), min_size=1, max_size=3))
def test_a_call_of_several_resources_waits_for_so_many_others_only(data, several):
    """Somebody keeps two resources from ever being free at once: whenever a call ends, the next of its kind is
    there already."""
    running, begun, count = [], set(), itertools.count()

    def start(item):
        running.append(item)
        begun.add(item)

    table = Running(RoundRobin, 1000, start)
    for name in ("each", "several"):
        table.admit(Tool(name=name), 0.0)

    def send(tool, keys):
        item = Item(next(count), Caller(agent=tool, folder=""), tool, frozenset(keys), 0.0)
        table.submit(item, 0.0)
        return item

    for key in "xyzxyz":
        send("each", key)
    wanting = [send("several", keys) for keys in several]
    for ends in itertools.count(1):
        item = running.pop(data.draw(st.integers(0, len(running) - 1)) if ends < 40 else 0)
        if item.tool == "each":
            send("each", item.keys)
        table.leave(item, 0.0)
        if all(item in begun for item in wanting):
            break
        assert ends < 40 + len(wanting) * (PASSES + 8)


@given(st.lists(st.sampled_from("abcd"), max_size=30))
def test_agents_take_turns_and_each_ones_calls_stay_in_order(agents):
    order = RoundRobin()
    items = [Item(i, Caller(agent=agent, folder=""), "t", frozenset(), 0.0) for i, agent in enumerate(agents)]
    for item in items:
        order.enqueue(item, 0.0)
    served = []
    while item := order.select(0.0, lambda item: True):
        left = Counter(other.caller.agent for other in items if other not in served)
        since = [s.caller.agent for s in served]
        for other in left:  # nobody who waits is overtaken twice by the same agent between two turns of its own
            last = max((i for i, agent in enumerate(since) if agent == other), default=-1)
            assert max(Counter(since[last + 1 :]).values(), default=0) <= 1
        served.append(item)
    assert sorted(served, key=lambda item: item.id) == items
    for agent in set(agents):
        mine = [item.id for item in served if item.caller.agent == agent]
        assert mine == sorted(mine)
    assert len(order) == 0


def test_tools_that_want_the_same_resource_take_turns():
    started = []
    table = Running(RoundRobin, 100, started.append)
    for name in ("p", "q"):
        table.admit(Tool(name=name), 0.0)
    for number in range(8):
        table.submit(
            Item(number, Caller(agent="a", folder=""), "p" if number < 4 else "q", frozenset("k"), 0.0), 0.0
        )
    for turn in range(8):
        table.leave(started[turn], 0.0)
    assert [item.tool for item in started[1:7]] == ["p", "q"] * 3
