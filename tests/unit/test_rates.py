"""How quickly KV comes back, as learned from what it took."""

from __future__ import annotations

import pytest

from aios.config import Eviction
from aios.context.entry import Entry
from aios.context.rates import DISK_BYTES_PER_S, RAM_BYTES_PER_S, WINDOW, Rate, Rates
from aios.context.worth import Gaps, Worth
from aios.cores.core import ContextSpec

MB = 2**20


def test_before_anything_was_read_the_first_beliefs_hold() -> None:
    rates = Rates()
    assert rates.ram.seconds(3 * 10**9) == pytest.approx(3e9 / RAM_BYTES_PER_S)
    assert rates.disk.seconds(3 * 10**8) == pytest.approx(3e8 / DISK_BYTES_PER_S)


def test_what_is_seen_again_and_again_is_believed() -> None:
    for slower in (0.1, 1.0, 40.0):
        rate = Rate(100e6)
        for _ in range(100):
            rate.saw(32 * MB, slower * 32 * MB / 100e6)
        assert rate.seconds(10**8) == pytest.approx(slower, rel=1e-6)


def test_bytes_weigh_and_not_how_many_reads_they_came_in() -> None:
    one, many = Rate(100e6), Rate(100e6)
    one.saw(64 * MB, 64 * MB / 50e6)
    for _ in range(64):
        many.saw(MB, MB / 50e6)
    assert one.seconds(MB) == pytest.approx(many.seconds(MB))
    assert MB / 100e6 < one.seconds(MB) < MB / 50e6


def test_one_read_that_hung_makes_no_slow_disk() -> None:
    rate = Rate(100e6)
    rate.saw(64 * MB, 3600.0)
    assert rate.seconds(100 * 10**6) < 8.0


@pytest.mark.parametrize(("size", "seconds"), [(0, 1.0), (10, 0.0), (-5, 1.0), (10, -1.0)])
def test_what_says_nothing_is_not_learned_from(size: int, seconds: float) -> None:
    rate = Rate(100e6)
    rate.saw(size, seconds)
    assert rate.seconds(10**8) == 1.0


def test_ram_and_disk_are_learned_apart() -> None:
    rates = Rates()
    rates.saw(disk=True, size=WINDOW, seconds=WINDOW / 100e6)
    assert rates.ram.seconds(MB) == MB / RAM_BYTES_PER_S
    assert rates.disk.seconds(MB) > MB / DISK_BYTES_PER_S


def test_a_disk_that_was_too_slow_is_tried_again_after_much_was_read_from_ram() -> None:
    rates = Rates()
    spec = ContextSpec(bytes_base=0, bytes_per_token=20_000, ram_bytes=10**9, prefill_s=0.0005)
    worth, entry = Worth(spec, Gaps(), rates=rates), Entry(1, 1, "g", "x" * 100, 100)
    assert worth.swappable(entry)
    for _ in range(20):
        rates.saw(disk=True, size=WINDOW, seconds=WINDOW / 10e6)
    assert not worth.swappable(entry)
    for _ in range(200):
        rates.saw(disk=False, size=WINDOW, seconds=WINDOW / 3e9)
    assert worth.swappable(entry)


@pytest.mark.parametrize("eviction", ["waste", "lru"])
def test_what_reading_takes_is_what_the_rates_say_by_now(eviction: Eviction) -> None:
    """A slow disk makes a context with a file worth more RAM."""
    spec = ContextSpec(bytes_base=0, bytes_per_token=1000, ram_bytes=10**9)
    worth, entry = Worth(spec, Gaps(), eviction), Entry(1, 1, "g", "x" * 1000, 1000)
    before = worth.read_s(entry)
    worth.rates.saw(disk=True, size=WINDOW, seconds=2 * WINDOW / DISK_BYTES_PER_S)
    assert before == pytest.approx(10**6 / DISK_BYTES_PER_S)
    assert before < worth.read_s(entry) < 2 * before
