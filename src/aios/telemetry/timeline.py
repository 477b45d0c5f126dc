"""A picture of a trace: rows of slots and processes over time."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from aios.telemetry.plots import plotting

WAIT, RUN = "#dd8452", "#4c72b0"
MOST_ROWS = 80


def draw_timeline(trace: Mapping[str, Any], path: Path) -> int:
    """Draw a trace in Chrome's format, as `telemetry/trace.py` writes it; how many rows there are. Of more than
    MOST_ROWS the first are drawn. Raises ConfigError without matplotlib."""
    events = trace["traceEvents"]
    labels = {(e["pid"], e["tid"]): e["args"]["name"] for e in events if e["name"] == "thread_name"}
    groups = {e["pid"]: e["args"]["name"] for e in events if e["name"] == "process_name"}
    slices = [e for e in events if e["ph"] == "X"]
    # Cores above, agents below: both by number.
    tracks = sorted({(e["pid"], e["tid"]) for e in slices}, key=lambda at: (at[0] == 1, at))[:MOST_ROWS]
    colours = plotting().get_cmap("tab20").colors
    figure, axes = plotting().subplots(figsize=(13, 1.2 + 0.26 * max(4, len(tracks))))
    for row, track in enumerate(tracks):
        mine = [e for e in slices if (e["pid"], e["tid"]) == track]
        bars = [(e["ts"] / 1e6, max(e["dur"] / 1e6, 1e-4)) for e in mine]
        if track[0] == 1:
            shades = [WAIT if e["name"] == "wait" else RUN for e in mine]
        else:
            shades = [colours[e["args"]["pid"] % len(colours)] for e in mine]
        axes.broken_barh(bars, (row - 0.4, 0.8), facecolors=shades)
    names = [f"{groups.get(group, '')} {labels.get((group, tid), tid)}" for group, tid in tracks]
    axes.set_yticks(range(len(tracks)), [name.removeprefix("agents ") for name in names], fontsize=7)
    axes.invert_yaxis()
    axes.set_xlabel("s")
    axes.set_title("Slots: one colour a process.  Processes: waiting (orange), running (blue).", fontsize=9)
    figure.tight_layout()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120)
    plotting().close(figure)
    return len(tracks)
