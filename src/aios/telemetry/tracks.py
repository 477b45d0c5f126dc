"""The rows of a trace in Chrome's format: groups of tracks, with slices and instants on them."""

from __future__ import annotations

from typing import Any

LANE = 1 << 24
"""The second lane of track t is row t + LANE."""
INSTANT_S = 1e-6
"""Clocks are not finer: so much overlap is none."""


class Tracks:
    """Rows by group and track; `began`: the time, in seconds, that is 0 of the trace.

    Viewers lose slices that overlap on one row, so a track has as many *lanes* as it has slices at once, each a
    row of its own. Slices come in the order of their ends."""

    def __init__(self, began: float) -> None:
        self._began = began
        self._rows: list[dict[str, Any]] = []
        self._groups: dict[str, int] = {}
        self._lanes: dict[tuple[int, int], list[float]] = {}
        """When each lane of a track is free again."""

    def group(self, name: str, order: int) -> int:
        """The number of a group, made if it is new; those of the least `order` are shown first."""
        if name not in self._groups:
            number = self._groups[name] = 1 + len(self._groups)
            self._label("process_name", number, 0, name=name)
            self._label("process_sort_index", number, 0, sort_index=order)
        return self._groups[name]

    def slice(
        self, group: int, track: int, label: str, name: str, span: tuple[float, float], facts: dict[str, Any]
    ) -> None:
        """What took from when until when; `label`: what the track is called."""
        began, ended = span
        lanes = self._lanes.setdefault((group, track), [])
        lane = next((n for n, free in enumerate(lanes) if free <= began + INSTANT_S), len(lanes))
        row = {"ph": "X", "name": name, "pid": group, "tid": self._row(group, track, label, lane)}
        lanes[lane] = ended
        self._rows.append({**row, **self._at(began), "dur": round((ended - began) * 1e6, 1), "args": facts})

    def instant(self, group: int, track: int, label: str, name: str, at: float, facts: dict[str, Any]) -> None:
        """What took no time; on the first lane of its track."""
        row = self._row(group, track, label, 0)
        self._rows.append(
            {"ph": "i", "s": "t", "name": name, "pid": group, "tid": row, **self._at(at), "args": facts}
        )

    def mark(self, group: int, name: str, at: float) -> None:
        """What concerns a whole group."""
        self._rows.append({"ph": "i", "s": "p", "name": name, "pid": group, "tid": 0, **self._at(at)})

    def chrome(self) -> dict[str, Any]:
        """The trace: `{"traceEvents": […]}`, times in microseconds."""
        return {"traceEvents": sorted(self._rows, key=lambda row: row.get("ts", -1.0)), "displayTimeUnit": "ms"}

    def _row(self, group: int, track: int, label: str, lane: int) -> int:
        lanes = self._lanes.setdefault((group, track), [])
        row = track + lane * LANE
        if lane == len(lanes):
            lanes.append(0.0)
            self._label("thread_name", group, row, name=f"{label} ({lane + 1})" if lane else label)
            self._label("thread_sort_index", group, row, sort_index=track)
        return row

    def _label(self, kind: str, group: int, row: int, **facts: Any) -> None:
        self._rows.append({"ph": "M", "name": kind, "pid": group, "tid": row, "args": facts})

    def _at(self, seconds: float) -> dict[str, float]:
        return {"ts": round((seconds - self._began) * 1e6, 1)}
