"""Conversations that outgrow the window, on the real engine with a tiny model."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from aios.config import GroupSettings, parse
from aios.cores.core import Sequence, Step
from aios.errors import ContextOverflow, NotFound
from aios.events import Event, SyscallStarted, WindowChanged
from aios.kernel.groups import GroupTable
from aios.kernel.kernel import Kernel
from aios.scheduler.policy import CLASSES
from aios.scheduler.scheduler import Scheduler
from aios.scheduler.ticket import Ticket
from aios.syscalls import Completion, FunctionSpec, Generate, Message, Sampling, ToolSpec

pytestmark = pytest.mark.anyio

WINDOW = 512
SYSTEM = Message(role="system", content="You are brief.")


@asynccontextmanager
async def kernel(model: Path, folder: Path, window: str) -> AsyncGenerator[tuple[Kernel, list[Event]]]:
    settings = parse(
        {
            "state": {"dir": str(folder)},
            "context": {"window": window},
            "cores": [{"name": "tiny", "model": str(model), "slots": 2, "context": WINDOW, "threads": 1}],
        }
    )
    events: list[Event] = []
    async with Kernel(settings) as running:
        running.bus.listen(WindowChanged, events.append)
        running.bus.listen(SyscallStarted, events.append)
        yield running, events


async def say(kernel: Kernel, pid: int, messages: list[Message], **options) -> Completion:
    call = Generate(
        messages=tuple(messages), sampling=Sampling(temperature=0.0), max_tokens=8, stream=False, **options
    )
    done = await kernel.trap(pid, call)
    assert isinstance(done, Completion)
    return done


async def talk(kernel: Kernel, pid: int, turns: int, **options) -> list[Completion]:
    messages = [SYSTEM]
    answers: list[Completion] = []
    for turn in range(turns):
        messages.append(Message(role="user", content=f"turn {turn}: " + "word " * 10))
        answers.append(await say(kernel, pid, messages, **options))
        messages.append(Message(role="assistant", content=answers[-1].choices[0].content))
    return answers


async def test_by_default_a_prompt_over_the_window_is_refused(tiny_model: Path, tmp_path: Path) -> None:
    async with kernel(tiny_model, tmp_path, "error") as (running, events):
        pid = running.processes.attach("a")
        with pytest.raises(ContextOverflow):
            await talk(running, pid, 40)
        (told,) = [event for event in events if isinstance(event, WindowChanged)]
        call = max(event.call for event in events if isinstance(event, SyscallStarted))
        assert (told.pid, told.call, told.policy, told.refused) == (pid, call, "error", True)
        assert told.window == WINDOW <= told.tokens
        assert told.left_out == 0
        assert await say(running, pid, [SYSTEM, Message(role="user", content="hello")])


async def test_truncated_it_goes_on_and_its_kv_is_mostly_reused(tiny_model: Path, tmp_path: Path) -> None:
    async with kernel(tiny_model, tmp_path, "truncate") as (running, events):
        pid = running.processes.attach("a")
        answers = await talk(running, pid, 40)
        told = [event for event in events if isinstance(event, WindowChanged)]
        assert told
        assert all(event.tokens + 8 <= WINDOW and event.policy == "truncate" for event in told)
        left_out = [event.left_out for event in told]
        assert left_out == sorted(left_out)
        assert len(set(left_out)) < len(left_out) / 2  # it stays with a cut for several turns
        usages = [answer.usage for answer in answers[-10:]]
        assert sum(u.cached_tokens for u in usages) > sum(u.prompt_tokens for u in usages) / 2
        parts = await running.composition(pid)
        assert parts.system + parts.tools + parts.history + parts.free == parts.window == WINDOW
        assert parts.system > 0
        assert parts.tools == 0


async def test_summarised_the_summary_stands_for_what_was_left_out(tiny_model: Path, tmp_path: Path) -> None:
    async with kernel(tiny_model, tmp_path, "error") as (running, events):
        pid = running.processes.attach("a")
        await talk(running, pid, 30, window="summarize")
        told = [event for event in events if isinstance(event, WindowChanged)]
        assert told
        assert all(event.tokens + 8 <= WINDOW for event in told)
        calls = sum(isinstance(event, SyscallStarted) for event in events)
        summaries = calls - 30
        assert 1 <= summaries <= len({event.left_out for event in told})  # one for each new cut, none twice


async def test_a_summary_is_asked_for_at_low_priority_and_paid_for_by_who_needs_it(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tickets: list[Ticket] = []
    submit = Scheduler.submit

    def seen(self: Scheduler, sequence: Sequence, ticket: Ticket) -> AsyncGenerator[Step, None]:
        tickets.append(ticket)
        return submit(self, sequence, ticket)

    monkeypatch.setattr(Scheduler, "submit", seen)
    async with kernel(tiny_model, tmp_path, "error") as (running, events):
        pid = running.processes.attach("a")
        await talk(running, pid, 30, window="summarize", scheduling_class="interactive", priority=5)
        started = [event for event in events if isinstance(event, SyscallStarted)]
        assert {(event.kind, event.pid) for event in started} == {("llm.generate", pid)}
        classes = Counter((ticket.scheduling_class, ticket.priority) for ticket in tickets)
        assert classes.keys() == {("interactive", 5), ("batch", 0)}
        assert classes["interactive", 5] == 30
        assert classes["batch", 0] == len(started) - 30 >= 1
        assert {ticket.pid for ticket in tickets} == {pid}
        assert running.processes.info(pid).usage.calls == len(started)


@pytest.mark.parametrize(
    ("own", "classes", "expected"),
    [
        ("normal", CLASSES, "batch"),
        ("idle", CLASSES, "idle"),
        ("normal", ("interactive", "normal"), "normal"),
        ("interactive", ("interactive", "idle"), "idle"),
    ],
)
def test_what_the_kernel_asks_aside_is_less_urgent_as_far_as_the_group_has_it(own, classes, expected) -> None:
    table = GroupTable([GroupSettings(name="team", classes=classes)], keep=lambda _: None)
    assert table.aside("team", own) == table.aside("team/one", own) == expected


async def test_a_newest_message_that_is_too_long_is_refused_by_all(tiny_model: Path, tmp_path: Path) -> None:
    async with kernel(tiny_model, tmp_path, "truncate") as (running, events):
        pid = running.processes.attach("a")
        messages = [SYSTEM, Message(role="user", content="hi"), Message(role="user", content="word " * 600)]
        for window in ("error", "truncate", "summarize"):
            with pytest.raises(ContextOverflow):
                await say(running, pid, messages, window=window)
        told = [event for event in events if isinstance(event, WindowChanged)]
        assert [event.policy for event in told] == ["error", "truncate", "summarize"]
        assert all(event.refused and event.kept == len(messages) for event in told)


async def test_the_parts_of_a_window_are_told(tiny_model: Path, tmp_path: Path) -> None:
    async with kernel(tiny_model, tmp_path, "error") as (running, _):
        pid = running.processes.attach("a")
        with pytest.raises(NotFound):
            await running.composition(pid)
        tool = ToolSpec(function=FunctionSpec(name="look", description="Look somewhere up."))
        await say(running, pid, [SYSTEM, Message(role="user", content="hi")], tools=(tool,))
        parts = await running.composition(pid)
        assert parts.tools > 10
        assert parts.history > 0
        assert parts.messages == 2
