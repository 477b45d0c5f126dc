"""`aios bench simulate`: the live policy objects on a virtual clock, over recorded loads, on 1 to 64 cores.

Everything here is simulated, and says so. The costs of an engine step are fitted to the real engine, and the
simulator is first compared with real runs (`validation.py`); then come a sweep of the load, of the number of
cores, `composed` without each of its rules, and calls that know nothing of each other.

The measured steps of the real engine are kept beside the result (`engine.json`); `full` measures them anew, as
the first run on a machine does. The real runs are those in the result of `aios bench schedule`.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

from aios.bench.curves import plot_cores, plot_load, plot_parts
from aios.bench.lab import Lab
from aios.bench.report import machine, write_result
from aios.bench.stepping import Move, Sample, fitted, measure, report
from aios.bench.studies import SCALE, run_all, trials
from aios.bench.validation import calibrated, compared, real_runs
from aios.bench.verdict import merged, targets, text
from aios.errors import BadRequest
from aios.models.store import ModelStore

MODEL = "smollm2-135m-instruct"


def run(
    out: Path,
    *,
    data: Path | None = None,
    model: str = MODEL,
    seeds: int = 5,
    full: bool = False,
    quick: bool = False,
) -> None:
    """Write `result.json`, `report.md` and plots to `out`. `data`: the folder with the traces. Raises
    BadRequest without it, and ModelError if the model is not there."""
    if data is None:
        what = "The simulation needs the folder of its traces."
        raise BadRequest(what, "Give it with --data; what is in it says aios/bench/traces.py.")
    before = machine()
    out.mkdir(parents=True, exist_ok=True)
    steps, moves = _engine(out / "engine.json", model, anew=full)
    real = real_runs(out.parent / "schedule" / "result.json")
    alone = fitted(steps, moves)
    costs, factor = calibrated(real, alone)
    checks = compared(real, alone)
    for check in checks:
        run = f"{check['policy']}, {check['agents']} agents, seed {check['seed']}"
        print(f"  {run}: mean completion {check['error']:+.1%} of the real run")
    plan = trials(2 if quick else seeds, quick=quick)
    rows = merged(run_all(plan, data, costs, out / "progress.jsonl"))
    result = {
        "bench": "simulate", "simulated": True, "model": model, "scale": SCALE, "seeds": seeds,
        "calibration": {**report(steps, alone), "live_factor": factor}, "validation": checks,
        "targets": targets(rows, checks), "rows": rows, **before,
    }  # fmt: skip
    write_result(out, result)
    (out / "report.md").write_text(text(result), "utf-8")
    plot_load(out / "load.png", rows)
    plot_cores(out / "cores.png", rows)
    plot_parts(out / "ablation.png", rows)


def _engine(path: Path, model: str, *, anew: bool) -> tuple[list[Sample], list[Move]]:
    if anew or not path.is_file():
        lab = Lab(ModelStore().resolve(model), slots=8)
        steps, moves = measure(lab)
        lab.close()
        found = {"steps": [asdict(step) for step in steps], "moves": [asdict(move) for move in moves]}
        path.write_text(json.dumps(found, indent=1) + "\n", "utf-8")
    found = json.loads(path.read_text("utf-8"))
    return [Sample(**step) for step in found["steps"]], [Move(**move) for move in found["moves"]]
