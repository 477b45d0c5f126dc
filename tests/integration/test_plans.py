"""Calls of a program that declared its plan, in a kernel: which step each is."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import pytest
from tests.kernels import ask, say, settings, until

from aios.errors import DeadlineExceeded, Forbidden
from aios.kernel.foresight import Foresight
from aios.kernel.kernel import Kernel
from aios.scheduler.composed import Composed
from aios.scheduler.policy import Item
from aios.syscalls import DeclarePlan, FunctionSpec, PlanStep, ToolSpec

pytestmark = pytest.mark.anyio

LONG = "word " * 500
STEPS = (
    PlanStep(name="a"),
    PlanStep(name="b"),
    PlanStep(name="join", depends_on=("a", "b")),
)


@pytest.fixture
def taken(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The step that each call was taken for, as they came."""
    steps: list[str] = []
    came = Foresight.came

    def noted(self: Foresight, *given: Any) -> str:
        steps.append(came(self, *given))
        return steps[-1]

    monkeypatch.setattr(Foresight, "came", noted)
    return steps


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> list[Item]:
    """The calls as the policy was shown them."""
    items: list[Item] = []
    enqueue = Composed.enqueue

    def noted(self: Composed, item: Item, now: float) -> None:
        items.append(item)
        enqueue(self, item, now)

    monkeypatch.setattr(Composed, "enqueue", noted)
    return items


@pytest.fixture
async def slow(tmp_path: Path) -> AsyncGenerator[Kernel]:
    async with Kernel(settings(tmp_path, core={"slots": 2, "tokens_per_s": 200})) as kernel:
        yield kernel


async def planned(kernel: Kernel) -> int:
    pid = kernel.processes.attach("ann")
    await kernel.trap(pid, DeclarePlan(steps=STEPS))
    return pid


async def test_calls_at_once_are_different_steps(slow: Kernel, taken: list[str]) -> None:
    pid = await planned(slow)
    await asyncio.gather(ask(slow, pid, "one"), ask(slow, pid, "two"))
    await ask(slow, pid, "three")
    await ask(slow, pid, "four")
    assert taken == ["a", "b", "join", ""]


async def test_a_call_that_is_cancelled_gives_its_step_back(slow: Kernel, taken: list[str]) -> None:
    pid = await planned(slow)
    call = asyncio.create_task(ask(slow, pid, LONG))
    await until(lambda: slow.status().cores[0].running)
    await ask(slow, pid, "two")
    call.cancel()
    await asyncio.wait([call])
    await ask(slow, pid, "again")
    await ask(slow, pid, "three")
    assert taken == ["a", "b", "a", "join"]


async def test_a_call_that_fails_gives_its_step_back(slow: Kernel, taken: list[str]) -> None:
    pid = await planned(slow)
    with pytest.raises(DeadlineExceeded):
        await ask(slow, pid, LONG, deadline_s=0.01)
    with pytest.raises(Forbidden):
        await slow.trap(pid, say("no", policy="srpt"))
    await asyncio.gather(ask(slow, pid, "one"), ask(slow, pid, "two"))
    assert taken == ["a", "a", "b"]


async def test_the_policy_sees_the_gap_that_was_declared(slow: Kernel, seen: list[Item]) -> None:
    pid = slow.processes.attach("ann")
    steps = (
        PlanStep(name="a", tokens=5),
        PlanStep(name="away", kind="tool", seconds=2.5, depends_on=("a",)),
        PlanStep(name="b", tokens=7, depends_on=("away",)),
    )
    await slow.trap(pid, DeclarePlan(steps=steps))
    await ask(slow, pid, "one")
    await ask(slow, pid, "two")
    assert [(item.gap_s, item.ahead, item.path) for item in seen] == [(2.5, 12.0, 137.0), (None, 7.0, 7.0)]


async def test_the_policy_sees_the_gap_that_the_tools_of_a_process_took_before(
    slow: Kernel, seen: list[Item]
) -> None:
    pid, other = slow.processes.attach("ann"), slow.processes.attach("ben")
    tools = (ToolSpec(FunctionSpec("search")),)
    asked = await ask(slow, pid, "one", tools=tools, tool_choice="required")
    assert asked.choices[0].tool_calls
    await asyncio.sleep(0.1)
    await ask(slow, pid, "two")
    await ask(slow, other, "one")
    before, after, elsewhere = (item.gap_s for item in seen)
    assert (before, elsewhere) == (None, None)
    assert after is not None
    assert 0.1 <= after < 5.0
