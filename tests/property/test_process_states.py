"""Whatever happens to processes and their calls, the table's books are right."""

from __future__ import annotations

import asyncio
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, multiple, precondition, rule

from aios.config import ProcessSettings
from aios.errors import Conflict, Forbidden, LimitExceeded, ProcessKilled
from aios.events import Dispatched, EventBus, Finished, Interrupted, ProcessChanged
from aios.kernel.active import Active
from aios.kernel.pcb import TRANSITIONS, Process
from aios.kernel.process import KERNEL, ProcessTable
from aios.syscalls import Limits, ProcessState, Spawn, Timings, Usage


class Watch(EventBus):
    """A bus that checks each change of state against the last."""

    def __init__(self) -> None:
        super().__init__()
        self.states: dict[int, ProcessState] = {}

    def publish(self, event: Any) -> None:
        if isinstance(event, ProcessChanged):
            before = self.states.get(event.pid)
            assert before is None or event.state in TRANSITIONS[before]
            self.states[event.pid] = event.state
        super().publish(event)


class Tasks:
    """No call of this test has steps to be closed."""

    def create_task(self, *given: object, **named: object) -> None:
        raise AssertionError


class Processes(RuleBasedStateMachine):
    processes = Bundle("processes")
    calls = Bundle("calls")

    def __init__(self) -> None:
        super().__init__()
        self.bus = Watch()
        self.dropped: list[int] = []
        self.table = ProcessTable(
            ProcessSettings(max_processes=8),
            self.bus,
            kv_of=lambda pid: ("", 0),
            keep=lambda process: process.row() and None,
            gone=self.dropped.append,
        )
        self.known: list[Process] = []
        self.open: dict[int, tuple[Process, Active, list[str]]] = {}
        self.paused: set[int] = set()
        self.numbers = iter(range(1, 10**6))

    def note(self, pid: int) -> Process:
        process = self.table.get(pid)
        if process not in self.known:
            self.known.append(process)
        return process

    @rule(target=processes, name=st.sampled_from("abc"), group=st.sampled_from(["team", "team/x", "admin"]))
    def attach(self, name: str, group: str) -> Any:
        try:
            return self.note(self.table.attach(name, group=group))
        except LimitExceeded:
            assert len(self.table.live()) == 8
            return multiple()

    @rule(
        target=processes,
        parent=processes,
        group=st.sampled_from(["", "team", "team/x", "team/x/y", "other", "admin"]),
        calls=st.none() | st.integers(1, 5),
    )
    def spawn(self, parent: Process, group: str, calls: int | None) -> Any:
        if parent.gone:
            return multiple()
        try:
            child = self.table.spawn(parent, Spawn(name="s", group=group, limits=Limits(calls=calls)))
        except Forbidden:
            return multiple()
        except LimitExceeded:
            assert len(self.table.live()) == 8
            return multiple()
        self.table.announce(child)
        return self.note(child.pid)

    @rule(target=calls, process=processes, sequences=st.integers(1, 3))
    def begin(self, process: Process, sequences: int) -> Any:
        if process.gone:
            return multiple()
        call = Active(next(self.numbers), "llm.generate", 0.0, Tasks(), None)  # type: ignore[arg-type]
        self.table.begin(process, call)
        self.table.expect(process, call, sequences)
        self.open[call.id] = (process, call, ["waiting"] * sequences)
        return call.id

    @rule(call=calls, sequence=st.integers(0, 2), end=st.booleans())
    def step(self, call: int, sequence: int, end: bool) -> None:
        """The scheduler gives a slot, or takes it. It may speak of calls that are over."""
        process, _, places = self.open.get(call, (self.known[0], None, ["waiting"]))
        at = sequence % len(places)
        who = {"pid": process.pid, "call": call, "core": "c", "slot": 0}
        if places[at] == "waiting":
            places[at] = "seated"
            self.bus.publish(Dispatched(**who))
        elif places[at] == "seated":
            places[at] = "ended" if end else "waiting"
            self.bus.publish(Finished(**who) if end else Interrupted(**who))

    @rule(call=consumes(calls), failed=st.booleans())
    def finish(self, call: int, failed: bool) -> None:
        process, active, _ = self.open.pop(call)
        before = process.usage
        self.table.finish(process, active, Usage(prompt_tokens=3), Timings(), failed=failed)
        assert process.usage.calls == before.calls + 1
        assert process.usage.failed_calls == before.failed_calls + failed

    @rule(process=processes)
    def pause(self, process: Process) -> None:
        self.table.pause(process)
        if not process.gone:
            self.paused.add(process.pid)

    @rule(process=processes)
    def resume(self, process: Process) -> None:
        self.table.resume(process)
        self.paused.discard(process.pid)

    @rule(process=processes)
    def exit(self, process: Process) -> None:
        self.table.exit(process)
        assert process.gone

    @precondition(lambda self: self.known)
    @rule(process=processes)
    def kill(self, process: Process) -> None:
        was_gone = process.gone
        below = [p for p in self.known if process in p.lineage() and not p.gone]
        self.table.kill(process)
        assert was_gone or process.state == "killed"
        assert all(p.state == "killed" for p in below)
        assert all(isinstance(call.fate, ProcessKilled) for p in below for call in p.calls.values())

    @invariant()
    def states_follow_calls(self) -> None:
        for process in self.known:
            if process.gone:
                continue
            places = [place for owner, _, places in self.open.values() if owner is process for place in places]
            expected = "running" if "seated" in places else "ready" if "waiting" in places else "idle"
            assert process.state == ("paused" if process.pid in self.paused else expected)

    @invariant()
    def the_gone_are_gone(self) -> None:
        gone = [process for process in self.known if process.gone]
        assert sorted(self.dropped) == sorted(process.pid for process in gone)
        for process in gone:
            assert all(call.fate is not None for call in process.calls.values())
            try:
                self.table.living(process.pid)
            except Conflict:
                continue
            raise AssertionError("a gone process lives")

    @invariant()
    def children_have_no_more_rights_than_their_parents(self) -> None:
        for process in self.known:
            parent = process.parent
            if parent is None or parent.pid == KERNEL:
                continue
            assert parent.group in (process.group, "admin") or process.group.startswith(parent.group + "/")
            most = parent.limits.calls
            assert most is None or (process.limits.calls is not None and process.limits.calls <= most)

    @invariant()
    def events_tell_the_states(self) -> None:
        assert all(self.bus.states[process.pid] == process.state for process in self.known)
        assert len(self.table.live()) <= 8


async def _within_a_loop(test: Any) -> None:
    test()


class TestProcesses(Processes.TestCase):
    settings = settings(max_examples=200, stateful_step_count=40, deadline=None)

    def runTest(self) -> None:
        asyncio.run(_within_a_loop(super().runTest))
