"""Several cores of one model: calls go where they are done soonest, and on when a core fails."""

from __future__ import annotations

import asyncio
import os
import signal
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import msgspec
import pytest
from tests.kernels import say, spawn, until

from aios.config import Settings, parse
from aios.cores.core import KvOp
from aios.cores.llama.core import LlamaCore
from aios.cores.llama.keeper import LlamaKeeper
from aios.errors import ContextOverflow, EngineCrashed
from aios.events import Dispatched
from aios.kernel.kernel import Kernel
from aios.kernel.pool import Member
from aios.scheduler.scheduler import Scheduler
from aios.syscalls import Completion, Generate, Message, Sampling

pytestmark = pytest.mark.anyio

LONG = "the agent reads a file and writes what it found there into a note " * 4
EXACT = {"deterministic": True, "prefill_chunk": 32}


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


def told(kernel: Kernel, token_s: float) -> None:
    """The kernel believes that computing a token of a prompt takes so long: the tiny model's take no time."""
    for core, _ in cores(kernel).values():
        core._worker._ready = msgspec.structs.replace(core._worker.ready, prefill_s=token_s)


def cores(kernel: Kernel) -> dict[str, tuple[LlamaCore, Scheduler]]:
    found = {member.core.name: (member.core, member.scheduler) for member in kernel._pool._members}
    return {name: (core, order) for name, (core, order) in found.items() if isinstance(core, LlamaCore)}


def member_of(kernel: Kernel, core: LlamaCore) -> Member:
    return next(member for member in kernel._pool._members if member.core is core)


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


async def test_of_idle_cores_the_one_that_holds_the_instructions_gets_the_call(
    tmp_path: Path, tiny_model: Path
) -> None:
    async with Kernel(twins(tmp_path, tiny_model)) as kernel:
        with kernel.bus.subscribe() as events:
            ann, bob, cyd = (kernel.processes.attach(name) for name in ("ann", "bob", "cyd"))
            busy = asyncio.create_task(done(kernel, ann, chat("count", most=700)))
            await until(lambda: kernel.processes.info(ann).state == "running")
            await done(kernel, bob, chat(LONG))
            (holder,) = set(cores_of(events, bob))
            await busy
            first = await done(kernel, cyd, chat(LONG + "and then some"))
            assert cores_of(events, cyd) == [holder]
            assert first.usage.cached_tokens > first.usage.prompt_tokens / 2


@pytest.mark.parametrize("token_s", [0.00001, 0.1])
async def test_a_busy_holder_is_waited_for_only_where_that_costs_less_than_computing(
    tmp_path: Path, tiny_model: Path, token_s: float
) -> None:
    async with Kernel(twins(tmp_path, tiny_model)) as kernel:
        with kernel.bus.subscribe() as events:
            ann, bob, cyd = (kernel.processes.attach(name) for name in ("ann", "bob", "cyd"))
            await done(kernel, ann, chat(LONG))
            (holder,) = set(cores_of(events, ann))
            told(kernel, token_s)
            busy = asyncio.create_task(done(kernel, bob, chat(LONG + "first", most=300)))
            await until(lambda: cores_of(events, bob) == [holder])
            await done(kernel, cyd, chat(LONG + "second"))
            assert (cores_of(events, cyd) == [holder]) is (token_s == 0.1)
            await busy


async def test_a_burst_with_common_instructions_uses_all_cores(tmp_path: Path, tiny_model: Path) -> None:
    async with Kernel(twins(tmp_path, tiny_model, slots=2)) as kernel:
        with kernel.bus.subscribe() as events:
            pids = [kernel.processes.attach(f"agent-{i}") for i in range(8)]
            await asyncio.gather(*(done(kernel, pid, chat(f"{LONG} {pid}", most=64)) for pid in pids))
            used = Counter(core for pid in pids for core in set(cores_of(events, pid)))
            assert set(used) == {"left", "right"}
            assert min(used.values()) >= 3


async def test_a_context_moves_to_an_idle_core_by_snapshot(tmp_path: Path, tiny_model: Path) -> None:
    """The answer is the same, token by token, and no more is computed than at the core that it left."""
    async with Kernel(twins(tmp_path / "a", tiny_model, **EXACT)) as kernel:
        ann = kernel.processes.attach("ann")
        first = await done(kernel, ann, chat(LONG))
        stayed = await done(kernel, ann, chat(LONG, first.choices[0].content or "", "and?", most=40))
    async with Kernel(twins(tmp_path / "b", tiny_model, **EXACT)) as kernel:
        with kernel.bus.subscribe() as events:
            ann, bob = (kernel.processes.attach(name) for name in ("ann", "bob"))
            again = await done(kernel, ann, chat(LONG))
            assert again.choices == first.choices
            (home,) = set(cores_of(events, ann))
            # Bob goes on with the beginning of ann's conversation, so he sits where it is, for long.
            busy = asyncio.create_task(done(kernel, bob, chat(LONG, most=700)))
            await until(lambda: cores_of(events, bob) == [home])
            told(kernel, 0.1)
            second = await done(kernel, ann, chat(LONG, first.choices[0].content or "", "and?", most=40))
            assert cores_of(events, ann)[-1] != home
            assert second.choices == stayed.choices
            assert second.usage == stayed.usage
            assert second.usage.cached_tokens > first.usage.prompt_tokens / 2
            stats = (await kernel.composition(ann)).stats
            assert stats.from_disk > 0
            busy.cancel()


