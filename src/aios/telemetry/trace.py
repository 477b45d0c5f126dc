"""What happened lately, as a timeline: the events of the bus in Chrome's trace format (Perfetto reads it).

A track for each slot of each core, on which runs are slices; a track for each process, on which waits and
runs are; instants for first tokens, interrupts, promotions and moves of contexts. Pure: events in, JSON out.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

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
    WindowChanged,
)

AGENTS = 1
"""Track group of the processes; cores come after it."""
INSTANTS = (FirstToken, Interrupted, Promoted, ContextMoved, WindowChanged)


class Timeline:
    """Builds a trace from events in the order in which they happened. `names`: of processes."""

    def __init__(self, names: Mapping[int, str]) -> None:
        self._names = names
        self._began: float | None = None
        self._out: list[dict[str, Any]] = []
        self._cores: dict[str, int] = {}
        self._waits: dict[int, list[Queued]] = {}
        self._runs: dict[tuple[str, int], Dispatched] = {}
        self._tracks: set[tuple[int, int]] = set()

    def add(self, event: Event) -> None:
        if self._began is None:
            self._began = event.t
        match event:
            case Queued():
                self._waits.setdefault(event.call, []).append(event)
            case Dispatched():
                self._start(event)
            case Interrupted() | Finished():
                self._stop(event)
            case PolicyChanged():
                self._instant(event, self._core(event.core), 0, f"policy {event.policy}", "p")
            case _:
                pass
        if isinstance(event, INSTANTS) and event.pid:
            self._track(AGENTS, event.pid, self._name(event.pid))
            self._instant(event, AGENTS, event.pid, _words(event), "t")

    def chrome(self) -> dict[str, Any]:
        """The trace: `{"traceEvents": […]}`, times in microseconds from the first event."""
        return {"traceEvents": sorted(self._out, key=lambda row: row.get("ts", -1.0)), "displayTimeUnit": "ms"}

    def _start(self, event: Dispatched) -> None:
        self._runs[event.core, event.slot] = event
        waits = self._waits.get(event.call)
        if waits:
            queued = waits.pop(0)
            self._slice(AGENTS, event.pid, "wait", queued.t, event.t, {"core": event.core, "call": event.call})

    def _stop(self, event: Interrupted | Finished) -> None:
        began = self._runs.pop((event.core, event.slot), None)
        if began is None:
            return  # it started before the first event that is known
        why = event.why if isinstance(event, Interrupted) else event.reason
        facts = {
            "call": event.call, "pid": event.pid, "ended": why, "context": began.tokens, "cached": began.cached,
            "generated": event.generated,
        }  # fmt: skip
        core = self._core(event.core)
        self._track(core, event.slot, f"slot {event.slot}")
        self._slice(core, event.slot, self._name(event.pid), began.t, event.t, facts)
        self._slice(
            AGENTS, event.pid, "run", began.t, event.t, {**facts, "core": event.core, "slot": event.slot}
        )

    def _slice(
        self, group: int, track: int, name: str, began: float, ended: float, facts: dict[str, Any]
    ) -> None:
        if group == AGENTS:
            self._track(AGENTS, track, self._name(track))
        row = {"ph": "X", "name": name, "pid": group, "tid": track, "args": facts}
        self._out.append({**row, "ts": self._time(began), "dur": round((ended - began) * 1e6, 1)})

    def _instant(self, event: Event, group: int, track: int, name: str, scope: str) -> None:
        row = {"ph": "i", "s": scope, "name": name, "pid": group, "tid": track, "ts": self._time(event.t)}
        self._out.append({**row, "args": {"call": event.call}})

    def _core(self, name: str) -> int:
        if name not in self._cores:
            self._cores[name] = AGENTS + 1 + len(self._cores)
            self._label("process_name", self._cores[name], 0, f"core {name}")
        return self._cores[name]

    def _track(self, group: int, track: int, name: str) -> None:
        if group == AGENTS and not any(known == AGENTS for known, _ in self._tracks):
            self._label("process_name", AGENTS, 0, "agents")
        if (group, track) not in self._tracks:
            self._tracks.add((group, track))
            self._label("thread_name", group, track, name)

    def _label(self, kind: str, group: int, track: int, name: str) -> None:
        self._out.append({"ph": "M", "name": kind, "pid": group, "tid": track, "args": {"name": name}})

    def _name(self, pid: int) -> str:
        return f"{pid} {self._names[pid]}" if pid in self._names else str(pid)

    def _time(self, seconds: float) -> float:
        return round((seconds - (self._began or 0.0)) * 1e6, 1)


def chrome_trace(events: Iterable[Event], names: Mapping[int, str]) -> dict[str, Any]:
    """Events in order as a trace in Chrome's format."""
    timeline = Timeline(names)
    for event in events:
        timeline.add(event)
    return timeline.chrome()


def _words(event: FirstToken | Interrupted | Promoted | ContextMoved | WindowChanged) -> str:
    match event:
        case FirstToken():
            return "first token"
        case Interrupted():
            return f"interrupt ({event.why})"
        case Promoted():
            return f"promote to {event.scheduling_class}"
        case ContextMoved():
            return f"context {event.where}"
        case WindowChanged():
            return f"window {event.policy}"
