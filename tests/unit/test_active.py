"""A call's fate reaches it where it waits, and nobody else."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator

import pytest

from aios.errors import DeadlineExceeded, ProcessKilled
from aios.kernel.active import Active

pytestmark = pytest.mark.anyio

KILLED = ProcessKilled("Killed.")


async def wait_inside(call: Active) -> None:
    with call:
        await asyncio.sleep(10)


@pytest.fixture
async def tasks() -> AsyncGenerator[asyncio.TaskGroup]:
    async with asyncio.TaskGroup() as tasks:
        yield tasks


@pytest.fixture
async def call(tasks: asyncio.TaskGroup) -> Active:
    return Active(1, "llm.generate", 0.0, tasks, asyncio.get_running_loop())


async def test_a_call_that_waits_raises_its_fate_and_its_task_is_not_cancelled(call: Active) -> None:
    asyncio.get_running_loop().call_soon(call.end, KILLED)
    with pytest.raises(ProcessKilled):
        await wait_inside(call)
    task = asyncio.current_task()
    assert task is not None
    assert task.cancelling() == 0
    await asyncio.sleep(0)  # nor is it later


async def test_the_caller_is_left_alone_while_it_does_something_else(call: Active) -> None:
    with call:
        pass
    asyncio.get_running_loop().call_soon(call.end, KILLED)
    await asyncio.sleep(0.001)
    with pytest.raises(ProcessKilled):
        await wait_inside(call)


async def test_only_the_first_fate_counts(call: Active) -> None:
    call.end(KILLED)
    call.end(DeadlineExceeded("Late."))
    with pytest.raises(ProcessKilled):
        await wait_inside(call)


async def test_a_cancellation_by_others_goes_on_as_one(call: Active) -> None:
    waiting = asyncio.create_task(wait_inside(call))
    await asyncio.sleep(0)
    waiting.cancel()
    call.end(KILLED)
    with pytest.raises(asyncio.CancelledError):
        await waiting


async def test_the_steps_of_a_call_whose_caller_is_elsewhere_are_closed(call: Active) -> None:
    closed = asyncio.Event()

    async def steps() -> AsyncGenerator[int, None]:
        try:
            yield 1
        finally:
            closed.set()

    call.steps = steps()
    await anext(call.steps)
    call.end(KILLED)
    async with asyncio.timeout(5):
        await closed.wait()


async def test_a_deadline_is_a_fate_that_comes_by_itself_unless_the_call_is_over(
    call: Active, tasks: asyncio.TaskGroup
) -> None:
    call.end_after(0.001)
    with pytest.raises(DeadlineExceeded, match=r"0\.001 s"):
        await wait_inside(call)
    other = Active(2, "llm.generate", 0.0, tasks, asyncio.get_running_loop())
    other.end_after(0.001)
    other.over()
    await asyncio.sleep(0.01)
    assert other.fate is None
