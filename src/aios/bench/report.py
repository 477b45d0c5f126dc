"""What all benchmarks write: a result with the machine it was measured on, and plots."""

from __future__ import annotations

import json
import os
import platform
import time
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from aios.telemetry.plots import plotting


def machine() -> dict[str, Any]:
    """Where and with what this was measured."""
    model = next(
        (line.partition(":")[2].strip() for line in _read("/proc/cpuinfo") if line.startswith("model name")),
        platform.processor() or platform.machine(),
    )
    return {
        "machine": {
            "cpu": model,
            "cores": len(os.sched_getaffinity(0)),
            "memory_gb": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9, 1),
            "python": platform.python_version(),
            "load_before": os.getloadavg()[0],
        },
        "versions": {name: version(name) for name in ("aios", "xllamacpp")},
        "date": time.strftime("%Y-%m-%d"),
    }


def write_result(out: Path, result: Mapping[str, Any]) -> None:
    """`result.json` in the folder `out`, which is made."""
    out.mkdir(parents=True, exist_ok=True)
    (out / "result.json").write_text(json.dumps(result, indent=1) + "\n", "utf-8")


def percentile(values: Sequence[float], share: float) -> float:
    """The value below which `share` of `values` lie (nearest rank); 0.0 of none."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else 0.0


def save_bars(
    path: Path,
    *,
    title: str,
    labels: Sequence[str],
    series: Mapping[str, Sequence[float]],
    unit: str,
    log: bool = False,
) -> None:
    """Grouped bars: one group a label, one bar a series, each with its value."""
    plot = plotting()
    figure, axes = plot.subplots(figsize=(1.6 + 1.5 * len(labels) * max(1, len(series) / 2), 4.2))
    width = 0.8 / len(series)
    for i, (name, values) in enumerate(series.items()):
        places = [x + (i - (len(series) - 1) / 2) * width for x in range(len(labels))]
        bars = axes.bar(places, values, width, label=name)
        axes.bar_label(bars, fmt="%.3g", fontsize=8)
    axes.set_xticks(range(len(labels)), labels)
    axes.set_ylabel(unit)
    axes.set_title(title, fontsize=11)
    if log:
        axes.set_yscale("log")
    if len(series) > 1:
        axes.legend(fontsize=8)
    save_figure(figure, path)


def spread(rows: Sequence[Mapping[str, Any]], name: str) -> list[list[float]]:
    """How far the least and the most of a measure are from what each row says: what error bars want. A row
    without its range has none."""
    ranges = [row.get(f"{name}_range", [row[name], row[name]]) for row in rows]
    low = [row[name] - least for row, (least, _) in zip(rows, ranges, strict=True)]
    return [low, [most - row[name] for row, (_, most) in zip(rows, ranges, strict=True)]]


def log_ticks(axis: Any, *, values: Sequence[float] | None = None) -> None:
    """Ticks of a logarithmic axis as plain numbers: `values`, or 1, 2 and 5 of each power of ten."""
    from matplotlib.ticker import FixedLocator, LogLocator, NullLocator

    axis.set_major_locator(LogLocator(10, subs=(1, 2, 5)) if values is None else FixedLocator(list(values)))
    axis.set_major_formatter("{x:,.6g}")
    axis.set_minor_locator(NullLocator())


def save_figure(figure: Any, path: Path) -> None:
    """Write it into a folder, which is made, and forget it."""
    if figure.get_layout_engine() is None:
        figure.tight_layout()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120)
    plotting().close(figure)


def _read(path: str) -> list[str]:
    try:
        return Path(path).read_text("utf-8").splitlines()
    except OSError:
        return []
