"""A picture of a trace: rows of slots, tools and processes over time."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from aios.telemetry.plots import plotting

COLOURS = {"wait": "#dd8452", "switch": "#8c8c8c", "run": "#4c72b0", "tool": "#55a868"}
"""By the first word of what a process does."""
MARKS = {"interrupt": ("x", "#c44e52"), "restore": (">", "#222222"), "promote": ("^", "#8172b3")}
"""Sign and colour of the instants that are drawn, by their first word."""
MOST_ROWS = 80

Row = tuple[int, int]


def draw_timeline(trace: Mapping[str, Any], path: Path) -> int:
    """Draw a trace in Chrome's format, as `telemetry/trace.py` writes it; how many rows there are. Of more than
    MOST_ROWS the first are drawn. Raises ConfigError without matplotlib."""
    events = trace["traceEvents"]
    labels = {(e["pid"], e["tid"]): e["args"]["name"] for e in events if e["name"] == "thread_name"}
    groups = {e["pid"]: e["args"]["name"] for e in events if e["name"] == "process_name"}
    orders = {e["pid"]: e["args"]["sort_index"] for e in events if e["name"] == "process_sort_index"}
    sorting = {
        (e["pid"], e["tid"]): e["args"]["sort_index"] for e in events if e["name"] == "thread_sort_index"
    }
    slices = [e for e in events if e["ph"] == "X"]
    found = {(e["pid"], e["tid"]) for e in slices}
    rows = sorted(found, key=lambda at: (orders[at[0]], groups[at[0]], sorting[at], at))[:MOST_ROWS]
    pyplot = plotting()
    colours = pyplot.get_cmap("tab20").colors
    figure, axes = pyplot.subplots(figsize=(13, 1.2 + 0.26 * max(4, len(rows))))
    for number, row in enumerate(rows):
        mine = [e for e in slices if (e["pid"], e["tid"]) == row]
        bars = [(e["ts"] / 1e6, max(e["dur"] / 1e6, 1e-4)) for e in mine]
        shades = [COLOURS.get(e["name"].split()[0]) or colours[e["args"]["pid"] % len(colours)] for e in mine]
        axes.broken_barh(bars, (number - 0.4, 0.8), facecolors=shades)
    _draw_marks(axes, events, {row: number for number, row in enumerate(rows)})
    axes.set_yticks(range(len(rows)), [_name(groups[row[0]], labels[row]) for row in rows], fontsize=7)
    axes.invert_yaxis()
    axes.set_xlabel("s")
    _draw_legend(axes, colours)
    figure.tight_layout()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120)
    pyplot.close(figure)
    return len(rows)


def _draw_marks(axes: Any, events: list[dict[str, Any]], numbers: Mapping[Row, int]) -> None:
    for word, (sign, colour) in MARKS.items():
        mine = [
            e for e in events
            if e["ph"] == "i" and e["name"].startswith(word) and (e["pid"], e["tid"]) in numbers
        ]  # fmt: skip
        at = [e["ts"] / 1e6 for e in mine]
        axes.scatter(at, [numbers[e["pid"], e["tid"]] for e in mine], marker=sign, s=16, c=colour, zorder=3)


def _draw_legend(axes: Any, colours: Any) -> None:
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    shown: list[Any] = [Patch(color=colour, label=word) for word, colour in COLOURS.items()]
    shown += [
        Line2D([], [], color=colour, marker=sign, linestyle="", markersize=5, label=word)
        for word, (sign, colour) in MARKS.items()
    ]
    shown.append(Patch(color=colours[0], label="slots and tools: a colour a process"))
    axes.legend(handles=shown, ncols=len(shown), fontsize=7, loc="lower left", bbox_to_anchor=(0, 1))


def _name(group: str, label: str) -> str:
    return label if group == "agents" else f"{group} {label}"
