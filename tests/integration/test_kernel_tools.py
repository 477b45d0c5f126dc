"""Tools by system call: admitted, charged, journalled by their effect, in the order of the policies."""

from __future__ import annotations

import asyncio
import sqlite3
from pathlib import Path
from typing import Any

import pytest
from tests.kernels import ask, settings, signal, spawn, until

from aios.errors import (
    Conflict,
    DeadlineExceeded,
    Forbidden,
    LimitExceeded,
    NotFound,
    ProcessKilled,
    ToolError,
)
from aios.events import SyscallFinished, SyscallStarted
from aios.kernel.kernel import Kernel
from aios.kernel.records import Entry, encode
from aios.kernel.tooling import folder_of
from aios.kernel.toolorder import PolicyOrder
from aios.scheduler.composed import Composed
from aios.scheduler.fair import Fair
from aios.syscalls import Generate, Limits, Message, Ps
from aios.syscalls.toolruns import RunTools
from aios.syscalls.tools import (
    AddTools,
    CallTool,
    ListTools,
    RemoveTools,
    ToolResult,
    ToolSource,
)
from aios.tools.order import Item
from aios.tools.tool import Bound, Caller, tool

pytestmark = pytest.mark.anyio


def give(kernel: Kernel, *bounds: Bound) -> None:
    for bound in bounds:
        kernel._need().tools._tools.add(bound)


async def use(kernel: Kernel, pid: int, name: str, **fields: Any) -> ToolResult:
    return await kernel.trap(pid, CallTool(name=name, **fields))


def rows(folder: Path) -> list[tuple[str, str, str]]:
    db = sqlite3.connect(folder / "journal.db")
    try:
        return db.execute("SELECT kind, effect, state FROM syscalls ORDER BY id").fetchall()
    finally:
        db.close()


class Gate:
    """A tool that runs until it is told to end."""

    def __init__(self) -> None:
        self.open, self.running, self.ended = asyncio.Event(), 0, 0

    def tool(self, **facts: Any) -> Bound:
        @tool(**facts)
        async def gated() -> str:
            """Wait."""
            self.running += 1
            try:
                await self.open.wait()
                self.ended += 1
            finally:
                self.running -= 1
            return "done"

        return gated


# -- a call -----------------------------------------------------------------------------------------------


async def test_a_call_is_counted_told_of_and_journalled_by_its_effect(tmp_path: Path) -> None:
    @tool(effect="opaque")
    async def note(text: str) -> str:
        """Write down."""
        during.extend(rows(tmp_path))
        return text

    during: list[tuple[str, str, str]] = []
    async with Kernel(settings(tmp_path)) as kernel:
        give(kernel, note)
        pid = kernel.processes.attach("ann")
        with kernel.bus.subscribe() as events:
            assert (await use(kernel, pid, "calculator", arguments={"expression": "6*7"}, id="c1")).value == 42
            assert (await use(kernel, pid, "note", arguments='{"text": "x"}')).text == "x"
            told = [event for event in events.unread() if isinstance(event, SyscallStarted | SyscallFinished)]
        with pytest.raises(ToolError, match="'expression' is missing"):
            await use(kernel, pid, "calculator")
        usage = kernel.processes.info(pid).usage
        with pytest.raises(NotFound, match="calculator"):
            await use(kernel, pid, "calculater")
    assert during == [("tool.call", "pure", "done"), ("tool.call", "opaque", "started")]
    assert [getattr(event, "detail", None) for event in told] == ["calculator", None, "note", None]
    assert (usage.calls, usage.failed_calls) == (3, 1)
    assert [row[1:] for row in rows(tmp_path)] == [("pure", "done"), ("opaque", "done"), ("pure", "failed")]


