"""Which trials are simulated, and how they are run."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, replace
from itertools import groupby
from pathlib import Path
from typing import Any

from aios.bench.traces import AZURE, agent_programs, azure_calls
from aios.bench.trial import Trial, outcome
from aios.scheduler.costs import Costs

SCALE = 32
"""Contexts of the recorded agents have about 120,000 tokens, the small model's window 2,000 to 8,000."""
POLICIES = ("fifo", "rr", "mlfq", "fair", "program", "locality", "srpt", "composed")
LOADS = (0.7, 0.9, 1.1)
CORES = ((1, 24), (4, 8), (16, 4), (64, 2))
"""(cores, sessions a core)."""


def trials(seeds: int, *, quick: bool) -> list[Trial]:
    """All of them. `quick`: few and small."""
    found: list[Trial] = []
    cores = CORES[:2] if quick else CORES
    for seed in range(1, seeds + 1):
        for load in LOADS[1:2] if quick else LOADS:
            found += _ways(Trial("load", "", seed, load, cores=2))
        for count, each in cores:
            found += _ways(Trial("cores", "", seed, cores=count, each=min(each, 8) if quick else each))
        found += _ablations(Trial("ablation", "composed", seed, 1.0, cores=2, mixed=True))
        for trace in AZURE:
            calls = Trial("independent calls", "", seed, cores=4, each=100 if quick else 500, trace=trace)
            found += [replace(calls, policy=policy) for policy in ("fifo", "composed")]
    return found


def _ways(point: Trial) -> list[Trial]:
    """Every policy at that point, and who knows the future of a call, or of a whole program."""
    return [replace(point, policy=policy) for policy in POLICIES] + [
        replace(point, policy="srpt", oracle="call"),
        replace(point, policy="srpt", oracle="program"),
    ]


def _ablations(base: Trial) -> list[Trial]:
    """`composed` without each of its rules, and without parking memory; `fifo` to compare."""
    return [
        replace(base, policy="fifo"),
        base,
        replace(base, hidden="class"),
        replace(base, hidden="group"),
        replace(base, hidden="program"),
        replace(base, hidden="resident"),
        replace(base, starve_s=float("inf")),
        replace(base, relief=-1.0),
        replace(base, ram_mb=0),
        replace(base, policy="fifo", ram_mb=0),
    ]


def outcomes(batch: Sequence[Trial], folder: Path, costs: Costs) -> list[dict[str, Any]]:
    """Trials of one trace, one after the other. Raises BadRequest if the trace can't be read."""
    trace = batch[0].trace
    programs = [] if trace else agent_programs(folder, scale=SCALE)
    calls = azure_calls(folder / trace) if trace else []
    return [outcome(trial, programs, calls, costs) for trial in batch]


def run_all(plan: Sequence[Trial], folder: Path, costs: Costs, progress: Path) -> list[dict[str, Any]]:
    """All trials, on all processors. What is done is kept in `progress`, so that a run that was stopped goes on
    where it was; the file is deleted in the end. Raises BadRequest if a trace can't be read."""
    rows = _done(progress, costs)
    known = {_key(row) for row in rows}
    left = [trial for trial in plan if _key(asdict(trial)) not in known]
    with ProcessPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        tasks = [pool.submit(outcomes, batch, folder, costs) for batch in _batches(left)]
        for count, task in enumerate(as_completed(tasks), 1):
            fresh = task.result()
            rows += fresh
            _keep(progress, costs, fresh)
            print(f"  {count} of {len(tasks)} batches: {fresh[0]['study']}, seed {fresh[0]['seed']}")
    progress.unlink(missing_ok=True)
    return rows


def _batches(plan: Sequence[Trial]) -> Iterator[list[Trial]]:
    """Those of many cores last."""

    def point(trial: Trial) -> tuple[Any, ...]:
        return trial.cores, trial.study, trial.seed, trial.load, trial.trace

    for _, group in groupby(sorted(plan, key=point), key=point):
        yield list(group)


def _key(row: dict[str, Any]) -> str:
    return json.dumps([row[name] for name in Trial.__dataclass_fields__])


def _done(progress: Path, costs: Costs) -> list[dict[str, Any]]:
    if not progress.is_file():
        return []
    head, *lines = [json.loads(line) for line in progress.read_text("utf-8").splitlines()]
    return lines if head == asdict(costs) else []


def _keep(progress: Path, costs: Costs, rows: Sequence[dict[str, Any]]) -> None:
    progress.parent.mkdir(parents=True, exist_ok=True)
    fresh = not _done(progress, costs)
    with progress.open("w" if fresh else "a", encoding="utf-8") as file:
        for line in ([asdict(costs)] if fresh else []) + list(rows):
            file.write(json.dumps(line) + "\n")