async def test_what_is_computed_quickly_is_not_moved(tmp_path: Path, tiny_model: Path) -> None:
    async with Kernel(twins(tmp_path, tiny_model)) as kernel:
        with kernel.bus.subscribe() as events:
            ann, bob = (kernel.processes.attach(name) for name in ("ann", "bob"))
            first = await done(kernel, ann, chat(LONG))
            (home,) = set(cores_of(events, ann))
            busy = asyncio.create_task(done(kernel, bob, chat(LONG, most=700)))
            await until(lambda: cores_of(events, bob) == [home])
            told(kernel, 0.00001)
            second = await done(kernel, ann, chat(LONG, first.choices[0].content or "", "and?"))
            assert cores_of(events, ann)[-1] != home
            assert second.usage.cached_tokens == 0
            assert (await kernel.composition(ann)).stats.from_disk == 0
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


async def test_no_call_of_a_failed_core_is_lost(tmp_path: Path, tiny_model: Path) -> None:
    """Those that run there, those that wait there and those that wait at the door of its queue go on in the
    other core, and their answers are what they would have been."""
    calls = [chat(f"{LONG} {i}", most=60 + 20 * (i % 3)) for i in range(8)]
    async with Kernel(twins(tmp_path / "a", tiny_model, **EXACT)) as kernel:
        alone = [await done(kernel, kernel.processes.attach("ann"), call) for call in calls]
    settings = twins(tmp_path / "b", tiny_model, **EXACT, max_restarts=0)
    settings = msgspec.structs.replace(
        settings, scheduler=msgspec.structs.replace(settings.scheduler, max_queue=2)
    )
    async with Kernel(settings) as kernel:
        with kernel.bus.subscribe() as events:
            pids = [kernel.processes.attach(f"agent-{i}") for i in range(8)]
            calling = [asyncio.create_task(done(kernel, *each)) for each in zip(pids, calls, strict=True)]
            core, scheduler = cores(kernel)["left"]
            await until(lambda: scheduler.running and scheduler.waiting >= 3)
            os.kill(core.worker_pid, signal.SIGKILL)
            answers = await asyncio.gather(*calling)
            assert [each.choices for each in answers] == [each.choices for each in alone]
            assert "right" in {core for pid in pids for core in cores_of(events, pid)}
            assert (scheduler.running, scheduler.waiting, scheduler.backlog.coming) == (0, 0, 0)


@pytest.mark.parametrize("failing", ["source", "target"])
async def test_no_call_is_lost_when_a_core_fails_while_a_context_is_sent(
    tmp_path: Path, tiny_model: Path, failing: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = twins(tmp_path, tiny_model, slots=2, **EXACT, max_restarts=0)
    async with Kernel(settings) as kernel:
        with kernel.bus.subscribe() as events:
            ann = kernel.processes.attach("ann")
            first = await done(kernel, ann, chat(LONG))
            (home,) = set(cores_of(events, ann))
            both = cores(kernel)
            core, scheduler = both.pop(home)
            (other, _) = next(iter(both.values()))
            told(kernel, 0.1)
            scheduler.backlog.seated(60.0)  # as if a long prompt were computed there
            move, victim = LlamaKeeper.move, core if failing == "source" else other
            killed: list[int] = []

            async def failing_move(keeper: LlamaKeeper, ops: Iterable[KvOp]) -> None:
                killed.append(victim.worker_pid)
                os.kill(victim.worker_pid, signal.SIGKILL)
                await until(lambda: not kernel._pool._up(member_of(kernel, victim)))
                await move(keeper, ops)

            monkeypatch.setattr(LlamaKeeper, "move", failing_move)
            second = await done(kernel, ann, chat(LONG, first.choices[0].content or "", "and?"))
            monkeypatch.undo()
            assert len(killed) == 1
            assert second.choices[0].finish_reason
            assert cores_of(events, ann)[-1] != victim.name


async def test_a_call_that_is_refused_after_its_core_was_chosen_does_not_count_there(tmp_path: Path) -> None:
    parrots = [{"name": name, "kind": "scripted", "models": ["parrot"]} for name in ("left", "right")]
    tables = {
        "state": {"dir": str(tmp_path)}, "cores": parrots, "server": {"drain_s": 0},
        "groups": [{"name": "short", "max_context": 3}],
    }  # fmt: skip
    async with Kernel(parse(tables)) as kernel:
        ann = await spawn(kernel, 1, "ann", group="short")
        with pytest.raises(ContextOverflow):
            await done(kernel, ann.pid, say("one two three four five"))
        backlogs = [member.scheduler.backlog for member in kernel._pool._members]
        assert [(backlog.coming, backlog.load) for backlog in backlogs] == [(0, 0.0), (0, 0.0)]
        assert (await done(kernel, ann.pid, say("one", max_tokens=1))).choices


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
