"""Nothing is lost: kernels that stop, are killed, or run on a full disk."""

from __future__ import annotations

import asyncio
import resource
import signal as signals
import sys
from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import pytest
from tests.kernels import ask, heard, say, settings, signal, spawn, until

from aios.errors import JournalUnavailable, LimitExceeded
from aios.events import JournalChanged, SyscallFinished
from aios.kernel.kernel import Kernel
from aios.kernel.process import KERNEL
from aios.scheduler.composed import Composed
from aios.syscalls import Completion, Delta, Exit, Limits, Nice, Spawn

pytestmark = pytest.mark.anyio


@contextmanager
def full_disk() -> Generator[None]:
    """No file of this process can grow."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


# -- stopped ----------------------------------------------------------------------------------------------


async def test_what_the_policy_learned_of_agents_outlives_the_kernel(tmp_path: Path) -> None:
    async with Kernel(settings(tmp_path)) as kernel:
        for number in range(3):
            pid = kernel.processes.attach(f"clerk-{number}")
            await ask(kernel, pid, "one two three")
            await kernel.trap(pid, Exit())
        (before,) = [scheduler.policy for scheduler in kernel._pool.schedulers()]
        assert isinstance(before, Composed)
        assert list(before.learned()) == ["clerk-#"]
        assert len(before.learned()["clerk-#"]) == 3
    async with Kernel(settings(tmp_path)) as kernel:
        (after,) = [scheduler.policy for scheduler in kernel._pool.schedulers()]
        assert isinstance(after, Composed)
        assert after.learned() == before.learned()
        kernel.set_policy("fifo")
        kernel.set_policy("composed")
    (file,) = (tmp_path / "learned").iterdir()
    file.write_text("no json")
    async with Kernel(settings(tmp_path)) as kernel:
        assert await ask(kernel, kernel.processes.attach("clerk-9"), "still here")


async def test_processes_come_back_with_their_names_limits_and_what_they_used(tmp_path: Path) -> None:
    async with Kernel(settings(tmp_path)) as kernel:
        ann = kernel.processes.attach("ann")
        child = (await spawn(kernel, ann, "child", limits=Limits(calls=2, tokens=10))).pid
        await ask(kernel, child, "one", max_tokens=2)
        paused = (await spawn(kernel, ann, "paused")).pid
        await signal(kernel, paused, "pause", reason="lunch")
        await kernel.trap(KERNEL, Nice(pid=child, nice=5))
        killed = (await spawn(kernel, ann, "killed")).pid
        await signal(kernel, killed, "kill")
        before = {pid: kernel.processes.info(pid) for pid in (ann, child, paused, killed)}
    async with Kernel(settings(tmp_path)) as kernel:
        assert {pid: kernel.processes.info(pid) for pid in before} == before
        assert kernel.processes.attach("ann") == ann
        await ask(kernel, child, "one", max_tokens=2)
        with pytest.raises(LimitExceeded):
            await ask(kernel, child, "one", max_tokens=2)
        held = asyncio.create_task(ask(kernel, paused, "held"))
        assert (await ask(kernel, ann, "not held")).choices[0].content == "not held"
        assert not held.done()
        await signal(kernel, paused, "resume")
        assert (await held).choices[0].content == "held"
        assert (await spawn(kernel, ann, "new")).pid not in before


async def test_a_key_finds_its_answer_in_the_next_kernel_one_delta_a_choice(tmp_path: Path) -> None:
    call = say("one two three", n=2, idempotency_key="k")
    async with Kernel(settings(tmp_path)) as kernel:
        first = await kernel.trap(kernel.processes.attach("ann"), call)
        made = await kernel.trap(kernel.processes.attach("ann"), Spawn(name="child", idempotency_key="s"))
    async with Kernel(settings(tmp_path)) as kernel:
        pid = kernel.processes.attach("ann")
        *deltas, again = await heard(kernel, pid, call)
        assert again == first
        assert [d.content for d in deltas if isinstance(d, Delta)] == ["one two three", "one two three"]
        assert await kernel.trap(pid, Spawn(name="child", idempotency_key="s")) == made
        assert len(kernel.processes.live()) == 2
        assert kernel.processes.info(pid).usage.calls == 2


async def test_an_exit_can_be_repeated(tmp_path: Path) -> None:
    async with Kernel(settings(tmp_path)) as kernel:
        pid = kernel.processes.attach("ann")
        first = await kernel.trap(pid, Exit(status=2, idempotency_key="bye"))
        assert await kernel.trap(pid, Exit(status=2, idempotency_key="bye")) == first
    async with Kernel(settings(tmp_path)) as kernel:
        assert await kernel.trap(pid, Exit(status=2, idempotency_key="bye")) == first


# -- killed -----------------------------------------------------------------------------------------------

KERNEL_PROGRAM = """
import asyncio, sys
from pathlib import Path
from aios.kernel.kernel import Kernel
from aios.syscalls import Limits
from tests.kernels import ask, settings, spawn, until

async def main(folder):
    async with Kernel(settings(folder, core={"slots": 4, "tokens_per_s": 20})) as kernel:
        ann = kernel.processes.attach("ann")
        limited = (await spawn(kernel, ann, "limited", limits=Limits(calls=2, tokens=20))).pid
        await ask(kernel, ann, "done", idempotency_key="done")
        open = {"max_tokens": 6, "idempotency_key": "open"}
        calls = [
            asyncio.create_task(ask(kernel, limited, "one two three four", **open)),
            asyncio.create_task(ask(kernel, ann, "nobody asks again for this")),
        ]
        await until(lambda: kernel.status().cores[0].running == 2)
        await asyncio.sleep(0.1)
        for i in range(1000):
            child = await spawn(kernel, ann, f"child-{i}")
            print(child.pid, flush=True)

