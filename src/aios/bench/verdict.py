"""What the simulated trials say: medians over seeds, ratios within a seed, targets, and the report's text."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import Any

Rows = Sequence[dict[str, Any]]
POINT = ("study", "trace", "cores", "load")
MEASURES = (
    "hit", "ideal", "mean_s", "p99_s", "wait_max_s", "makespan_s", "light_mean_s", "interactive_wait_p99_s",
    "busy", "overdue", "bound_selections", "bound_work", "mean_to_oracle", "mean_to_fifo", "makespan_to_fifo",
)  # fmt: skip


def merged(trials: Rows) -> list[dict[str, Any]]:
    """One row for each point and way of ordering: medians over the seeds with the range, and the medians of the
    ratios to the better oracle and to `fifo` on the same seed."""
    for row in trials:
        same = [other for other in trials if all(other[key] == row[key] for key in (*POINT, "seed"))]
        if known := [other["mean_s"] for other in same if other["oracle"]]:
            row["mean_to_oracle"] = row["mean_s"] / min(known)
        for base in (other for other in same if other["label"] == "fifo"):
            row["mean_to_fifo"] = row["mean_s"] / base["mean_s"]
            row["makespan_to_fifo"] = row["makespan_s"] / base["makespan_s"]
    found: list[dict[str, Any]] = []
    for key in dict.fromkeys(tuple(row[name] for name in (*POINT, "label")) for row in trials):
        same = [row for row in trials if tuple(row[name] for name in (*POINT, "label")) == key]
        entry = dict(zip((*POINT, "label"), key, strict=True)) | {"seeds": len(same)}
        for name in MEASURES:
            if values := [row[name] for row in same if name in row]:
                entry[name] = round(statistics.median(values), 4)
                entry[f"{name}_range"] = [round(min(values), 4), round(max(values), 4)]
        found.append(entry)
    return sorted(found, key=lambda row: (row["study"], row["trace"], row["cores"], row["load"]))


def targets(rows: Rows, checks: Rows) -> list[dict[str, Any]]:
    """What was to be reached, what was, and whether."""
    error = max(abs(check["error"]) for check in checks if not check["calibrates"])
    found = [_target("mean completion against real runs, error", error, "<=", 0.15)]
    for row in rows:
        if row["label"] != "composed":
            continue
        where = f"{row['cores']} cores, load {row['load']:g}"
        if row["study"] in ("cores", "load"):
            found.append(_target(f"token hit, {where}", row["hit"], ">=", 0.9))
            found.append(_target(f"mean completion to the oracle's, {where}", row["mean_to_oracle"], "<=", 1.5))
            used = max(row["bound_selections_range"][1], row["bound_work_range"][1])
            found.append(_target(f"share of the starvation bound used up, {where}", used, "<=", 1.0))
        if row["study"] == "independent calls":
            trace = row["trace"].removesuffix(".csv.gz")
            found.append(_target(f"mean to fifo's, {trace}", row["mean_to_fifo"], "<=", 1.02))
            found.append(_target(f"makespan to fifo's, {trace}", row["makespan_to_fifo"], "<=", 1.02))
    return found


def _target(what: str, value: float, sign: str, bound: float) -> dict[str, Any]:
    met = value >= bound if sign == ">=" else value <= bound
    return {"what": what, "value": round(value, 4), "target": f"{sign} {bound:g}", "met": met}


def text(result: dict[str, Any]) -> str:
    """The report, Markdown."""
    fit = result["calibration"]
    lines = [
        "# Simulated: the scheduling policies on a virtual clock", "",
        "Nothing here but the validation was run on an engine. The policy objects and the planning of KV "
        "(`Residency`) are the live ones.", "",
        f"Costs of engine steps: {fit['samples']} kinds of steps measured ({result['model']}), mean error of "
        f"the fit {fit['relative_error_mean']:.1%}, largest {fit['relative_error_max']:.1%}; live the engine "
        f"is {fit['live_factor']:.2f} times as slow as alone.", "",
        f"Agents: recorded coding sessions, tokens and seconds divided by {result['scale']}, that come as a "
        f"Poisson process; {result['seeds']} seeds; 4 slots and 1 GiB of parking memory a core; quantum of 16 "
        "tokens. Load 1 is what the cores can do if nothing is computed twice. Medians over the seeds, range "
        "in brackets. The oracle is the better of two: shortest remaining call, shortest remaining program.",
        "",
        "## Validation", "", *_table(
            ("policy", "agents", "seed", "", "mean s, real", "simulated", "error", "p99 wait s, real",
             "simulated", "hit, real", "simulated"),
            [
                (c["policy"], c["agents"], c["seed"], "calibrates" if c["calibrates"] else "",
                 c["real"]["completion_mean_s"], c["simulated"]["completion_mean_s"], f"{c['error']:+.1%}",
                 c["real"]["wait_p99_s"], c["simulated"]["wait_p99_s"], c["real"]["kv_hit"],
                 c["simulated"]["kv_hit"])
                for c in result["validation"]
            ],
        ), "", "## Targets", "", *_table(
            ("what", "reached", "target", "met"),
            [(t["what"], t["value"], t["target"], "yes" if t["met"] else "**no**") for t in result["targets"]],
        ),
    ]  # fmt: skip
    for study in dict.fromkeys(row["study"] for row in result["rows"]):
        lines += [
            "",
            f"## {study.capitalize()}",
            "",
            *_study([r for r in result["rows"] if r["study"] == study]),
        ]
    return "\n".join(lines) + "\n"


def _study(rows: Rows) -> list[str]:
    names = ("hit", "mean_s", "p99_s", "wait_max_s", "makespan_s", "mean_to_oracle", "mean_to_fifo",
             "light_mean_s", "interactive_wait_p99_s")  # fmt: skip
    shown = [name for name in names if any(name in row for row in rows)]
    head = ("trace, cores, load", "way", *(name.replace("_", " ") for name in shown))
    return _table(head, [
        (f"{row['trace'].removesuffix('.csv.gz')} {row['cores']}, {row['load']:g}", row["label"],
         *(_spread(row, name) for name in shown))
        for row in rows
    ])  # fmt: skip


def _spread(row: dict[str, Any], name: str) -> str:
    if name not in row:
        return ""
    low, high = row[f"{name}_range"]
    return f"{row[name]:.4g} ({low:.4g}–{high:.4g})"


def _table(head: Sequence[str], rows: Sequence[Sequence[Any]]) -> list[str]:
    lines = [head, ["---"] * len(head), *rows]
    return ["| " + " | ".join(map(str, line)) + " |" for line in lines]
