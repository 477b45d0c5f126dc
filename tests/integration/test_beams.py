"""Beam search in the real engine: interrupted anywhere, it finds what it would have found."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path

import pytest
from tests.kernels import until

from aios.config import Settings, parse
from aios.cores.llama.core import LlamaCore
from aios.errors import BadRequest
from aios.events import Interrupted
from aios.kernel.kernel import Kernel
from aios.syscalls import Completion, Generate, Message, ResponseFormat, Sampling

pytestmark = pytest.mark.anyio

TEXT = "the agent reads a file and writes what it found there into a note"


def tiny(folder: Path, model: Path, *, quantum: int = 10**6, **options: object) -> Settings:
    core = {"name": "main", "model": str(model), "slots": 3, "context": 512, "threads": 1, "kv_ram_mb": 4.0}
    tables = {"scheduler": {"policy": "rr", "quantum_tokens": quantum}, "server": {"drain_s": 5}}
    return parse({"state": {"dir": str(folder)}, "cores": [{**core, **options}], **tables})


def beams(width: int, *, n: int = 1, most: int = 40, text: str = TEXT, **more) -> Generate:
    sampling = Sampling(num_beams=width, length_penalty=more.pop("length_penalty", 1.0))
    return Generate(
        messages=(Message(role="user", content=text),), sampling=sampling, n=n, max_tokens=most,
        extra={"ignore_eos": True}, **more,
    )  # fmt: skip


async def said(kernel: Kernel, name: str, call: Generate) -> list[str | None]:
    done = await kernel.trap(kernel.processes.attach(name), call)
    assert isinstance(done, Completion)
    return [choice.content for choice in done.choices]


async def test_the_best_of_several_beams_is_at_least_as_likely_as_greedy(
    tmp_path: Path, tiny_model: Path
) -> None:
    async with Kernel(tiny(tmp_path, tiny_model)) as kernel:
        greedy = Generate(
            messages=(Message(role="user", content=TEXT),), sampling=Sampling(temperature=0.0), max_tokens=40,
            extra={"ignore_eos": True},
        )  # fmt: skip
        (one,) = await said(kernel, "ann", beams(3))
        two = await said(kernel, "bob", beams(3, n=3))
        assert two[0] == one
        assert len(set(two)) == 3
        assert (await said(kernel, "cat", greedy))[0]
        assert kernel.status().cores[0].running == 0


async def test_beams_compute_their_prompt_once_and_one_that_is_known_not_at_all(
    tmp_path: Path, tiny_model: Path
) -> None:
    async with Kernel(tiny(tmp_path, tiny_model)) as kernel:
        ann = kernel.processes.attach("ann")
        first = await kernel.trap(ann, beams(3, n=3))
        assert isinstance(first, Completion)
        prompt = first.usage.prompt_tokens
        assert first.usage.cached_tokens == 0
        assert (await kernel.composition(ann)).stats.computed == prompt
        again = await kernel.trap(ann, beams(3, n=3))
        assert isinstance(again, Completion)
        assert again.usage.cached_tokens == prompt - 1  # the last one gives the logits
        assert (await kernel.composition(ann)).stats.computed == prompt + 1


async def test_an_interrupted_search_computes_its_prompt_for_no_beam_again(
    tmp_path: Path, tiny_model: Path
) -> None:
    async with Kernel(tiny(tmp_path, tiny_model, quantum=6)) as kernel:
        ann = kernel.processes.attach("ann")
        await kernel.trap(ann, beams(3, most=1))
        rivals = [said(kernel, f"r{i}", beams(2, most=90, text=f"{TEXT} {i}")) for i in range(3)]
        done, *_ = await asyncio.gather(kernel.trap(ann, beams(3, most=90)), *rivals)
        assert isinstance(done, Completion)
        assert done.timings.interrupts >= 3
        assert done.usage.cached_tokens == done.usage.prompt_tokens - 1


@pytest.mark.parametrize("deterministic", [True, False])
@pytest.mark.parametrize("ram_mb", [4.0, 0.0])
async def test_a_search_that_is_interrupted_again_and_again_finds_the_same(
    tmp_path: Path, tiny_model: Path, deterministic: bool, ram_mb: float
) -> None:
    options = {"deterministic": deterministic, "kv_ram_mb": ram_mb}
    if not ram_mb and not deterministic:
        pytest.skip("what is computed again in other batches may differ in its last bits")
    async with Kernel(tiny(tmp_path / "a", tiny_model, **options)) as kernel:
        alone = await said(kernel, "ann", beams(3, n=3, most=90))
    async with Kernel(tiny(tmp_path / "b", tiny_model, quantum=6, **options)) as kernel:
        with kernel.bus.subscribe() as events:
            rivals = [said(kernel, f"r{i}", beams(2, most=90, text=f"{TEXT} {i}")) for i in range(3)]
            found, *_ = await asyncio.gather(said(kernel, "ann", beams(3, n=3, most=90)), *rivals)
            ann = kernel.processes.attach("ann")
            times = [e for e in events.unread() if isinstance(e, Interrupted) and e.pid == ann]
        assert len(times) >= 3
        assert found == alone


async def test_a_search_survives_the_worker(tmp_path: Path, tiny_model: Path) -> None:
    call = beams(3, n=2, most=200)
    async with Kernel(tiny(tmp_path / "a", tiny_model, deterministic=True)) as kernel:
        alone = await said(kernel, "ann", call)
    async with Kernel(tiny(tmp_path / "b", tiny_model, deterministic=True)) as kernel:
        running = asyncio.create_task(said(kernel, "ann", call))
        ann = kernel.processes.attach("ann")
        await until(lambda: kernel.processes.info(ann).attained > 150)
        core = kernel._pool._members[0].core
        assert isinstance(core, LlamaCore)
        os.kill(core.worker_pid, signal.SIGKILL)
        assert await running == alone


async def test_a_search_waits_for_enough_slots_and_is_not_starved_by_narrow_calls(
    tmp_path: Path, tiny_model: Path
) -> None:
    async with Kernel(tiny(tmp_path, tiny_model, quantum=8)) as kernel:
        served = asyncio.Event()

        async def flood(name: str) -> int:
            calls = 0
            while not served.is_set():
                await said(kernel, name, beams(1, most=100))
                calls += 1
            return calls

        narrow = [asyncio.create_task(flood(f"n{i}")) for i in range(6)]
        await until(lambda: kernel.status().cores[0].running == 3)
        assert await said(kernel, "wide", beams(3, most=20))
        served.set()
        assert sum(await asyncio.gather(*narrow)) > 6


async def test_cancelling_a_search_frees_all_its_slots(tmp_path: Path, tiny_model: Path) -> None:
    async with Kernel(tiny(tmp_path, tiny_model)) as kernel:
        running = asyncio.create_task(said(kernel, "ann", beams(3, most=400)))
        await until(lambda: kernel.status().cores[0].running == 1)
        running.cancel()
        assert await said(kernel, "bob", beams(3, most=10))


async def test_what_a_search_cannot_do_is_refused(tmp_path: Path, tiny_model: Path) -> None:
    async with Kernel(tiny(tmp_path, tiny_model)) as kernel:
        for call, param in (
            (beams(4), "num_beams"),
            (beams(2, n=3), "n"),
            (beams(2, response_format=ResponseFormat(type="json_object")), "num_beams"),
        ):
            with pytest.raises(BadRequest) as caught:
                await said(kernel, "ann", call)
            assert caught.value.param == param