async def test_limits_of_processes_and_spend_of_groups_hold_for_tools(tmp_path: Path) -> None:
    @tool(effect="pure", cost=0.4)
    def dear() -> str:
        """Cost."""
        return "done"

    groups = [{"name": "poor", "spend": 1.0}]
    async with Kernel(settings(tmp_path, groups=groups)) as kernel:
        give(kernel, dear)
        limited = await spawn(kernel, 1, "limited", limits=Limits(calls=2))
        for _ in range(2):
            await use(kernel, limited.pid, "clock")
        with pytest.raises(LimitExceeded, match="2 calls"):
            await use(kernel, limited.pid, "clock")
        poor = kernel.processes.attach("poor", group="poor")
        for _ in range(2):
            await use(kernel, poor, "dear")
        with pytest.raises(LimitExceeded, match=r"may cost 0\.4"):
            await use(kernel, poor, "dear")
        assert kernel.groups.list()[0].spent == pytest.approx(0.8)


async def test_rates_and_concurrency_of_groups_hold_for_tools(tmp_path: Path) -> None:
    gate = Gate()
    groups = [{"name": "narrow", "concurrency": 1}, {"name": "rare", "requests_per_min": 1.0}]
    async with Kernel(settings(tmp_path, groups=groups)) as kernel:
        give(kernel, gate.tool())
        first, second = (kernel.processes.attach(name, group="narrow") for name in ("ann", "bob"))
        calls = [asyncio.ensure_future(use(kernel, pid, "gated")) for pid in (first, second)]
        await until(lambda: gate.running)
        other = kernel.processes.attach("eve", group="rare")
        await use(kernel, other, "clock")
        with pytest.raises(DeadlineExceeded):  # the next may start in a minute
            await use(kernel, other, "clock", deadline_s=0.05)
        assert gate.running == 1
        gate.open.set()
        assert [told.text for told in await asyncio.gather(*calls)] == ["done", "done"]


async def test_kill_pause_and_deadline_reach_a_tool(tmp_path: Path) -> None:
    gate = Gate()
    async with Kernel(settings(tmp_path)) as kernel:
        give(kernel, gate.tool())
        ann, bob = kernel.processes.attach("ann"), kernel.processes.attach("bob")
        with pytest.raises(DeadlineExceeded):
            await use(kernel, ann, "gated", deadline_s=0.01)
        running = asyncio.ensure_future(use(kernel, ann, "gated"))
        await until(lambda: gate.running)
        assert kernel.processes.info(ann).state == "running"
        await signal(kernel, bob, "pause")
        held = asyncio.ensure_future(use(kernel, bob, "gated"))
        await signal(kernel, ann, "kill", reason="enough")
        with pytest.raises(ProcessKilled, match="enough"):
            await running
        assert gate.running == 0
        gate.open.set()
        assert not held.done()
        await signal(kernel, bob, "resume")
        assert (await held).text == "done"


async def test_a_drain_waits_for_tools_and_then_cancels_them(tmp_path: Path) -> None:
    gate = Gate()
    async with Kernel(settings(tmp_path)) as kernel:
        give(kernel, gate.tool())
        call = asyncio.ensure_future(use(kernel, kernel.processes.attach("ann"), "gated"))
        await until(lambda: gate.running)
    with pytest.raises(Exception, match="shut down"):
        await call
    assert gate.running == 0


# -- once -------------------------------------------------------------------------------------------------


async def test_a_key_runs_a_tool_once_across_restarts(tmp_path: Path) -> None:
    runs = 0

    @tool
    def send(text: str) -> int:
        """Send."""
        nonlocal runs
        runs += 1
        return runs

    for _ in range(2):
        async with Kernel(settings(tmp_path)) as kernel:
            give(kernel, send)
            pid = kernel.processes.attach("ann")
            both = await asyncio.gather(
                *(use(kernel, pid, "send", arguments={"text": "x"}, idempotency_key="k") for _ in range(2))
            )
            assert [one.value for one in both] == [1, 1]
            with pytest.raises(Conflict, match="another request"):
                await use(kernel, pid, "send", arguments={"text": "y"}, idempotency_key="k")


