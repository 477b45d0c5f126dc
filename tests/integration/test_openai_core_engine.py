"""A core before a real endpoint: the engine's own server, in a process of its own, with a tiny model."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest

from aios.bench.native_server import NativeOptions, native_server
from aios.bench.tiny import PIECES, write_tiny_gguf
from aios.config import CoreSettings
from aios.cores.core import Ended, Seat, Step
from aios.cores.openai import OpenAICore
from aios.errors import ContextOverflow, CoreRefused
from aios.events import EventBus
from aios.syscalls import Delta, Embed, Generate, Message, Sampling

pytestmark = pytest.mark.anyio

CONTEXT = 16_384
GREEDY = Sampling(temperature=0.0)


@asynccontextmanager
async def core_before_engine(folder: Path, batch: int = 0, **more) -> AsyncGenerator[tuple[OpenAICore, str]]:
    model = write_tiny_gguf(folder / "tiny.gguf", n_ctx=CONTEXT, n_layer=4)
    options = NativeOptions(model=str(model), slots=1, context=CONTEXT, threads=1, http_threads=6, batch=batch)
    async with native_server(options) as url, asyncio.TaskGroup() as tasks:
        settings = CoreSettings(name="engine", kind="openai", base_url=f"{url}/v1", **more)
        core = OpenAICore(settings, EventBus())
        await core.start(tasks)
        try:
            yield core, url
        finally:
            await core.close()


def ask(**fields) -> Generate:
    return Generate(messages=(Message(role="user", content="Hi"),), sampling=GREEDY, **fields)


async def steps_of(core: OpenAICore, call: Generate) -> list[Step]:
    (sequence,) = await core.prepare(call, 1, "default")
    return [step async for step in core.run(sequence, Seat(0))]


async def test_chat_text_and_refusals(tmp_path: Path):
    async with core_before_engine(tmp_path) as (core, _):
        assert core.models == ("tiny",)
        *deltas, ended = await steps_of(core, ask(max_tokens=8, logprobs=2))
        assert isinstance(ended, Ended)
        assert (ended.reasons, ended.completion_tokens) == ({0: "length"}, 8)
        assert ended.prompt_tokens > 0
        for delta in deltas:
            assert isinstance(delta, Delta)
            (chosen,) = delta.logprobs
            assert len(chosen.top) == 2
            assert chosen.logprob == pytest.approx(max(rival.logprob for rival in chosen.top))

        *_, ended = await steps_of(core, Generate(prompt="Once", sampling=GREEDY, max_tokens=3))
        assert isinstance(ended, Ended)
        assert ended.completion_tokens == 3

        with pytest.raises(ContextOverflow, match="exceeds"):
            await steps_of(core, Generate(prompt="a b " * CONTEXT))
        with pytest.raises(CoreRefused, match="embeddings"):
            await core.embed(Embed(inputs=("a",)))


async def test_a_call_that_is_cancelled_in_mid_stream_frees_the_engines_slot(tmp_path: Path):
    async with core_before_engine(tmp_path) as (core, url), httpx.AsyncClient(base_url=url) as http:
        (sequence,) = await core.prepare(ask(max_tokens=10_000, extra={"ignore_eos": True}), 1, "default")
        steps = core.run(sequence, Seat(0))
        for _ in range(3):
            assert isinstance(await anext(steps), Delta)
        (slot,) = (await http.get("/slots")).json()
        assert slot["is_processing"]
        await steps.aclose()
        while slot["is_processing"]:
            await asyncio.sleep(0.01)
            (slot,) = (await http.get("/slots")).json()
        assert slot["n_prompt_tokens"] < 10_000  # it stopped long before it was done
        assert isinstance((await steps_of(core, ask(max_tokens=2)))[-1], Ended)


@pytest.mark.parametrize("chat", [True, False])
async def test_an_interrupted_call_goes_on_after_its_text(tmp_path: Path, chat: bool):
    start = {"messages": (Message(role="user", content="Hi"),)} if chat else {"prompt": "Once upon"}
    # Text of these words has the same tokens wherever it is cut.
    words = {261 + PIECES.index(word): 60.0 for word in ("▁the", "▁a")}
    sampling = Sampling(temperature=0.0, logit_bias=words)
    call = Generate(**start, sampling=sampling, max_tokens=24, extra={"ignore_eos": True})
    async with core_before_engine(tmp_path, continues=True) as (core, _):
        assert core.capabilities.interruptible
        *deltas, whole = await steps_of(core, call)
        text = "".join(step.content for step in deltas if isinstance(step, Delta))
        (sequence,) = await core.prepare(call, 1, "default")
        steps: list[Step] = []
        stays = 0
        while not (steps and isinstance(steps[-1], Ended)):
            stays += 1
            async for step in core.run(sequence, Seat(0)):
                steps.append(step)
                if isinstance(step, Delta) and len(steps) % 5 == 0:
                    core.interrupt(sequence)
        assert stays > 3
        assert len(set(text.split())) > 1
        assert isinstance(whole, Ended)
        assert isinstance(steps[-1], Ended)
        assert "".join(step.content for step in steps if isinstance(step, Delta)) == text
        assert steps[-1].completion_tokens == whole.completion_tokens == 24
        assert steps[-1].reasons == whole.reasons


@pytest.mark.parametrize("sampling", [GREEDY, Sampling(temperature=1.0, seed=5)], ids=["greedy", "drawn"])
async def test_in_pieces_an_interrupt_changes_no_answer(tmp_path: Path, sampling: Sampling):
    async with core_before_engine(tmp_path, batch=1, continues=True, piece_tokens=4) as (core, _):
        for number in range(4):
            message = Message(role="user", content=f"Hi {number}")
            call = Generate(messages=(message,), sampling=sampling, max_tokens=20, extra={"ignore_eos": True})
            texts: list[str] = []
            for interrupted in (False, True):
                (sequence,) = await core.prepare(call, 1, "default")
                text, stays, over = "", 0, False
                while not over:
                    stays += 1
                    async for step in core.run(sequence, Seat(0)):
                        text += step.content if isinstance(step, Delta) else ""
                        over = isinstance(step, Ended)
                        if interrupted:
                            core.interrupt(sequence)
                    await steps_of(core, ask(max_tokens=1))  # another one has the engine's only slot
                assert (stays > 3) == interrupted
                texts.append(text)
            assert texts[0] == texts[1] != ""


async def test_a_call_that_cannot_be_gone_on_with_runs_to_its_end(tmp_path: Path):
    async with core_before_engine(tmp_path, continues=True) as (core, _):
        (sequence,) = await core.prepare(
            ask(max_tokens=8, logprobs=1, extra={"ignore_eos": True}), 1, "default"
        )
        steps: list[Step] = []
        async for step in core.run(sequence, Seat(0)):
            core.interrupt(sequence)
            steps.append(step)
        assert isinstance(steps[-1], Ended)
        assert steps[-1].completion_tokens == 8
