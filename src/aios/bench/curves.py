"""Plots of the simulated studies."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from aios.bench.report import log_ticks, save_figure, spread
from aios.bench.studies import POLICIES
from aios.telemetry.plots import plotting

PANELS = (("hit", "token hit"), ("mean_s", "mean completion, s"), ("p99_s", "p99 completion, s"),
          ("wait_max_s", "longest wait, s"))  # fmt: skip
PARTS = (
    ("hit", "token hit"),
    ("mean_s", "mean completion, s"),
    ("light_mean_s", "mean completion of small groups, s"),
    ("interactive_wait_p99_s", "interactive p99 wait, s"),
)
ORACLES = ("oracle (call)", "oracle (program)")
STYLES: Mapping[str, tuple[str, str, str]] = {
    "fifo": ("#0072b2", "-", "o"), "rr": ("#56b4e9", "-", "v"), "mlfq": ("#8c564b", "-", "^"),
    "fair": ("#17becf", "-", ">"), "program": ("#cc79a7", "-", "s"), "locality": ("#009e73", "-", "D"),
    "srpt": ("#e69f00", "-", "P"), "composed": ("#d55e00", "-", "o"),
    "oracle (call)": ("black", "--", "x"), "oracle (program)": ("0.45", ":", "+"),
}  # fmt: skip
"""Colour, line and marker of each way of ordering."""
BANDS = ("fifo", "composed")
"""Whose ranges are drawn."""

Rows = Sequence[dict[str, Any]]


def plot_load(path: Path, rows: Rows) -> None:
    """Each measure over the load."""
    _lines(path, [row for row in rows if row["study"] == "load"], "load", "simulated: load sweep, 2 cores")


def plot_cores(path: Path, rows: Rows) -> None:
    """Each measure over the number of cores."""
    _lines(path, [row for row in rows if row["study"] == "cores"], "cores", "simulated: cores, load 0.9")


def one_line(rows: Rows) -> dict[str, str]:
    """Of each way of ordering that is drawn, what the legend says: ways that did the same are one line."""
    drawn: dict[str, list[str]] = {}
    same: dict[str, str] = {}
    for label in (*POLICIES, *ORACLES):
        mine = [{key: row[key] for key in row if key != "label"} for row in rows if row["label"] == label]
        if mine:
            drawn.setdefault(same.setdefault(repr(mine), label), []).append(label)
    # Turns of groups, when there is but one, are turns of calls.
    return {
        first: " = ".join(labels) + (" (one group)" if {"rr", "fair"} <= set(labels) else "")
        for first, labels in drawn.items()
    }


def _lines(path: Path, rows: Rows, over: str, title: str) -> None:
    figure, axes = plotting().subplots(1, len(PANELS), figsize=(4.4 * len(PANELS), 5.2), layout="constrained")
    places = sorted({row[over] for row in rows})
    for panel, (name, told) in zip(axes, PANELS, strict=True):
        for label, legend in one_line(rows).items():
            mine = sorted((row for row in rows if row["label"] == label), key=lambda row: row[over])
            _line(panel, [row[over] for row in mine], mine, name, label=label, legend=legend)
        panel.set_xlabel(over)
        if over == "cores":
            panel.set_xscale("log")
        log_ticks(panel.xaxis, values=places)
        if name == "hit":
            least = panel.get_ylim()[0]
            told += f" (axis cut: from {least:.2f}, not 0)" if least > 0 else ""
        else:
            panel.set_yscale("log")
            log_ticks(panel.yaxis)
        panel.set_title(told, fontsize=10)
    figure.suptitle(f"{title}; medians, and the ranges of {' and '.join(BANDS)}", fontsize=11)
    figure.legend(*axes[0].get_legend_handles_labels(), fontsize=9, loc="outside lower center", ncols=9)
    save_figure(figure, path)


def _line(panel: Any, places: Sequence[float], rows: Rows, name: str, *, label: str, legend: str) -> None:
    colour, line, marker = STYLES[label]
    panel.plot(
        places, [row[name] for row in rows], linestyle=line, marker=marker, markersize=5, color=colour,
        label=legend, linewidth=2.5 if label in BANDS else 1.2, zorder=3 if label in BANDS else 2,
    )  # fmt: skip
    if label in BANDS:
        low, high = zip(*(row[f"{name}_range"] for row in rows), strict=True)
        panel.fill_between(places, low, high, alpha=0.12, color=colour, linewidth=0)


def plot_parts(path: Path, rows: Rows) -> None:
    """`composed` and what it is without each of its parts. Points, as a bar on a logarithmic axis has no length
    that means anything."""
    mine = [row for row in rows if row["study"] == "ablation"]
    figure, axes = plotting().subplots(1, len(PARTS), figsize=(4.4 * len(PARTS), 5.2), sharey=True)
    places = range(len(mine))
    for panel, (name, told) in zip(axes, PARTS, strict=True):
        colours = [STYLES[row["label"].partition(",")[0]][0] for row in mine]
        for place, row, colour in zip(places, mine, colours, strict=True):
            panel.errorbar(row[name], place, xerr=spread([row], name), fmt="o", capsize=3, color=colour)
            panel.annotate(
                f"{row[name]:,.3g}" if row[name] < 1000 else f"{row[name]:,.0f}", (row[name], place), (0, 5),
                textcoords="offset points", fontsize=8, ha="center",
            )  # fmt: skip
        panel.set_title(told, fontsize=10)
        panel.grid(axis="x", linewidth=0.4)
        if name == "hit":
            panel.set_xlim(0.0, 1.08)
        else:
            panel.set_xscale("log")
            log_ticks(panel.xaxis)
            panel.tick_params(axis="x", labelsize=8)
    axes[0].set_yticks(places, [row["label"] for row in mine])
    axes[0].set_ylim(len(mine) - 0.5, -0.7)
    figure.suptitle(
        "simulated: composed without each of its parts, 2 cores, load 1.0; medians and ranges", fontsize=11
    )
    save_figure(figure, path)
