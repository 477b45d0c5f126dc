"""Calls with an idempotency key happen once: through kill -9, while a person is asked, and through tools."""

from __future__ import annotations

import asyncio
import signal
import sys
from pathlib import Path
from typing import Any

import pytest
from tests.kernels import settings, until

from aios.errors import Conflict, Forbidden
from aios.kernel.kernel import Kernel
from aios.syscalls import memory, storage
from aios.syscalls.tools import CallTool

pytestmark = pytest.mark.anyio

RULES = """
[[rules]]
id = "writes"
effect = "ask"
actions = ["storage.write", "storage.append", "memory.edit_block", "memory.alloc"]
[[rules]]
id = "clock"
effect = "ask"
actions = ["tool.call"]
resources = ["tool:clock"]
"""
NOTE = memory.Alloc(text="kept once", idempotency_key="m")
WRITE = storage.AppendFile(path="/log.txt", text="line\n", idempotency_key="w")
CLOCK = CallTool(name="clock", idempotency_key="t")
INNER = CallTool(name="append_file", arguments={"path": "/in.txt", "text": "x\n"}, idempotency_key="i")
CALLS = (NOTE, WRITE, CLOCK, INNER)

PROGRAM = """
import asyncio, sys
from pathlib import Path
from aios.kernel.kernel import Kernel
from tests.integration.test_keyed_calls import CALLS, configured
from tests.kernels import until

async def main(folder):
    async with Kernel(configured(folder)) as kernel:
        ann = kernel.processes.attach("ann")
        tasks = [asyncio.create_task(kernel.trap(ann, call)) for call in CALLS]
        await until(lambda: len(kernel.guard.approvals.list("waiting")) == len(CALLS))
        print("parked", flush=True)
        await asyncio.gather(*tasks)

asyncio.run(main(Path(sys.argv[1])))
"""


def configured(folder: Path) -> Any:
    folder.mkdir(exist_ok=True)
    (folder / "rules.toml").write_text(RULES)
    return settings(folder / "state", access={"rules": [str(folder / "rules.toml")]})


async def killed(folder: Path) -> None:
    program = await asyncio.create_subprocess_exec(
        sys.executable, "-c", PROGRAM, str(folder), stdout=asyncio.subprocess.PIPE
    )
    assert program.stdout is not None
    assert await program.stdout.readline() == b"parked\n"
    program.kill()
    assert await program.wait() == -signal.SIGKILL


async def answered(kernel: Kernel, answer: Any = "once") -> None:
    boss = kernel.processes.get(kernel.processes.attach("boss", group="admin"))
    for asked in kernel.guard.approvals.list("waiting"):
        await kernel.guard.answer(boss, asked.id, answer)


async def content(kernel: Kernel, pid: int, path: str) -> bytes:
    return (await kernel.trap(pid, storage.ReadFile(path=path))).data


@pytest.mark.parametrize("resubmitted", ["before the answer", "after it", "never"])
async def test_what_was_parked_when_the_kernel_was_killed_goes_on(tmp_path: Path, resubmitted: str) -> None:
    await killed(tmp_path)
    async with Kernel(configured(tmp_path)) as kernel:
        ann = kernel.processes.attach("ann")
        await until(lambda: kernel._need().active == 2)  # the tools run again; memory and files wait too
        again = []
        if resubmitted == "before the answer":
            again = [asyncio.create_task(kernel.trap(ann, call)) for call in CALLS]
            await asyncio.sleep(0.1)
        assert len(kernel.guard.approvals.list("waiting")) == len(CALLS)  # nobody is asked twice
        await answered(kernel)
        await until(lambda: not kernel._need()._services._runs and not kernel._need()._visits)
        if resubmitted == "after it":
            again = [asyncio.create_task(kernel.trap(ann, call)) for call in CALLS]
            async with asyncio.timeout(5):
                while not all(each.done() for each in again):
                    await asyncio.sleep(0.02)
                    await answered(kernel)  # the managers have the results; that it may is asked anew
        await asyncio.gather(*again)
        assert await content(kernel, ann, "/log.txt") == b"line\n"
        assert await content(kernel, ann, "/in.txt") == b"x\n"
        texts = (await kernel.trap(ann, memory.List())).entries
        assert len(texts) == 1
    async with Kernel(configured(tmp_path)) as kernel:
        assert kernel.guard.approvals.list("waiting") == ()  # and it is over


async def test_what_is_denied_after_the_restart_does_not_happen(tmp_path: Path) -> None:
    await killed(tmp_path)
    async with Kernel(configured(tmp_path)) as kernel:
        ann = kernel.processes.attach("ann")
        write = asyncio.create_task(kernel.trap(ann, WRITE))
        await until(lambda: len(kernel.guard.approvals.list("waiting")) == len(CALLS))
        await answered(kernel, "deny")
        with pytest.raises(Forbidden):
            await write
        assert (await kernel.trap(ann, storage.ListFolder(path="/"))).entries == ()
        assert (await kernel.trap(ann, memory.List())).entries == ()


async def test_what_nothing_brings_back_is_done_and_answered_once(tmp_path: Path) -> None:
    async with Kernel(settings(tmp_path)) as kernel:
        ann = kernel.processes.attach("ann")
        made = await kernel.trap(ann, memory.Alloc(text="secret"))
        gone = memory.Delete(id=made.id, idempotency_key="d")
        tasks = [asyncio.create_task(kernel.trap(ann, gone)) for _ in range(2)]
        await until(lambda: kernel.guard.approvals.list("waiting"))
        (asked,) = kernel.guard.approvals.list("waiting")
        await answered(kernel)
        one, two = await asyncio.gather(*tasks)
        assert one == two
        assert (one.id, asked.action) == (made.id, "memory.delete")
        with pytest.raises(Conflict, match="another request"):
            await kernel.trap(ann, memory.Delete(id="t_other", idempotency_key="d"))
    async with Kernel(settings(tmp_path)) as kernel:
        assert await kernel.trap(kernel.processes.attach("ann"), gone) == one


async def test_a_block_is_edited_once_under_a_key(tmp_path: Path) -> None:
    line = memory.EditBlock(block="me", action="append", text="likes tea", idempotency_key="e")
    for _ in range(2):
        async with Kernel(settings(tmp_path)) as kernel:
            ann = kernel.processes.attach("ann")
            if not (await kernel.trap(ann, memory.ListBlocks())).blocks:
                await kernel.trap(ann, memory.MakeBlock(name="me"))
            edited = await asyncio.gather(*(kernel.trap(ann, line) for _ in range(2)))
            assert {block.text for block in edited} == {"likes tea"}
            with pytest.raises(Conflict, match="another edit"):
                await kernel.trap(ann, memory.EditBlock(block="me", action="set", text="", idempotency_key="e"))


async def test_a_tool_of_the_kernels_own_counts_as_its_syscalls(tmp_path: Path) -> None:
    async with Kernel(settings(tmp_path)) as kernel:
        ann = kernel.processes.attach("ann")
        for call in (
            CallTool(name="write_file", arguments={"path": "/a", "text": "x"}),
            CallTool(name="recall", arguments={"query": "x"}),
            CallTool(name="clock"),
        ):
            await kernel.trap(ann, call)
        assert kernel.processes.info(ann).usage.calls == 3
