"""LRU-K against its definition, and RAM budgets against a model."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from aios.memory.paging import LruK, Pages

KEYS = [f"p{i}" for i in range(8)]
references = st.lists(st.sampled_from(KEYS), min_size=1, max_size=60)


@given(references, st.integers(1, 3))
def test_without_bursts_the_kth_last_reference_decides(trace, k):
    policy = LruK(k)
    for key in trace:
        policy.reference(key)

    def rank(key):  # the definition: backward K-distance, ties by the last reference; what just came goes last
        times = [i for i, each in enumerate(trace, 1) if each == key]
        return (times[-1] == len(trace), times[-k] if len(times) >= k else -1, times[-1])

    heap = policy.order(set(trace))
    assert [entry[-1] for entry in sorted(heap)] == sorted(set(trace), key=rank)


def test_a_burst_counts_as_one_reference():
    policy = LruK(2, correlated=3)
    for key in ["old", "x", "y", "z", "old", "burst", "burst", "burst", "a", "b", "c", "d"]:
        policy.reference(key)
    order = [entry[-1] for entry in sorted(policy.order(["old", "burst"]))]
    assert order == ["burst", "old"]  # three quick references, but one K-distance: it has no second one


def test_history_outlives_the_stay_in_ram():
    policy = LruK(2)
    for key in ["again", "once", "other"]:
        policy.reference(key)
    policy.evict("again")
    for key in ["again", "once2"]:
        policy.reference(key)
    assert min(policy.order(["again", "once", "other"]))[-1] == "once"  # `again` has a second reference by now


def test_only_so_many_histories_are_kept():
    policy = LruK(2, retained=1)
    for key in ["a", "b"]:
        policy.reference(key)
        policy.evict(key)
    for key in ["a", "b", "c"]:
        policy.reference(key)
    assert [entry[-1] for entry in sorted(policy.order(["a", "b"]))] == ["a", "b"]
    assert min(policy.order(["a", "b"]))[1] == -1  # the first history was given up


class PagesMachine(RuleBasedStateMachine):
    """Owners put, read, pin and remove pages; victims are swapped to a dict and come back from it."""

    @initialize(total=st.integers(20, 120), per_owner=st.integers(10, 80), k=st.integers(1, 3))
    def begin(self, total, per_owner, k):
        self.total, self.per_owner = total, per_owner
        self.pages = Pages(LruK(k), total=total, per_owner=per_owner)
        self.written: dict[str, tuple[str, bytes]] = {}
        self.swapped: dict[str, bytes] = {}
        self.pinned: set[str] = set()

    def put(self, key, owner, data):
        self.pages.put(key, owner, data, pinned=key in self.pinned)
        if key not in self.pages:
            self.swapped[key] = data
        for victim, bytes in self.pages.crowded(owner):
            assert victim not in self.pinned
            self.swapped[victim] = bytes
            self.pages.remove(victim)

    @rule(key=st.sampled_from(KEYS), owner=st.sampled_from(["a", "b"]), data=st.binary(max_size=24))
    def write(self, key, owner, data):
        owner = self.written.get(key, (owner, b""))[0]
        if key in self.pinned and self.pinned_bytes(owner, but=key) + len(data) > 0.7 * min(
            self.total, self.per_owner
        ):
            return
        self.written[key] = owner, data
        self.swapped.pop(key, None)
        self.put(key, owner, data)

    @rule(key=st.sampled_from(KEYS))
    def read(self, key):
        if key not in self.written:
            return
        owner, expected = self.written[key]
        data = self.pages.get(key)
        if data is None:
            data = self.swapped[key]
            self.put(key, owner, data)
        assert data == expected

    @rule(key=st.sampled_from(KEYS), pinned=st.booleans())
    def pin(self, key, pinned):
        if key not in self.pages:
            return
        _, data = self.written[key]
        total = self.pinned_bytes(None, but=key) + len(data)
        if pinned and total > 0.7 * min(self.total, self.per_owner):
            return
        self.pages.pin(key, pinned)
        (self.pinned.add if pinned else self.pinned.discard)(key)

    @rule(key=st.sampled_from(KEYS))
    def remove(self, key):
        if self.written.pop(key, None):
            self.pages.remove(key, gone=True)
            self.pinned.discard(key)

    def pinned_bytes(self, owner, but):
        return sum(len(self.written[key][1]) for key in self.pinned if key != but)

    @invariant()
    def budgets_hold_and_pins_stay(self):
        if not hasattr(self, "pages"):
            return
        held = {key: data for key, (_, data) in self.written.items() if key in self.pages}
        assert self.pages.used == sum(map(len, held.values()))
        assert self.pages.used <= 0.8 * self.total
        for owner in ("a", "b"):
            mine = sum(len(data) for key, data in held.items() if self.written[key][0] == owner)
            assert mine == self.pages.used_by(owner) <= 0.8 * self.per_owner
        assert self.pinned <= set(held)


TestPages = PagesMachine.TestCase
TestPages.settings = settings(max_examples=60, stateful_step_count=40)


def test_crowding_stops_at_the_low_mark():
    pages = Pages(LruK(2), total=1000, per_owner=1000)
    for i in range(8):
        pages.put(f"p{i}", "a", bytes(100))
    assert pages.crowded("a") == []  # 80 % is full enough
    pages.put("p8", "a", bytes(100))
    assert [key for key, _ in pages.crowded("a")] == ["p0", "p1"]  # 90 % -> 70 %


def hit_rate(k: int, trace: list[str], room: int) -> float:
    pages = Pages(LruK(k, retained=2000), total=room, per_owner=room)
    hits = 0
    for key in trace:
        if pages.get(key) is not None:
            hits += 1
            continue
        pages.put(key, "a", b"x")
        for victim, _ in pages.crowded("a"):
            pages.remove(victim)
    return hits / len(trace)


def scanning(seed: int) -> list[str]:
    """Skewed reads of 400 pages, and now and then a scan over a thousand others."""
    draw = random.Random(seed)
    weights = [1 / rank for rank in range(1, 401)]
    trace: list[str] = []
    for burst in range(10):
        trace += [f"hot{i}" for i in draw.choices(range(400), weights, k=1000)]
        trace += [f"cold{burst * 300 + i}" for i in range(300)]
    return trace


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_scans_do_not_push_out_what_is_used_again_and_again(seed):
    lru, lru2 = (hit_rate(k, scanning(seed), 125) for k in (1, 2))
    assert lru2 > lru + 0.02
