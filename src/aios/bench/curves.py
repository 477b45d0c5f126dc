"""Plots of the simulated studies."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from aios.bench.studies import POLICIES
from aios.telemetry.plots import plotting

PANELS = (("hit", "token hit"), ("mean_s", "mean completion, s"), ("p99_s", "p99 completion, s"),
          ("wait_max_s", "longest wait, s"))  # fmt: skip
ORACLES = ("oracle (call)", "oracle (program)")


def plot_load(path: Path, rows: Sequence[dict[str, Any]]) -> None:
    """Each measure over the load."""
    _lines(path, [row for row in rows if row["study"] == "load"], "load", "simulated: load sweep, 2 cores")


def plot_cores(path: Path, rows: Sequence[dict[str, Any]]) -> None:
    """Each measure over the number of cores."""
    _lines(path, [row for row in rows if row["study"] == "cores"], "cores", "simulated: cores, load 0.9")


def _lines(path: Path, rows: Sequence[dict[str, Any]], over: str, title: str) -> None:
    pyplot = plotting()
    figure, axes = pyplot.subplots(1, len(PANELS), figsize=(4 * len(PANELS), 4.2))
    for panel, (name, told) in zip(axes, PANELS, strict=True):
        for label in (*POLICIES, *ORACLES):
            mine = sorted((row for row in rows if row["label"] == label), key=lambda row: row[over])
            places = [row[over] for row in mine]
            style = {"linestyle": "--", "color": "grey", "marker": "x" if "call" in label else "+"}
            style = style if label in ORACLES else {"marker": "o", "linewidth": 3 if label == "composed" else 1}
            (line,) = panel.plot(places, [row[name] for row in mine], label=label, markersize=4, **style)
            low = [row[f"{name}_range"][0] for row in mine]
            high = [row[f"{name}_range"][1] for row in mine]
            if label in ("fifo", "composed"):
                panel.fill_between(places, low, high, alpha=0.15, color=line.get_color())
        panel.set_xlabel(over)
        panel.set_title(told, fontsize=10)
        if name != "hit":
            panel.set_yscale("log")
        if over == "cores":
            panel.set_xscale("log", base=2)
    axes[0].legend(fontsize=7)
    figure.suptitle(f"{title}; medians, range of fifo and composed", fontsize=10)
    _save(figure, path)
    pyplot.close(figure)


def plot_parts(path: Path, rows: Sequence[dict[str, Any]]) -> None:
    """`composed` and what it is without each of its parts."""
    mine = [row for row in rows if row["study"] == "ablation"]
    pyplot = plotting()
    panels = (("hit", "token hit"), ("mean_s", "mean completion, s"), ("light_mean_s", "of small groups, s"),
              ("interactive_wait_p99_s", "interactive p99 wait, s"))  # fmt: skip
    figure, axes = pyplot.subplots(1, len(panels), figsize=(4 * len(panels), 4.2), sharey=True)
    for panel, (name, told) in zip(axes, panels, strict=True):
        values = [row[name] for row in mine]
        low = [value - row[f"{name}_range"][0] for value, row in zip(values, mine, strict=True)]
        high = [row[f"{name}_range"][1] - value for value, row in zip(values, mine, strict=True)]
        bars = panel.barh([row["label"] for row in mine], values, xerr=[low, high], capsize=3)
        panel.bar_label(bars, fmt="%.3g", fontsize=8, label_type="center", color="white")
        panel.set_title(told, fontsize=10)
        if name != "hit":
            panel.set_xscale("log")
    axes[0].invert_yaxis()
    figure.suptitle("simulated: composed without each of its parts, 2 cores, load 1.0", fontsize=10)
    _save(figure, path)
    pyplot.close(figure)


def _save(figure: Any, path: Path) -> None:
    figure.tight_layout()
    figure.savefig(path, dpi=110)