asyncio.run(main(Path(sys.argv[1])))
"""


async def killed_kernel(folder: Path) -> list[int]:
    """Run a kernel that spawns without end, kill -9 it, and return the pids it told of."""
    program = await asyncio.create_subprocess_exec(
        sys.executable, "-c", KERNEL_PROGRAM, str(folder), stdout=asyncio.subprocess.PIPE
    )
    assert program.stdout is not None
    told = [int(await program.stdout.readline()) for _ in range(20)]
    program.kill()
    told += [int(line) for line in (await program.stdout.read()).splitlines()]
    assert await program.wait() == -signals.SIGKILL
    return told


async def test_after_kill_9_effects_are_there_and_open_calls_are_answered_or_told_lost(tmp_path: Path) -> None:
    told = await killed_kernel(tmp_path)
    assert len(told) >= 20
    kernel = Kernel(settings(tmp_path))
    with kernel.bus.subscribe() as events:
        async with kernel:
            spawned = {p.pid for p in kernel.processes.live() if p.name.startswith("child-")}
            assert set(told) <= spawned
            assert len(spawned - set(told)) <= 1  # one may be on disk and not yet told
            ann, limited = kernel.processes.attach("ann"), kernel.processes.attach("limited")
            done = await ask(kernel, ann, "done", idempotency_key="done")
            assert done.choices[0].content == "done"
            await until(lambda: kernel.status().active_calls == 0)
            budget = kernel.processes.get(limited).budget
            assert budget is not None
            assert (budget.calls, budget.tokens, budget.held_calls, budget.held_tokens) == (1, 8, 0, 0)
            again = await ask(kernel, limited, "one two three four", max_tokens=6, idempotency_key="open")
            assert again.choices[0].content == "one two three four"
            assert budget.calls == 1  # it ran in the background, and was charged once
            usage = kernel.processes.info(ann).usage
            assert usage.failed_calls == 1
            assert usage.calls - len(spawned) in (2, 3)  # a spawn is counted just after it is on disk
        seen = [event async for event in events]
    lost = [event for event in seen if isinstance(event, SyscallFinished) and event.error == "lost"]
    assert [(event.pid, event.kind) for event in lost] == [(ann, "llm.generate")]
    async with Kernel(settings(tmp_path)) as kernel:  # and what was mended stays mended
        assert kernel.status().active_calls == 0
        assert {p.pid for p in kernel.processes.live() if p.name.startswith("child-")} == spawned


# -- a full disk ------------------------------------------------------------------------------------------


@asynccontextmanager
async def degraded(folder: Path) -> AsyncGenerator[tuple[Kernel, Any]]:
    async with Kernel(settings(folder)) as kernel:
        with kernel.bus.subscribe() as events:
            yield kernel, events


async def test_on_a_full_disk_llm_calls_go_on_and_effects_are_refused_until_it_has_room(tmp_path: Path) -> None:
    async with degraded(tmp_path) as (kernel, events):
        ann = kernel.processes.attach("ann")
        await ask(kernel, ann, "before", idempotency_key="before")
        with full_disk():
            with pytest.raises(JournalUnavailable, match="disk"):
                await spawn(kernel, ann, "child")
            with pytest.raises(JournalUnavailable):
                await signal(kernel, ann, "kill")
            assert kernel.processes.info(ann).state == "idle"
            assert [p.name for p in kernel.processes.live()] == ["ann"]
            assert kernel.status().journal != "ok"
            assert (await ask(kernel, ann, "meanwhile")).choices[0].content == "meanwhile"
            keyed = await ask(kernel, ann, "keyed", idempotency_key="keyed")
            assert await ask(kernel, ann, "before", idempotency_key="before")
        await until(lambda: kernel.status().journal == "ok")
        assert (await spawn(kernel, ann, "child")).state == "idle"
        again = await ask(kernel, ann, "keyed", idempotency_key="keyed")
        assert again == keyed
        kernel.bus.close()
        seen = [event.state async for event in events if isinstance(event, JournalChanged)]
    assert seen == ["degraded", "ok"]
    async with Kernel(settings(tmp_path)) as kernel:
        usage = kernel.processes.info(ann).usage
        assert (usage.calls, usage.failed_calls) == (5, 1)


async def test_a_state_folder_that_cannot_be_written_is_a_typed_error_at_the_start(tmp_path: Path) -> None:
    (tmp_path / "journal.db").mkdir()
    with pytest.raises(JournalUnavailable, match="state folder"):
        async with Kernel(settings(tmp_path)):
            pass


async def test_a_result_that_was_told_is_the_one_that_is_stored(tmp_path: Path) -> None:
    """Streams of one key, at once and after, in this kernel and the next, all end with the same Completion."""
    call = say("one two three", idempotency_key="k")
    ends: list[Completion | Delta] = []
    for _ in range(2):
        async with Kernel(settings(tmp_path, core={"tokens_per_s": 500})) as kernel:
            pid = kernel.processes.attach("ann")
            runs = await asyncio.gather(*(heard(kernel, pid, call) for _ in range(5)))
            runs.append(await heard(kernel, pid, call))
            ends += [run[-1] for run in runs]
    assert all(end == ends[0] for end in ends)