@pytest.mark.parametrize(
    ("effect", "key", "state"),
    [
        ("pure", "k", "done"), ("idempotent", "k", "done"), ("opaque", "k", "in_doubt"),
        ("local", "k", "in_doubt"), ("idempotent", None, "lost"), ("opaque", None, "in_doubt"),
    ],
)  # fmt: skip
async def test_after_a_crash_a_call_runs_again_only_if_that_is_safe(
    tmp_path: Path, effect: Any, key: str | None, state: str
) -> None:
    call = CallTool(name="clock", idempotency_key=key)
    async with Kernel(settings(tmp_path)) as kernel:
        ann = await spawn(kernel, 1, "ann")
        from aios.kernel.once import claim

        agent = kernel.processes.get(ann.pid).agent
        wanted = claim(agent, key or "", call)
        entry = Entry(
            id=900, pid=ann.pid, agent=agent, kind="tool.call", effect=effect, key=key, digest=wanted.digest,
            request=encode(call), started=1.0,
        )  # fmt: skip
        await kernel._journal.commit(entry, (), lambda durable: None)
    async with Kernel(settings(tmp_path)) as kernel:
        if state == "in_doubt" and key:
            with pytest.raises(Conflict, match="in doubt"):
                await kernel.trap(ann.pid, call)
        if state == "done":
            assert (await use(kernel, ann.pid, "clock", idempotency_key=key)).value.zone == "UTC"
        await kernel._journal.settled()
        assert ("tool.call", effect, state) in rows(tmp_path)


# -- what there is ----------------------------------------------------------------------------------------

MODULE = """
from aios.tools.tool import tool

@tool(effect="pure")
def greet(name: str) -> str:
    "Greet."
    return f"hello {name}"
"""


async def test_admins_add_and_remove_sources_and_the_next_kernel_has_them(tmp_path: Path) -> None:
    (tmp_path / "polite").mkdir()
    (tmp_path / "polite" / "tool.toml").write_text('name = "polite"\nversion = "1"\n')
    (tmp_path / "polite" / "tools.py").write_text(MODULE)
    source = ToolSource(name="nice", kind="package", path=str(tmp_path / "polite"))
    state = tmp_path / "state"
    async with Kernel(settings(state)) as kernel:
        ann, boss = kernel.processes.attach("ann"), kernel.processes.attach("boss", group="admin")
        for call in (AddTools(source=source), RemoveTools(name="clock")):
            with pytest.raises(Forbidden, match="admin"):
                await kernel.trap(ann, call)
        added = await kernel.trap(boss, AddTools(source=source))
        assert [tool.name for tool in added.tools] == ["nice__greet"]
        with pytest.raises(Conflict):
            await kernel.trap(boss, AddTools(source=source))
    async with Kernel(settings(state)) as kernel:
        ann, boss = kernel.processes.attach("ann"), kernel.processes.attach("boss", group="admin")
        assert (await use(kernel, ann, "nice__greet", arguments={"name": "Ann"})).text == "hello Ann"
        left = await kernel.trap(boss, RemoveTools(name="nice"))
        assert "calculator" in {tool.name for tool in left.tools}
    async with Kernel(settings(state)) as kernel:
        with pytest.raises(NotFound):
            await kernel.trap(kernel.processes.attach("ann"), ListTools(name="nice__greet"))


async def test_a_source_whose_tools_can_not_be_had_is_not_added(tmp_path: Path) -> None:
    async with Kernel(settings(tmp_path)) as kernel:
        boss = kernel.processes.attach("boss", group="admin")
        with pytest.raises(Exception, match="not available"):
            await kernel.trap(
                boss, AddTools(source=ToolSource(name="gone", kind="mcp", command="/nowhere/server"))
            )
        assert not (tmp_path / "tools.json").exists()
        assert await kernel.trap(boss, Ps())


