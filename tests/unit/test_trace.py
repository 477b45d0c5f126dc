"""Events as a timeline."""

from pathlib import Path

from aios.events import (
    ContextMoved,
    Dispatched,
    Event,
    Finished,
    FirstToken,
    Interrupted,
    PolicyChanged,
    Queued,
)
from aios.telemetry.timeline import draw_timeline
from aios.telemetry.trace import chrome_trace

EVENTS: tuple[Event, ...] = (
    Finished(t=9.9, pid=9, call=9, core="main", slot=0, reason="ended"),  # it began before
    Queued(t=10.0, pid=2, call=1, core="main"),
    Dispatched(t=10.5, pid=2, call=1, core="main", slot=0, tokens=30, cached=20),
    FirstToken(t=10.6, pid=2, call=1, core="main", slot=0),
    Queued(t=10.7, pid=3, call=2, core="main"),
    Interrupted(t=11.0, pid=2, call=1, core="main", slot=0, generated=8),
    Queued(t=11.0, pid=2, call=1, core="main"),
    ContextMoved(t=11.0, pid=2, context=1, where="parked"),
    Dispatched(t=11.0, pid=3, call=2, core="main", slot=0),
    PolicyChanged(t=11.2, core="main", policy="fair"),
    Finished(t=12.0, pid=3, call=2, core="main", slot=0, generated=5, reason="ended"),
    Dispatched(t=12.0, pid=2, call=1, core="main", slot=0),
    Finished(t=13.0, pid=2, call=1, core="main", slot=0, generated=9, reason="ended"),
)


def slices(trace: dict, group: int, track: int) -> list[tuple[str, float, float]]:
    return [
        (e["name"], e["ts"] / 1e6 + 9.9, e["dur"] / 1e6)
        for e in trace["traceEvents"]
        if e["ph"] == "X" and (e["pid"], e["tid"]) == (group, track)
    ]


def rounded(rows: list[tuple[str, float, float]]) -> list[tuple[str, float, float]]:
    return [(name, round(at, 3), round(took, 3)) for name, at, took in rows]


def test_slots_and_processes_have_tracks_of_slices():
    trace = chrome_trace(EVENTS, {2: "ann", 3: "bob"})
    (core,) = {e["pid"] for e in trace["traceEvents"] if e["args"].get("name") == "core main"}
    assert rounded(slices(trace, core, 0)) == [("2 ann", 10.5, 0.5), ("3 bob", 11.0, 1.0), ("2 ann", 12.0, 1.0)]
    assert rounded(slices(trace, 1, 2)) == [
        ("wait", 10.0, 0.5), ("run", 10.5, 0.5), ("wait", 11.0, 1.0), ("run", 12.0, 1.0),
    ]  # fmt: skip
    assert rounded(slices(trace, 1, 3)) == [("wait", 10.7, 0.3), ("run", 11.0, 1.0)]
    instants = {e["name"] for e in trace["traceEvents"] if e["ph"] == "i"}
    assert instants == {"first token", "interrupt (quantum)", "context parked", "policy fair"}
    labels = {e["args"]["name"] for e in trace["traceEvents"] if e["name"] == "thread_name"}
    assert labels == {"2 ann", "3 bob", "slot 0"}


def test_an_empty_trace_is_one():
    assert chrome_trace((), {})["traceEvents"] == []


def test_a_trace_can_be_drawn(tmp_path: Path):
    assert draw_timeline(chrome_trace(EVENTS, {}), tmp_path / "t.png") == 3
    assert (tmp_path / "t.png").read_bytes().startswith(b"\x89PNG")
    assert draw_timeline(chrome_trace((), {}), tmp_path / "none.png") == 0
