"""Contexts of a kernel with the real engine: more of them than memory, and over restarts."""

from __future__ import annotations

import asyncio
from pathlib import Path

import msgspec
import pytest
from tests.kernels import spawn

from aios.config import SchedulerSettings, Settings, parse
from aios.events import ContextMoved, StoreDamaged
from aios.kernel.kernel import Kernel
from aios.sdk.client import AsyncClient
from aios.sealed import HEAD
from aios.server.serve import listening
from aios.syscalls import Completion, DeclarePlan, Generate, Message, PlanStep, Sampling
from aios.syscalls.storage import StorageUsage

pytestmark = pytest.mark.anyio

WORDS = "the agent reads a file and writes what it found there into a note"


def tiny(folder: Path, model: Path, *, ram_mb: float = 1.0, **context: object) -> Settings:
    core = {"name": "main", "model": str(model), "slots": 2, "context": 1024, "threads": 1, "kv_ram_mb": ram_mb}
    return parse({"state": {"dir": str(folder)}, "cores": [core], "context": context, "server": {"drain_s": 5}})


class Talk:
    """A conversation of one agent that grows turn by turn."""

    def __init__(self, kernel: Kernel, pid: int, system: str = "") -> None:
        self.kernel, self.pid = kernel, pid
        self.messages = [Message(role="system", content=system or f"You are number {pid}. {WORDS}")]

    async def turn(self) -> Completion:
        self.messages.append(Message(role="user", content=f"And then? {WORDS}"))
        call = Generate(messages=tuple(self.messages), sampling=Sampling(temperature=0.0), max_tokens=8)
        done = await self.kernel.trap(self.pid, call)
        assert isinstance(done, Completion)
        self.messages.append(Message(role="assistant", content=done.choices[0].content))
        return done


def longer_copy(model: Path, to: Path) -> Path:
    to.write_bytes(model.read_bytes() + b"\0" * 64)
    return to


def swap_files(folder: Path) -> list[Path]:
    return list(folder.rglob("*.slab"))


def uncached(done: Completion) -> int:
    return done.usage.prompt_tokens - done.usage.cached_tokens


async def test_ten_times_more_agents_than_memory_are_served_from_disk(tmp_path: Path, tiny_model: Path) -> None:
    async with Kernel(tiny(tmp_path, tiny_model, ram_mb=0.35)) as kernel:
        with kernel.bus.subscribe() as events:
            talks = [Talk(kernel, kernel.processes.attach(f"a{i}")) for i in range(40)]
            for _ in range(3):
                await asyncio.gather(*(talk.turn() for talk in talks))
            moved = [event for event in events.unread() if isinstance(event, ContextMoved)]
        sizes = {event.pid: event.bytes for event in moved if event.pid}
        assert sum(sizes.values()) > 10 * 0.35 * 2**20
        assert any(event.where == "swapped" for event in moved)
        found = [(await kernel.composition(talk.pid)).stats for talk in talks]
        assert sum(stats.from_disk for stats in found) > 0
        assert all(stats.contexts == 1 for stats in found)
        told = [context for talk in talks for context in (await kernel.composition(talk.pid)).contexts]
        assert {context.place for context in told} == {"resident", "parked", "swapped"}
        assert [context.bytes for context in told] == [stats.bytes for stats in found]
        assert sum(context.bytes for context in told if context.place == "parked") <= 0.35 * 2**20
        for context, stats in zip(told, found, strict=True):  # one conversation each: all is of one context
            mine = (context.computed, context.from_slot, context.from_ram, context.from_disk)
            assert mine == (stats.computed, stats.from_slot, stats.from_ram, stats.from_disk)
            assert (context.restores > 0) == (context.from_ram + context.from_disk > 0)
        assert sum(context.restore_s for context in told) > 0.0
        assert all(context.restores for context in told if context.restore_s)