def test_folders_of_agents_are_their_own(tmp_path: Path) -> None:
    names = ["a:b", "a_b", "a/b", "a:b ", "x" * 250, "x" * 249 + "y", "..", "é"]
    folders = {folder_of(tmp_path, name) for name in names}
    assert len(folders) == len(names)
    assert all(folder.parent == tmp_path and len(folder.name) < 255 for folder in folders)


# -- who goes first ---------------------------------------------------------------------------------------


def item(number: int, group: str, **fields: Any) -> Item:
    caller = Caller(agent=group, folder="", pid=number, program=f"p{number}", group=group, **fields)
    return Item(number, caller, "t", frozenset(), float(number))


def served(order: PolicyOrder, items: list[Item], seconds: dict[str, float]) -> list[str]:
    for one in items:
        order.enqueue(one, 0.0)
    now, found = 0.0, list[str]()
    while (one := order.select(now, lambda item: True)) is not None:
        one.began = now
        now += seconds.get(one.caller.group, 1.0)
        order.left(one, now)
        found.append(one.caller.group)
    assert len(order) == 0
    return found


def test_shares_of_a_tool_are_shares_of_its_time() -> None:
    items = [item(n, group) for n, group in enumerate(["slow"] * 8 + ["quick"] * 8)]
    first = served(PolicyOrder(Fair()), items, {"slow": 3.0, "quick": 1.0})[:8]
    assert (first.count("slow"), first.count("quick")) == (2, 6)


def test_an_urgent_class_goes_first() -> None:
    items = [item(1, "a", scheduling_class="batch"), item(2, "b", scheduling_class="interactive")]
    assert served(PolicyOrder(Composed()), items, {}) == ["b", "a"]


async def test_the_kernel_orders_waiting_calls_by_its_policy(tmp_path: Path) -> None:
    gate, order = Gate(), list[str]()

    @tool(concurrency=1)
    async def printer(name: str) -> str:
        """Print."""
        order.append(name)
        await gate.open.wait()
        return name

    async with Kernel(settings(tmp_path)) as kernel:
        give(kernel, printer)
        batch = await spawn(kernel, 1, "batch", scheduling_class="batch")
        urgent = await spawn(kernel, 1, "urgent", scheduling_class="interactive")
        async with asyncio.TaskGroup() as tasks:
            table = kernel._need().tools._tools.running
            wanted = (("first", batch.pid), ("second", batch.pid), ("urgent", urgent.pid))
            for number, (name, pid) in enumerate(wanted, 1):
                tasks.create_task(use(kernel, pid, "printer", arguments={"name": name}))
                await until(lambda number=number: len(table) + table.waiting == number)
            gate.open.set()
    assert order == ["first", "urgent", "second"]


# -- gaps -------------------------------------------------------------------------------------------------


async def test_how_long_a_tool_takes_is_known_to_the_contexts(tmp_path: Path) -> None:
    @tool(effect="pure")
    async def slow() -> str:
        """Take a while."""
        await asyncio.sleep(0.05)
        return "done"

    async with Kernel(settings(tmp_path)) as kernel:
        give(kernel, slow)
        pid = kernel.processes.attach("ann")
        await ask(kernel, pid, "hello")
        told: list[tuple[int, float]] = []
        kernel._pool.away = lambda pid, seconds: told.append((pid, seconds))  # type: ignore[method-assign]
        await use(kernel, pid, "slow")
        assert told == []
        await use(kernel, pid, "slow")
    ((who, seconds),) = told
    assert who == pid
    assert 0.03 < seconds < 5.0


async def test_nothing_that_is_no_tool_call_is_asked_of_a_model_s_message(tmp_path: Path) -> None:
    async with Kernel(settings(tmp_path)) as kernel:
        call = Generate(messages=(Message(role="user", content="just talk"),))
        run = await kernel.run_tools(kernel.processes.attach("ann"), RunTools(call=call))
    assert (run.turns, run.finished, run.messages[-1].content) == (1, True, "just talk")
