"""How long a call would wait at a core."""

from __future__ import annotations

import pytest

from aios.scheduler.backlog import LEARNING, Backlog


class Bench:
    """A core with two slots; `calls` are there, and the clock says `time`."""

    def __init__(self) -> None:
        self.calls, self.time = 0, 100.0
        self.backlog = Backlog(lambda: self.calls, lambda: 2, lambda: self.time)


def test_one_waits_when_all_slots_are_taken() -> None:
    bench = Bench()
    waits: list[float] = []
    for bench.calls in range(5):
        waits.append(bench.backlog.wait_s)
    assert waits == [0.0, 0.0, 0.5, 1.0, 1.5]  # two slots, a second a call
    assert bench.backlog.load == 2.0


def test_how_long_calls_take_is_learned() -> None:
    bench = Bench()
    bench.calls = 2
    bench.backlog.served(3.0)
    assert bench.backlog.wait_s == pytest.approx(0.5 * (1 + LEARNING * 2))


def test_prompts_are_computed_one_after_the_other() -> None:
    bench = Bench()
    bench.backlog.seated(3.0)
    bench.backlog.seated(2.0)
    assert bench.backlog.wait_s == pytest.approx(5.0)
    bench.time += 4.0
    assert bench.backlog.wait_s == pytest.approx(1.0)
    bench.time += 4.0
    assert bench.backlog.wait_s == 0.0
    bench.backlog.seated(2.0)  # the core did nothing meanwhile: that saved no time
    assert bench.backlog.wait_s == pytest.approx(2.0)


def test_what_is_on_its_way_counts_with_its_prompt_until_it_comes() -> None:
    bench = Bench()
    two, one = bench.backlog.expect(2, 0.3), bench.backlog.expect(1, 0.1)
    assert bench.backlog.wait_s == pytest.approx(2 * 0.5 + 0.4)
    assert bench.backlog.load == 1.5
    two.came()  # and with it the prompt, which is that of both
    assert (bench.backlog.coming, bench.backlog.coming_s) == (2, pytest.approx(0.1))
    two.came()
    two.came()  # goes on here after another core failed: it was counted once
    one.give_up()
    one.give_up()
    assert (bench.backlog.coming, bench.backlog.coming_s, bench.backlog.wait_s) == (0, 0.0, 0.0)


def test_whoever_comes_to_a_core_without_slots_waits() -> None:
    backlog = Backlog(lambda: 3, lambda: 0, lambda: 0.0)
    assert backlog.wait_s == 4.0
    assert backlog.load == 3.0