@pytest.mark.parametrize("swap_mb", [64.0, 0.0])
async def test_an_agent_that_comes_back_after_a_restart(
    tmp_path: Path, tiny_model: Path, swap_mb: float
) -> None:
    settings = tiny(tmp_path, tiny_model, swap_mb=swap_mb)
    async with Kernel(settings) as kernel:
        talk = Talk(kernel, kernel.processes.attach("ann"))
        await talk.turn()
        await talk.turn()
    async with Kernel(settings) as kernel:
        assert kernel.processes.attach("ann") == talk.pid
        assert kernel.processes.info(talk.pid).kv == ("swapped" if swap_mb else "")
        talk.kernel = kernel
        done = await talk.turn()
        stats = (await kernel.composition(talk.pid)).stats
    if swap_mb:
        assert stats.from_disk > 0
        assert uncached(done) < done.usage.prompt_tokens / 2
    else:
        assert done.usage.cached_tokens == 0
    assert [path for path in swap_files(tmp_path) if path.stat().st_mode & 0o077] == []


async def test_the_answer_after_a_restart_is_as_without_one(tmp_path: Path, tiny_model: Path) -> None:
    async def said(folder: Path, *, restart: bool) -> list[str | None]:
        settings = tiny(folder, tiny_model)
        async with Kernel(settings) as kernel:
            talk = Talk(kernel, kernel.processes.attach("ann"))
            await talk.turn()
            if not restart:
                await talk.turn()
        if restart:
            async with Kernel(settings) as kernel:
                talk.kernel = kernel
                await talk.turn()
        return [message.content for message in talk.messages]

    assert await said(tmp_path / "a", restart=True) == await said(tmp_path / "b", restart=False)


