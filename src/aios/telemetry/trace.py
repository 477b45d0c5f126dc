"""What happened lately, as a timeline: the events of the bus in Chrome's trace format (Perfetto reads it).

A track for each slot of each core, for each tool and for each process. A process waits, is *switched* to (its
KV comes back, what is missing is computed, until the first token), runs, or uses a tool: each is a slice; so
is, on the slot or the tool, who has it. Instants: first tokens, interrupts, restores, promotions, moves of
contexts, changes of windows and of the policy. Pure: events in, JSON out."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
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
    SyscallFinished,
    SyscallStarted,
    WindowChanged,
)
from aios.telemetry.tracks import Tracks

CORES, TOOLS, AGENTS = "core ", "tools", "agents"
GROUPS = (CORES, TOOLS, AGENTS)
"""Of tracks, in the order in which they are shown."""
INSTANTS = (FirstToken, Interrupted, Promoted, ContextMoved, WindowChanged)


@dataclass(slots=True)
class Stay:
    """A sequence in a slot. `first`: when its first token of this stay came."""

    began: Dispatched
    first: float | None = None


class Timeline:
    """Builds a trace from events in the order in which they happened. `names`: of processes; `began`: when the
    first one was."""

    def __init__(self, names: Mapping[int, str], began: float) -> None:
        self._names, self._now = names, began
        self._tracks = Tracks(began)
        self._waits: dict[int, list[Queued]] = {}
        self._stays: dict[tuple[str, int], Stay] = {}
        self._calls: dict[int, SyscallStarted] = {}
        self._tools: dict[str, int] = {}

    def add(self, event: Event) -> None:
        self._now = event.t
        match event:
            case Queued():
                self._waits.setdefault(event.call, []).append(event)
            case Dispatched():
                self._seated(event)
            case FirstToken() if stay := self._stays.get((event.core, event.slot)):
                stay.first = event.t
            case Interrupted():
                self._left(event, event.why)
            case Finished():
                self._left(event, event.reason)
            case SyscallStarted() if event.kind == "tool.call":
                self._calls[event.call] = event
            case SyscallFinished():
                self._answered(event)
            case PolicyChanged():
                self._tracks.mark(self._core(event.core), f"policy {event.policy}", event.t)
            case _:
                pass
        if isinstance(event, INSTANTS) and event.pid:
            group, name = self._group(AGENTS), self._name(event.pid)
            self._tracks.instant(group, event.pid, name, _words(event), event.t, {"call": event.call})

    def chrome(self) -> dict[str, Any]:
        """The trace; what goes on still, up to the last event. Call once."""
        for stay in tuple(self._stays.values()):
            at = stay.began
            self._left(Finished(t=self._now, pid=at.pid, call=at.call, core=at.core, slot=at.slot), "goes on")
        for call in tuple(self._waits):
            self._waited(call)
        for started in self._calls.values():
            self._used(started, started.t, self._now, "goes on")
        return self._tracks.chrome()

    # -- slots -------------------------------------------------------------------------------------

    def _seated(self, event: Dispatched) -> None:
        self._stays[event.core, event.slot] = Stay(event)
        if waits := self._waits.get(event.call):
            self._wait(waits.pop(0))

    def _left(self, event: Interrupted | Finished, why: str) -> None:
        stay = self._stays.pop((event.core, event.slot), None)
        if stay is None:
            return  # it started before the first event that is known
        began, first = stay.began, event.t if stay.first is None else stay.first
        facts = {"call": event.call, "pid": event.pid, "core": event.core, "slot": event.slot}
        switch = {**facts, "context": began.tokens, "cached": began.cached}
        run = {**facts, "ended": why, "generated": event.generated}
        core, slot, name = self._core(event.core), f"slot {event.slot}", self._name(event.pid)
        spans: list[tuple[str, tuple[float, float], dict[str, Any]]] = [("switch", (began.t, first), switch)]
        if stay.first is not None:
            spans.append(("run", (first, event.t), run))
        for what, span, told in spans:
            self._tracks.slice(core, event.slot, slot, name if what == "run" else what, span, told)
            self._on_agent(event.pid, what, span, told)

    def _waited(self, call: int) -> None:
        """A call waits no more, because it is over."""
        for queued in self._waits.pop(call, ()):
            self._wait(queued)

    def _wait(self, queued: Queued) -> None:
        facts = {"core": queued.core, "call": queued.call}
        self._on_agent(queued.pid, "wait", (queued.t, self._now), facts)

    # -- tools -------------------------------------------------------------------------------------

    def _answered(self, event: SyscallFinished) -> None:
        self._waited(event.call)
        if started := self._calls.pop(event.call, None):
            self._used(started, max(started.t, event.t - event.run_s), event.t, event.error or "ok")

    def _used(self, started: SyscallStarted, began: float, ended: float, result: str) -> None:
        """A call of a tool: what it waited until `began`, a person's answer counted, and what it ran."""
        pid, tool = started.pid, started.detail
        facts = {"call": started.call, "pid": pid, "tool": tool, "result": result}
        if began > started.t:
            self._on_agent(pid, "wait", (started.t, began), facts)
        self._on_agent(pid, f"tool {tool}", (began, ended), facts)
        track = self._tools.setdefault(tool, 1 + len(self._tools))
        self._tracks.slice(self._group(TOOLS), track, tool, self._name(pid), (began, ended), facts)

    # -- tracks ------------------------------------------------------------------------------------

    def _on_agent(self, pid: int, what: str, span: tuple[float, float], facts: dict[str, Any]) -> None:
        self._tracks.slice(self._group(AGENTS), pid, self._name(pid), what, span, facts)

    def _group(self, kind: str, name: str = "") -> int:
        return self._tracks.group(kind + name, GROUPS.index(kind))

    def _core(self, name: str) -> int:
        return self._group(CORES, name)

    def _name(self, pid: int) -> str:
        return f"{pid} {self._names[pid]}" if pid in self._names else str(pid)


def chrome_trace(events: Iterable[Event], names: Mapping[int, str]) -> dict[str, Any]:
    """Events in order as a trace in Chrome's format."""
    all_of_them = tuple(events)
    timeline = Timeline(names, all_of_them[0].t if all_of_them else 0.0)
    for event in all_of_them:
        timeline.add(event)
    return timeline.chrome()


def _words(event: FirstToken | Interrupted | Promoted | ContextMoved | WindowChanged) -> str:
    match event:
        case FirstToken():
            return f"restore after {event.generated} tokens" if event.generated else "first token"
        case Interrupted():
            return f"interrupt ({event.why})"
        case Promoted():
            return f"promote ({event.raised})"
        case ContextMoved():
            return f"context {event.where}"
        case WindowChanged():
            return f"window {'refused' if event.refused else event.policy}"
