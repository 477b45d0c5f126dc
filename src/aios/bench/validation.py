"""The simulator against the real engine, on the same load.

The real runs are those of `aios bench schedule`: agents over HTTP on the embedded core. The simulator replays
the same agents (`sessions.py`), with about the tokens that their words have. Engine steps were measured with
the engine alone; live it shares the processor with the kernel and the clients. The runs under `fifo` set the
factor by which that slows it down, each for its seed, whose runs were made next to it (machines drift), and
all together for what is simulated beyond; the other runs had no part in it, and say how far off the simulator
is."""

from __future__ import annotations

import json
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from aios import plugins
from aios.bench.placement import Planned
from aios.bench.report import percentile
from aios.bench.sessions import Plan, plans
from aios.errors import BadRequest
from aios.scheduler.costs import Costs
from aios.scheduler.load import Call, Session
from aios.scheduler.simulator import Simulator
from aios.scheduler.ticket import kind_of
from aios.scheduler.virtual import VirtualCore

POLICIES = ("fifo", "rr", "composed")
QUANTUM = 64
SHARED, FRAME, NEXT_FRAME = 165, 12, 15
"""Tokens of the instructions, and around the message of a first and of a later call."""


def real_runs(path: Path) -> list[dict[str, Any]]:
    """Of the first crowd in the result of `aios bench schedule`, those that the simulator can repeat; those of
    `fifo` first. Raises BadRequest."""
    if not path.is_file():
        raise BadRequest(f"There are no real runs in {path}.", "Run `aios bench schedule` first.")
    found = json.loads(path.read_text("utf-8"))
    runs = [
        {"policy": policy, "slots": found["slots"], **run}
        for policy in POLICIES
        for run in found["runs"]
        if run["mode"] == f"aios-{policy}" and run["agents"] == found["agents"][0] and "error" not in run
    ]
    if not runs or runs[0]["policy"] != "fifo":
        raise BadRequest(f"{path} has no run under fifo.", "Run `aios bench schedule` again.")
    return runs


def replayed(crowd: Sequence[Plan]) -> list[Session]:
    """What comes, in tokens."""
    sessions: list[Session] = []
    for pid, plan in enumerate(crowd, 1):
        calls = [
            Call(words + (NEXT_FRAME if turn else FRAME), output, gap_s, limit=output)
            for turn, (words, output, gap_s) in enumerate(plan.steps)
        ]
        sessions.append(Session(pid, calls, plan.arrival, shared=SHARED, kind=kind_of(plan.name)))
    return sessions


def simulated(run: dict[str, Any], costs: Costs) -> dict[str, float]:
    """The measures of a real run, on the virtual clock."""
    sessions = replayed(plans(run["agents"], run["seed"]))
    policy = plugins.load(plugins.POLICIES, run["policy"])(quantum=QUANTUM)
    slots = run["slots"]
    core = VirtualCore(policy, costs, Planned(slots, costs), slots=slots, quantum=QUANTUM)
    Simulator([core]).run(sessions)
    took = [session.done - session.arrival for session in sessions]
    waits = [wait for session in sessions for wait in session.waits]
    prompted = sum(session.prompted for session in sessions)
    return {
        "completion_mean_s": round(statistics.mean(took), 2),
        "completion_p99_s": round(percentile(took, 0.99), 2),
        "wait_p99_s": round(percentile(waits, 0.99), 2),
        "makespan_s": round(max(session.done for session in sessions), 2),
        "kv_hit": round(1 - sum(session.computed for session in sessions) / prompted, 4),
        "prompt_tokens": prompted,
    }


def calibrated(runs: Sequence[dict[str, Any]], costs: Costs) -> tuple[Costs, float]:
    """`costs` slowed down by a factor, and the factor: the median over the runs under `fifo` of that (1 to 2,
    in hundredths) which brings the mean completion nearest to the real one."""
    factor = statistics.median(_factors(runs, costs).values())
    return costs.slower(factor), factor


def _factors(runs: Sequence[dict[str, Any]], costs: Costs) -> dict[int, float]:
    """By seed."""
    return {run["seed"]: _factor(run, costs) for run in runs if run["policy"] == "fifo"}


def _factor(run: dict[str, Any], costs: Costs) -> float:
    def off(factor: float) -> float:
        return abs(simulated(run, costs.slower(factor))["completion_mean_s"] - run["completion_mean_s"])

    near = min((1 + step / 10 for step in range(11)), key=off)
    return min((near + step / 100 for step in range(-9, 10) if 1 <= near + step / 100 <= 2), key=off)


def compared(runs: Sequence[dict[str, Any]], costs: Costs) -> list[dict[str, Any]]:
    """Real and simulated side by side; `error`: of the mean completion, relative. `costs`: of the engine alone;
    of each seed there is a run under `fifo`."""
    rows: list[dict[str, Any]] = []
    factors = _factors(runs, costs)
    for run in runs:
        virtual = simulated(run, costs.slower(factors[run["seed"]]))
        rows.append({
            "policy": run["policy"], "agents": run["agents"], "seed": run["seed"],
            "calibrates": run["policy"] == "fifo",
            "real": {name: run[name] for name in virtual}, "simulated": virtual,
            "error": round(virtual["completion_mean_s"] / run["completion_mean_s"] - 1, 4),
        })  # fmt: skip
    return rows