@pytest.mark.parametrize("damage", ["cut", "flip", "gone"])
async def test_a_damaged_file_is_named_and_its_context_computed_again(
    tmp_path: Path, tiny_model: Path, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    settings = tiny(tmp_path, tiny_model)
    async with Kernel(settings) as kernel:
        talk = Talk(kernel, kernel.processes.attach("ann"))
        await talk.turn()
    (file,) = swap_files(tmp_path)
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    async with Kernel(settings) as kernel:
        with kernel.bus.subscribe() as events:
            match damage:
                case "cut":
                    file.write_bytes(data[: len(data) // 2])
                case "flip":
                    file.write_bytes(data)
                case _:
                    file.unlink()
            talk.kernel = kernel
            done = await talk.turn()
            bob = Talk(kernel, kernel.processes.attach("bob"))
            await bob.turn()
            damaged = [event for event in events.unread() if isinstance(event, StoreDamaged)]
    assert done.usage.cached_tokens == 0
    assert [event.name for event in damaged] == [file.name]
    assert file.name in caplog.text
    assert not file.exists()
    async with Kernel(tiny(tmp_path / "other", tiny_model)) as kernel:  # which never saw a file
        same = Talk(kernel, kernel.processes.attach("ann"), talk.messages[0].content or "")
        await same.turn()
        await same.turn()
    assert same.messages == talk.messages


async def test_files_and_swapped_contexts_are_in_one_store(tmp_path: Path, tiny_model: Path) -> None:
    settings = tiny(tmp_path, tiny_model)
    async with Kernel(settings) as kernel:
        talk = Talk(kernel, kernel.processes.attach("ann"))
        await talk.turn()
        assert (await kernel.trap(talk.pid, StorageUsage())).contexts == 0
    (file,) = swap_files(tmp_path / "storage")
    async with Kernel(settings) as kernel:
        usage = await kernel.trap(talk.pid, StorageUsage())
        assert file.stat().st_size <= usage.contexts + HEAD < 2 * file.stat().st_size
        kernel.processes.kill(kernel.processes.get(talk.pid))
        assert not file.exists()


async def test_what_a_gone_process_left_is_deleted(tmp_path: Path, tiny_model: Path) -> None:
    settings = tiny(tmp_path, tiny_model)
    async with Kernel(settings) as kernel:
        ann, bob = (Talk(kernel, kernel.processes.attach(name)) for name in ("ann", "bob"))
        await ann.turn()
        await bob.turn()
    async with Kernel(settings) as kernel:
        kernel.processes.kill(kernel.processes.get(ann.pid))
        assert len(swap_files(tmp_path)) == 1
    async with Kernel(settings) as kernel:
        assert kernel.processes.info(bob.pid).kv == "swapped"
        assert kernel.processes.info(ann.pid).kv == ""


async def test_a_file_of_another_model_is_not_used(tmp_path: Path, tiny_model: Path) -> None:
    async with Kernel(tiny(tmp_path, tiny_model)) as kernel:
        await Talk(kernel, kernel.processes.attach("ann")).turn()
    other = longer_copy(tiny_model, tmp_path / "other.gguf")
    async with Kernel(tiny(tmp_path, other)):
        assert swap_files(tmp_path) == []


async def test_a_plan_puts_the_program_that_is_nearly_done_first(tmp_path: Path, tiny_model: Path) -> None:
    settings = msgspec.structs.replace(
        tiny(tmp_path, tiny_model), scheduler=SchedulerSettings(policy="composed", quantum_tokens=8)
    )
    async with Kernel(settings) as kernel:
        long, short, rest = (kernel.processes.attach(name) for name in ("long", "short", "rest"))
        await kernel.trap(long, DeclarePlan(steps=(PlanStep(name="all", tokens=50_000),)))
        await kernel.trap(short, DeclarePlan(steps=(PlanStep(name="all", tokens=200),)))
        order: list[int] = []

        async def one(pid: int) -> None:
            talk = Talk(kernel, pid)
            talk.messages.append(Message(role="user", content=WORDS))
            forced = {"ignore_eos": True}
            await kernel.trap(pid, Generate(messages=tuple(talk.messages), max_tokens=200, extra=forced))
            order.append(pid)

        async with asyncio.TaskGroup() as tasks:
            for _ in range(3):
                tasks.create_task(one(rest))
            for _ in range(3):
                tasks.create_task(one(long))
            tasks.create_task(one(short))
        assert order.index(short) < order.index(long)


async def test_a_fork_computes_only_what_it_does_not_have_in_common(tmp_path: Path, tiny_model: Path) -> None:
    async with Kernel(tiny(tmp_path, tiny_model)) as kernel:
        ann = Talk(kernel, kernel.processes.attach("ann"))
        await ann.turn()
        children = [await spawn(kernel, ann.pid, f"ann/{i}") for i in range(3)]
        forks = [Talk(kernel, child.pid) for child in children]
        for fork in forks:
            fork.messages = list(ann.messages)
        for done in await asyncio.gather(*(fork.turn() for fork in forks)):
            assert uncached(done) < done.usage.prompt_tokens / 2
        assert {child.program for child in children} == {kernel.processes.info(ann.pid).program}


@pytest.mark.parametrize("keyed", [True, False])
async def test_a_client_that_is_forked_computes_only_what_is_new(
    tmp_path: Path, tiny_model: Path, keyed: bool
) -> None:
    options = {"temperature": 0.0, "max_tokens": 8}
    async with (
        Kernel(tiny(tmp_path, tiny_model)) as kernel,
        listening(kernel, port=0, admin_token="aios-daemon-token") as at,
        AsyncClient(
            at.url,
            api_key=kernel.keys.create("ann") if keyed else None,
            agent="ann",
            options=options,
            retries=0,
        ) as ann,
    ):
        talk = [
            {"role": "system", "content": f"You are brief. {WORDS}"},
            {"role": "user", "content": WORDS * 3},
        ]
        first = await ann.chat(talk)
        assert first.usage.cached_tokens == 0
        talk.append({"role": "assistant", "content": first.choices[0].content})
        for name in ("kid", "other"):
            async with await ann.fork(name) as kid:
                done = await kid.chat([*talk, {"role": "user", "content": f"And you, {name}?"}])
                assert done.usage.cached_tokens >= first.usage.prompt_tokens
                assert uncached(done) < done.usage.prompt_tokens / 4
        named = {info.name: info for info in kernel.processes.list()}
        for name in ("ann/kid", "ann/other"):
            stats = (await kernel.composition(named[name].pid)).stats
            used = named[name].usage
            assert stats.computed == used.prompt_tokens - used.cached_tokens > 0
