"""What a context is worth: how long its agent stays away, and whose loss costs least."""

from __future__ import annotations

from itertools import count
from pathlib import Path

import pytest

from aios.config import Eviction
from aios.context.entry import Entry
from aios.context.rates import DISK_BYTES_PER_S, RAM_BYTES_PER_S
from aios.context.worth import LEARNING, MOVE_S, SOON, Gaps, Worth
from aios.cores.core import ContextSpec, Extent

ANN, BOB, SHARED = 1, 2, 0
ids = count(1)


def call(gaps: Gaps, pid: int, came: float, went: float) -> None:
    gaps.came(pid, came)
    gaps.went(pid, went)


def every(seconds: float, *, pid: int = ANN, times: int = 40) -> tuple[Gaps, float]:
    """Of a process that stays away for so long each time; and when its last call was over."""
    gaps, now = Gaps(), 0.0
    for _ in range(times):
        call(gaps, pid, now, now + 1.0)
        now += 1.0 + seconds
    return gaps, now - seconds


def test_a_process_with_habits_is_expected_after_its_usual_gap() -> None:
    gaps, left = every(20.0)
    assert gaps.mean(ANN) == pytest.approx(20.0, rel=1e-3)
    assert gaps.expected(ANN, left) == pytest.approx(20.0, rel=1e-3)
    assert gaps.expected(ANN, left + 8.0) == pytest.approx(12.0, rel=1e-2)


def test_the_newest_gap_weighs_most() -> None:
    gaps, left = every(20.0)
    call(gaps, ANN, left + 100.0, left + 101.0)
    assert gaps.mean(ANN) == pytest.approx((1 - LEARNING) * 20.0 + LEARNING * 100.0, rel=1e-3)


def test_one_that_is_about_due_is_not_expected_at_once() -> None:
    gaps, left = every(20.0)
    assert gaps.expected(ANN, left + 20.0) == pytest.approx(5.0, rel=1e-2)


def test_one_that_is_late_stays_away_as_long_again_as_it_is_late() -> None:
    gaps, left = every(20.0)
    for late in (10.0, 60.0, 1000.0):
        assert gaps.expected(ANN, left + 20.0 + late) == pytest.approx(late, rel=1e-2)


def test_one_without_habits_is_expected_as_others_are() -> None:
    gaps = Gaps(prior=3.0)
    assert gaps.expected(ANN, 50.0) == 3.0
    for _ in range(100):
        call(gaps, BOB, 0.0, 1.0)
        gaps.came(BOB, 9.0)
        gaps.went(BOB, 9.0)
        gaps.forget(BOB)
    assert gaps.mean(ANN) == pytest.approx(8.0, rel=0.1)
    call(gaps, ANN, 100.0, 101.0)
    assert gaps.expected(ANN, 101.0) == gaps.mean(ANN)
    assert gaps.expected(ANN, 1101.0) == pytest.approx(1000.0, rel=0.02)


def test_with_a_call_under_way_it_is_wanted_soon() -> None:
    gaps, left = every(20.0)
    gaps.came(ANN, left + 20.0)
    gaps.came(ANN, left + 20.0)
    assert gaps.expected(ANN, left + 90.0) == SOON
    gaps.went(ANN, left + 95.0)
    assert gaps.expected(ANN, left + 95.0) == SOON  # the other one is still under way
    gaps.went(ANN, left + 96.0)
    assert gaps.expected(ANN, left + 96.0) == pytest.approx(20.0, rel=1e-3)


def test_a_declared_gap_is_believed_this_once() -> None:
    gaps, left = every(20.0)
    gaps.declare(ANN, 300.0, left + 5.0)
    assert gaps.expected(ANN, left + 5.0) == pytest.approx(300.0)
    assert gaps.expected(ANN, left + 105.0) == pytest.approx(200.0)
    assert gaps.expected(ANN, left + 5.0 + 300.0 + 400.0) == pytest.approx(400.0)
    assert gaps.mean(ANN) == pytest.approx(20.0, rel=1e-3)
    call(gaps, ANN, left + 25.0, left + 26.0)
    assert gaps.expected(ANN, left + 26.0) == pytest.approx(gaps.mean(ANN))


def test_nothing_is_left_of_one_that_is_forgotten() -> None:
    gaps, left = every(20.0)
    gaps.declare(ANN, 300.0, left)
    gaps.came(ANN, left + 1.0)
    gaps.forget(ANN)
    assert gaps.expected(ANN, left + 2.0) == gaps.expected(BOB, left + 2.0) == gaps.mean(BOB)
    gaps.went(ANN, left + 3.0)  # what was under way ends later
    assert gaps.expected(ANN, left + 3.0) == gaps.mean(BOB)


def worth(gaps: Gaps | None = None, eviction: Eviction = "waste", prefill_s: float = 0.003) -> Worth:
    spec = ContextSpec(bytes_base=1000, bytes_per_token=1000, ram_bytes=10**9, prefill_s=prefill_s)
    return Worth(spec, gaps or Gaps(), eviction)


