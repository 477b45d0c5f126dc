"""Events as a timeline."""

from __future__ import annotations

import itertools
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from aios.events import (
    ContextMoved,
    Dispatched,
    Event,
    Finished,
    FirstToken,
    Interrupted,
    PolicyChanged,
    Promoted,
    Queued,
    SyscallFinished,
    SyscallStarted,
)
from aios.telemetry.timeline import draw_timeline
from aios.telemetry.trace import chrome_trace
from aios.telemetry.tracks import Tracks

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
    FirstToken(t=11.5, pid=3, call=2, core="main", slot=0),
    Promoted(t=11.8, pid=2, call=1, core="main", waited_s=0.8, raised=1),
    Finished(t=12.0, pid=3, call=2, core="main", slot=0, generated=5, reason="ended"),
    Dispatched(t=12.0, pid=2, call=1, core="main", slot=0),
    FirstToken(t=12.1, pid=2, call=1, core="main", slot=0, generated=8),
    Finished(t=13.0, pid=2, call=1, core="main", slot=0, generated=9, reason="ended"),
    SyscallFinished(t=13.0, pid=2, call=1, kind="llm.generate"),
)
NAMES = {2: "ann", 3: "bob"}


def traced(*events: Event) -> Trace:
    return Trace(chrome_trace(events, NAMES), events[0].t)


class Trace:
    """A trace, to be asked by the names of its tracks."""

    def __init__(self, chrome: dict, began: float) -> None:
        self.events, self._began = chrome["traceEvents"], began
        self.tracks = {
            (group["args"]["name"], row["args"]["name"]): (row["pid"], row["tid"])
            for row in self.events
            for group in self.events
            if row["name"] == "thread_name" and group["name"] == "process_name" and row["pid"] == group["pid"]
        }

    def on(self, group: str, track: str) -> list[tuple[str, float, float]]:
        """Name, time and length of each slice."""
        at = self.tracks[group, track]
        mine = [e for e in self.events if e["ph"] == "X" and (e["pid"], e["tid"]) == at]
        return [(e["name"], round(e["ts"] / 1e6 + self._began, 3), round(e["dur"] / 1e6, 3)) for e in mine]

    def instants(self, group: str, track: str) -> list[tuple[str, float]]:
        at = self.tracks[group, track]
        mine = [e for e in self.events if e["ph"] == "i" and (e["pid"], e["tid"]) == at]
        return [(e["name"], round(e["ts"] / 1e6 + self._began, 3)) for e in mine]


def test_slots_and_processes_have_tracks_of_slices():
    trace = traced(*EVENTS)
    assert set(trace.tracks) == {("agents", "2 ann"), ("agents", "3 bob"), ("core main", "slot 0")}
    assert trace.on("core main", "slot 0") == [
        ("switch", 10.5, 0.1), ("2 ann", 10.6, 0.4), ("switch", 11.0, 0.5), ("3 bob", 11.5, 0.5),
        ("switch", 12.0, 0.1), ("2 ann", 12.1, 0.9),
    ]  # fmt: skip
    assert trace.on("agents", "2 ann") == [
        ("wait", 10.0, 0.5), ("switch", 10.5, 0.1), ("run", 10.6, 0.4), ("wait", 11.0, 1.0),
        ("switch", 12.0, 0.1), ("run", 12.1, 0.9),
    ]  # fmt: skip
    assert trace.on("agents", "3 bob") == [("wait", 10.7, 0.3), ("switch", 11.0, 0.5), ("run", 11.5, 0.5)]
    assert trace.instants("agents", "2 ann") == [
        ("first token", 10.6), ("interrupt (quantum)", 11.0), ("context parked", 11.0),
        ("promote (1)", 11.8), ("restore after 8 tokens", 12.1),
    ]  # fmt: skip
    assert [e["name"] for e in trace.events if e["ph"] == "i" and e["s"] == "p"] == ["policy fair"]


