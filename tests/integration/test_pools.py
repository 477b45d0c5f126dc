"""Several cores of one model: calls go where they are done soonest, and on when a core fails."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path

import pytest
from tests.kernels import say, until

from aios.config import Settings, parse
from aios.cores.llama.core import LlamaCore
from aios.errors import EngineCrashed
from aios.events import Dispatched
from aios.kernel.kernel import Kernel
from aios.syscalls import Completion, Generate, Message, Sampling

pytestmark = pytest.mark.anyio

LONG = "the agent reads a file and writes what it found there into a note " * 4


def twins(folder: Path, model: Path, **options: object) -> Settings:
    """Two cores of the tiny model, with one slot each."""
    shared = {"model": str(model), "slots": 1, "context": 1024, "threads": 1, "kv_ram_mb": 8.0, **options}
    cores = [{"name": name, **shared} for name in ("left", "right")]
    return parse({"state": {"dir": str(folder)}, "cores": cores, "server": {"drain_s": 5}})


def chat(*texts: str, most: int = 8) -> Generate:
    messages = [
        Message(role="user" if i % 2 == 0 else "assistant", content=text) for i, text in enumerate(texts)
    ]
    return Generate(messages=tuple(messages), sampling=Sampling(temperature=0.0), max_tokens=most)


async def done(kernel: Kernel, pid: int, call: Generate) -> Completion:
    result = await kernel.trap(pid, call)
    assert isinstance(result, Completion)
    return result


def cores_of(events, pid: int) -> list[str]:
    return [e.core for e in events.unread() if isinstance(e, Dispatched) and e.pid == pid]


async def test_calls_spread_over_the_cores(tmp_path: Path, tiny_model: Path) -> None:
    async with Kernel(twins(tmp_path, tiny_model)) as kernel:
        with kernel.bus.subscribe() as events:
            pids = [kernel.processes.attach(name) for name in ("ann", "bob")]
            await asyncio.gather(*(done(kernel, pid, chat(LONG, most=64)) for pid in pids))
            assert {core for pid in pids for core in cores_of(events, pid)} == {"left", "right"}


async def test_a_conversation_stays_where_its_context_is(tmp_path: Path, tiny_model: Path) -> None:
    async with Kernel(twins(tmp_path, tiny_model)) as kernel:
        with kernel.bus.subscribe() as events:
            ann = kernel.processes.attach("ann")
            first = await done(kernel, ann, chat(LONG))
            second = await done(kernel, ann, chat(LONG, first.choices[0].content or "", "and?"))
            assert second.usage.cached_tokens > first.usage.prompt_tokens / 2
            assert len(set(cores_of(events, ann))) == 1


async def test_a_context_moves_to_an_idle_core_by_snapshot(tmp_path: Path, tiny_model: Path) -> None:
    async with Kernel(twins(tmp_path, tiny_model)) as kernel:
        with kernel.bus.subscribe() as events:
            ann, bob = (kernel.processes.attach(name) for name in ("ann", "bob"))
            first = await done(kernel, ann, chat(LONG))
            (home,) = set(cores_of(events, ann))
            # Bob goes on with the beginning of ann's conversation, so he sits where it is, for long.
            busy = asyncio.create_task(done(kernel, bob, chat(LONG, most=700)))
            await until(lambda: cores_of(events, bob) == [home])
            second = await done(kernel, ann, chat(LONG, first.choices[0].content or "", "and?"))
            assert cores_of(events, ann)[-1] != home
            assert second.usage.cached_tokens > first.usage.prompt_tokens / 2
            stats = (await kernel.composition(ann)).stats
            assert stats.from_disk > 0
            busy.cancel()


async def test_a_failed_cores_calls_go_on_elsewhere_with_the_next_token(
    tmp_path: Path, tiny_model: Path
) -> None:
    call = chat(LONG, most=300)
    async with Kernel(twins(tmp_path / "a", tiny_model, deterministic=True)) as kernel:
        alone = await done(kernel, kernel.processes.attach("ann"), call)
    async with Kernel(twins(tmp_path / "b", tiny_model, deterministic=True, max_restarts=0)) as kernel:
        with kernel.bus.subscribe() as events:
            ann = kernel.processes.attach("ann")
            running = asyncio.create_task(done(kernel, ann, call))
            await until(lambda: kernel.processes.info(ann).state == "running")
            (home,) = set(cores_of(events, ann))
            cores = {core.name: core for core in (m.core for m in kernel._pool._members)}
            core = cores[home]
            assert isinstance(core, LlamaCore)
            os.kill(core.worker_pid, signal.SIGKILL)
            moved = await running
            assert cores_of(events, ann)[-1] != home
            assert moved.choices[0].content == alone.choices[0].content
            # The failed core is not asked any more; when both are gone, the error is told.
            assert (await done(kernel, ann, chat("again"))).choices
            other = next(core for name, core in cores.items() if name != home)
            assert isinstance(other, LlamaCore)
            os.kill(other.worker_pid, signal.SIGKILL)
            with pytest.raises(EngineCrashed):
                await done(kernel, ann, chat("and now?"))


async def test_a_call_that_did_not_begin_goes_to_a_core_of_another_kind(tmp_path: Path) -> None:
    dead = {"name": "dead", "kind": "openai", "base_url": "http://127.0.0.1:9/v1", "models": ["parrot"]}
    parrot = {"name": "parrot", "kind": "scripted", "models": ["parrot"]}
    tables = {
        "state": {"dir": str(tmp_path)},
        "cores": [{**dead, "retries": 0}, parrot],
        "server": {"drain_s": 0},
    }
    async with Kernel(parse(tables)) as kernel:
        answer = await done(kernel, kernel.processes.attach("ann"), say("hello"))
        assert answer.choices[0].content == "hello"
