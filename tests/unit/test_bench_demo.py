"""The demo's parts that need no engine: the workload, the baselines' rules, the report."""

import random

import pytest

from aios.bench.demo import CROWDS, PATIENCE_S, SHARE, crowd, merged, plot, side_by_side
from aios.bench.drive import Backoff, CallRecord, Gate, Run
from aios.bench.workloads import Clerk, Shop

pytestmark = pytest.mark.anyio


async def test_tasks_are_drawn_from_the_seed_and_their_answers_can_be_found_with_the_tools():
    shop, same, other = Shop(1, gap_s=0), Shop(1, gap_s=0), Shop(2, gap_s=0)
    for i in range(16):
        task = shop.task(i)
        assert task == same.task(i)
        number = task.question.split()[-2]
        item = (await shop.order(number)).removesuffix(".").split(" is one ")[1]
        maker = (await shop.item(item)).removesuffix(".").split(" made by ")[1]
        city = (await shop.maker(maker)).removesuffix(".").split(" from ")[1]
        assert task.right(city)
        assert task.right(f" {city.upper()}. ")
        assert not task.right("Atlantis")
    assert [shop.task(i) for i in range(16)] != [other.task(i) for i in range(16)]


def test_all_agents_share_their_instructions_word_for_word():
    shop = Shop(1, gap_s=0)
    first, second = (Clerk(None, name=name, tools=shop.tools()) for name in ("a", "b"))
    assert first.instructions() == second.instructions()


def test_a_gate_refuses_when_its_slots_are_taken_and_only_then():
    gate = Gate(2)
    assert [gate.enter() for _ in range(3)] == [True, True, False]
    gate.leave()
    assert gate.enter()


def test_back_off_doubles_up_to_its_cap_with_a_quarter_of_jitter():
    draw = random.Random(0)
    pauses = [Backoff(0.5, 4.0).pause(n, draw) for n in range(8)]
    for n, pause in enumerate(pauses):
        middle = min(4.0, 0.5 * 2**n)
        assert 0.75 * middle <= pause <= 1.25 * middle


def test_a_slow_machine_gets_fewer_agents_and_never_less_than_the_fewest():
    assert crowd(1.0) == max(CROWDS)
    assert crowd(10_000.0) == min(CROWDS)
    for alone_s in (5.0, 14.0, 16.0, 19.0, 21.0, 29.0):
        chosen = crowd(alone_s)
        larger = [agents for agents in CROWDS if agents > chosen]
        assert SHARE * chosen * alone_s <= PATIENCE_S
        assert all(SHARE * agents * alone_s > PATIENCE_S for agents in larger)


def run(makespan: float) -> dict:
    records = [CallRecord(0, 1, 0.5, 100, 75, 10, 2), CallRecord(0, 1, 1.5, 100, 25, 10, 0)]
    return Run(makespan, [makespan / 2, makespan], [True, False], records).row("aios-rr")


def test_a_row_counts_what_was_computed_of_what_was_needed():
    row = run(10.0)
    assert (row["prompt_tokens"], row["prefilled_tokens"], row["kv_hit"]) == (200, 100, 0.5)
    assert (row["right"], row["refusals"], row["calls_per_s"]) == (0.5, 2, 0.2)
    assert row["completion_mean_s"] == 7.5


def test_the_report_gives_medians_and_ranges_and_shows_failures(tmp_path):
    failed = {"mode": "direct-retry", "error": "no engine", "seed": 1}
    rows = [{**run(m), "seed": i} for i, m in enumerate((10.0, 30.0, 20.0))]
    (broken, middle) = merged([failed, *rows])
    assert broken["error"] == "no engine"
    assert (middle["makespan_s"], middle["makespan_range_s"], middle["failed_runs"]) == (20.0, [10.0, 30.0], 0)
    assert side_by_side([broken, middle]).row_count == 12
    result = {
        "rows": [broken, middle],
        "runs": [failed, *rows],
        "agents": 2,
        "slots": 1,
        "model": "m",
        "seeds": 3,
    }
    plot(tmp_path / "plot.png", result)
    assert (tmp_path / "plot.png").stat().st_size > 1000