def test_tools_have_tracks_with_a_lane_for_each_call_at_once():
    def called(t: float, pid: int, call: int) -> Event:
        return SyscallStarted(t=t, pid=pid, call=call, kind="tool.call", detail="clock")

    def answered(t: float, pid: int, call: int, run_s: float, error: str = "") -> Event:
        return SyscallFinished(t=t, pid=pid, call=call, kind="tool.call", run_s=run_s, error=error)

    trace = traced(
        called(1.0, 2, 1), called(1.5, 3, 2), called(2.0, 3, 3), answered(3.0, 2, 1, 1.5),
        answered(3.5, 3, 2, 2.0, "tool_timeout"), answered(4.0, 3, 3, 0.5),
    )  # fmt: skip
    assert trace.on("tools", "clock") == [("2 ann", 1.5, 1.5), ("3 bob", 3.5, 0.5)]
    assert trace.on("tools", "clock (2)") == [("3 bob", 1.5, 2.0)]
    assert trace.on("agents", "2 ann") == [("wait", 1.0, 0.5), ("tool clock", 1.5, 1.5)]
    results = [e["args"]["result"] for e in trace.events if e["ph"] == "X" and e["pid"] == 2]
    assert sorted(results) == ["ok", "ok", "tool_timeout"]


def test_what_goes_on_still_is_shown_up_to_now():
    trace = traced(
        Queued(t=1.0, pid=2, call=1, core="main"), Queued(t=1.0, pid=3, call=2, core="main"),
        Dispatched(t=2.0, pid=2, call=1, core="main", slot=0),
        FirstToken(t=2.5, pid=2, call=1, core="main", slot=0),
        SyscallStarted(t=3.0, pid=3, call=3, kind="tool.call", detail="clock"),
        Queued(t=4.0, pid=9, call=4, core="main"),
    )  # fmt: skip
    assert trace.on("core main", "slot 0") == [("switch", 2.0, 0.5), ("2 ann", 2.5, 1.5)]
    assert trace.on("agents", "3 bob") == [("wait", 1.0, 3.0)]
    assert trace.on("agents", "3 bob (2)") == [("tool clock", 3.0, 1.0)]


def test_a_call_that_was_cancelled_waits_no_more():
    trace = traced(
        Queued(t=1.0, pid=2, call=1, core="main"),
        SyscallFinished(t=2.0, pid=2, call=1, kind="llm.generate", error="cancelled"),
        Queued(t=9.0, pid=2, call=2, core="main"),
    )
    assert trace.on("agents", "2 ann") == [("wait", 1.0, 1.0), ("wait", 9.0, 0.0)]


spans = st.lists(st.tuples(st.floats(0, 50), st.floats(0.01, 9)), max_size=20)


@given(spans)
def test_no_two_slices_overlap_on_a_row(drawn):
    """Viewers would lose one of them."""
    tracks = Tracks(0.0)
    group = tracks.group("tools", 0)
    for began, took in sorted(drawn, key=sum):
        tracks.slice(group, 1, "clock", "ann", (began, began + took), {})
    rows = [e for e in tracks.chrome()["traceEvents"] if e["ph"] == "X"]
    assert len(rows) == len(drawn)
    for one, other in itertools.combinations(rows, 2):
        first, second = sorted((one, other), key=lambda e: e["ts"])
        assert first["tid"] != second["tid"] or first["ts"] + first["dur"] <= second["ts"] + 2  # rounded


def test_an_empty_trace_is_one():
    assert chrome_trace((), {})["traceEvents"] == []


def test_a_trace_can_be_drawn(tmp_path: Path):
    assert draw_timeline(chrome_trace(EVENTS, NAMES), tmp_path / "t.png") == 3
    assert (tmp_path / "t.png").read_bytes().startswith(b"\x89PNG")
    assert draw_timeline(chrome_trace((), {}), tmp_path / "none.png") == 0
