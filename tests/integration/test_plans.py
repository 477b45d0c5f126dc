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
from aios.syscalls import DeclarePlan, PlanStep

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
