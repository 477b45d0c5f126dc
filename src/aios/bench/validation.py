"""The simulator against the real engine, on the same load.

Real sessions run over HTTP on the embedded core, as in `aios bench schedule`. The simulator replays their token
counts and pauses. Engine steps were measured with the engine alone; live it shares the processor with the
kernel and the clients. One run sets the factor by which that slows it down; the others had no part in it, and
say how far off the simulator is.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from aios import plugins
from aios.bench.drive import CallRecord, Row
from aios.bench.modes import BACKOFF, Setup, served
from aios.bench.placement import Planned
from aios.bench.report import percentile
from aios.bench.sessions import Plan, plans, run_sessions
from aios.scheduler.costs import Costs
from aios.scheduler.load import Call, Session
from aios.scheduler.simulator import Simulator
from aios.scheduler.virtual import VirtualCore

RUNS = (("fifo", 1), ("fifo", 2), ("composed", 2))
"""(policy, seed); the first calibrates."""
AGENTS, SLOTS = 12, 4
QUANTUM = 64


async def real_runs(model: str, path: Path, state: Path, threads: int) -> list[dict[str, Any]]:
    """Raises what the kernel's start and the calls raise."""
    setup = Setup(model, path, AGENTS, SLOTS, threads, state, context=2048)
    found: list[dict[str, Any]] = []
    for policy, seed in RUNS:
        rows = [Row(f"agent-{index:02}") for index in range(AGENTS)]
        async with served(setup, f"aios-{policy}", BACKOFF) as way:
            done = await run_sessions(way, plans(AGENTS, seed), seed, rows)
        row = done.row(policy)
        found.append({
            "policy": policy, "seed": seed, "makespan_s": row["makespan_s"], "hit": row["kv_hit"],
            "mean_s": row["completion_mean_s"], "p99_s": row["completion_p99_s"],
            "calls": [asdict(record) for record in done.records],
        })  # fmt: skip
    return found


def replayed(crowd: Sequence[Plan], records: Sequence[CallRecord]) -> list[Session]:
    """The sessions of a real run: its pauses as planned, its tokens as the engine counted them."""
    sessions: list[Session] = []
    shared = max((record.cached for record in _firsts(records)), default=0)
    for index, plan in enumerate(crowd):
        mine = sorted((r for r in records if r.agent == f"agent-{index:02}"), key=lambda r: r.began)
        calls: list[Call] = []
        context = shared
        for record, (_, _, gap_s) in zip(mine, plan.steps, strict=True):
            calls.append(Call(record.prompt - context, record.generated, gap_s))
            context = record.prompt + record.generated
        sessions.append(Session(index + 1, calls, plan.arrival, shared=shared))
    return sessions


def _firsts(records: Sequence[CallRecord]) -> list[CallRecord]:
    """The first call of each agent."""
    found: dict[str, CallRecord] = {}
    for record in sorted(records, key=lambda record: record.began):
        found.setdefault(record.agent, record)
    return list(found.values())


def simulated(run: dict[str, Any], costs: Costs) -> dict[str, float]:
    """The same measures of a real run, on the virtual clock."""
    records = [CallRecord(**record) for record in run["calls"]]
    sessions = replayed(plans(AGENTS, run["seed"]), records)
    policy = plugins.load(plugins.POLICIES, run["policy"])(quantum=QUANTUM)
    core = VirtualCore(policy, costs, Planned(SLOTS, costs), slots=SLOTS, quantum=QUANTUM)
    simulator = Simulator([core])
    simulator.run(sessions)
    took = [session.done - session.arrival for session in sessions]
    computed = sum(session.computed for session in sessions)
    return {
        "mean_s": round(statistics.mean(took), 2),
        "p99_s": round(percentile(took, 0.99), 2),
        "makespan_s": round(simulator.now, 2),
        "hit": round(1 - computed / sum(session.prompted for session in sessions), 4),
    }


def calibrated(run: dict[str, Any], costs: Costs) -> tuple[Costs, float]:
    """`costs` slowed down by the factor (1 to 2, in hundredths) that brings the mean completion nearest to the
    real run's, and the factor."""

    def off(factor: float) -> float:
        return abs(simulated(run, costs.slower(factor))["mean_s"] - run["mean_s"])

    factor = min((1 + step / 100 for step in range(101)), key=off)
    return costs.slower(factor), factor


def compared(runs: Sequence[dict[str, Any]], costs: Costs) -> list[dict[str, Any]]:
    """Real and simulated side by side; `error`: of the mean completion, relative."""
    rows: list[dict[str, Any]] = []
    for index, run in enumerate(runs):
        real = {name: run[name] for name in ("mean_s", "p99_s", "makespan_s", "hit")}
        virtual = simulated(run, costs)
        rows.append({
            "policy": run["policy"], "seed": run["seed"], "calibrates": index == 0, "real": real,
            "simulated": virtual, "error": round(virtual["mean_s"] / real["mean_s"] - 1, 4),
        })  # fmt: skip
    return rows