def parked(pid: int, *, tokens: int = 100, file: bool = False, since: float = 0.0) -> Entry:
    """A context in RAM, newer than those made before."""
    n = next(ids)
    return Entry(
        n, pid, "g", [7] * tokens, tokens, extent=Extent(0, 0, n),
        file=Path(f"{n}.slab") if file else None, used=n, since=since,
    )  # fmt: skip


def goes_first(of: Worth, entries: list[Entry], now: float) -> list[Entry]:
    return sorted(entries, key=lambda e: of.in_ram(e, now))


def away(ann: float, bob: float) -> Gaps:
    """Both were here until 0 and said how long they stay away."""
    gaps = Gaps()
    for pid, seconds in ((ANN, ann), (BOB, bob)):
        call(gaps, pid, -1.0, 0.0)
        gaps.declare(pid, seconds, 0.0)
    return gaps


def test_the_one_that_is_wanted_later_goes_first() -> None:
    ann, bob = parked(ANN), parked(BOB)
    assert goes_first(worth(away(60.0, 2.0)), [bob, ann], 0.0) == [ann, bob]
    assert goes_first(worth(away(2.0, 60.0)), [ann, bob], 0.0) == [bob, ann]


def test_of_two_wanted_at_the_same_time_the_one_with_a_file_goes_first() -> None:
    gaps = away(10.0, 10.0)
    without, copied = parked(ANN), parked(BOB, file=True)
    assert goes_first(worth(gaps), [without, copied], 0.0) == [copied, without]
    assert worth(gaps).swappable(copied)


def test_a_context_with_a_file_stays_if_the_other_is_wanted_much_later() -> None:
    copied, without = parked(ANN, file=True), parked(BOB)
    assert goes_first(worth(away(1.0, 10**5)), [copied, without], 0.0) == [without, copied]


def test_of_equals_the_one_used_longest_ago_goes_first() -> None:
    gaps = away(10.0, 10.0)
    older, newer = parked(BOB), parked(ANN)
    assert goes_first(worth(gaps), [newer, older], 0.0) == [older, newer]


def test_how_big_a_context_is_makes_it_worth_no_more_and_no_less() -> None:
    """Twice the tokens cost twice as much and take twice the room."""
    gaps = away(10.0, 10.0)
    short, long = (worth(gaps).in_ram(parked(pid, tokens=n), 0.0)[0] for pid, n in ((ANN, 500), (BOB, 1000)))
    assert short == pytest.approx(long, rel=0.01)


def test_a_shared_prefix_is_wanted_at_the_rate_at_which_it_was() -> None:
    of = worth(away(30.0, 30.0))
    often, seldom, ann = parked(SHARED, since=95.0), parked(SHARED, since=10.0), parked(ANN)
    assert (of.gap(often, 100.0), of.gap(seldom, 100.0)) == (5.0, 90.0)
    assert of.gap(often, 95.0) == SOON
    assert of.gap(ann, 100.0) == pytest.approx(70.0)
    assert goes_first(of, [often, ann, seldom], 100.0) == [seldom, ann, often]


def test_on_disk_the_one_that_is_wanted_later_goes_first() -> None:
    of, ann, bob = worth(away(60.0, 2.0)), parked(ANN, file=True), parked(BOB, file=True)
    assert of.on_disk(ann, 0.0) < of.on_disk(bob, 0.0)


def test_what_is_computed_sooner_than_it_is_read_is_not_swapped() -> None:
    ann = parked(ANN)
    assert not worth(prefill_s=1e-9).swappable(ann)
    assert worth(away(1.0, 1.0), prefill_s=1e-9).on_disk(ann, 0.0)[0] < 0


def test_lru_goes_by_use_alone() -> None:
    of = worth(away(1.0, 10**5), eviction="lru")
    oldest, old, new, newest = parked(ANN), parked(SHARED), parked(BOB, file=True), parked(BOB, tokens=900)
    assert goes_first(of, [newest, old, oldest, new], 50.0) == [oldest, old, new, newest]
    assert sorted([new, oldest, old], key=lambda e: of.on_disk(e, 50.0)) == [oldest, old, new]


def test_a_move_takes_longer_the_more_of_it_is_still_to_be_done() -> None:
    of, size = worth(), 1000 + 300 * 1000
    in_slot, in_ram = parked(ANN, tokens=300), parked(ANN, tokens=300)
    copied = parked(ANN, tokens=300, file=True)
    in_slot.slot, in_slot.extent = 0, None
    assert of.move_s(copied) == pytest.approx(MOVE_S + size / DISK_BYTES_PER_S)
    assert of.move_s(in_ram) == pytest.approx(MOVE_S + 2 * size / DISK_BYTES_PER_S)
    assert of.move_s(in_slot) == pytest.approx(of.move_s(in_ram) + size / RAM_BYTES_PER_S)
