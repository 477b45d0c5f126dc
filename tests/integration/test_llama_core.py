"""The embedded core with its real worker process, on a tiny random model."""

import asyncio
import contextlib
import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from aios import plugins
from aios.config import ContextSettings, CoreSettings
from aios.context.manager import ContextManager
from aios.cores.core import Ended, Seat
from aios.cores.llama.core import LlamaCore
from aios.cores.llama.embedder import Embedder
from aios.cores.llama.ffi import Library
from aios.cores.llama.messages import EmbedTexts, Stop
from aios.cores.llama.model import Model
from aios.cores.ram import Ram
from aios.errors import (
    BadRequest,
    ConfigError,
    ContextOverflow,
    CoreRefused,
    EngineCrashed,
    InvalidSchema,
    ModelCorrupt,
    ModelError,
)
from aios.events import CoreChanged, Dispatched, EventBus, Interrupted
from aios.scheduler.rr import RoundRobin
from aios.scheduler.scheduler import Scheduler
from aios.scheduler.ticket import Ticket
from aios.syscalls import (
    Delta,
    Embed,
    FunctionSpec,
    Generate,
    Message,
    ResponseFormat,
    Sampling,
    ToolSpec,
)

pytestmark = pytest.mark.anyio

GREEDY = Sampling(temperature=0.0)
SCHEMA = {
    "type": "object",
    "properties": {"name": {"type": "string", "maxLength": 20}, "n": {"type": "integer"}},
    "required": ["name", "n"],
    "additionalProperties": False,
}


class Machine:
    """A core, its scheduler, and a way to call."""

    def __init__(self, core: LlamaCore, scheduler: Scheduler, bus: EventBus) -> None:
        self.core, self.scheduler, self.bus = core, scheduler, bus

    async def ask(self, call: Generate, pid: int = 1, group: str = "g") -> tuple[dict[int, str], Ended]:
        """Texts by choice, and the last `Ended`."""
        texts, ended = await self.ask_all(call, pid, group)
        return texts, ended[-1]

    async def ask_all(
        self, call: Generate, pid: int = 1, group: str = "g"
    ) -> tuple[dict[int, str], list[Ended]]:
        """Texts by choice, and how each sequence ended, in the order of their ends."""
        texts: dict[int, str] = {}
        ended: list[Ended] = []

        async def one(sequence) -> None:
            ticket = Ticket(pid=pid, call_id=sequence.id)
            async for step in self.scheduler.submit(sequence, ticket):
                if isinstance(step, Delta):
                    texts[step.choice] = texts.get(step.choice, "") + step.content
                elif isinstance(step, Ended):
                    ended.append(step)

        async with asyncio.TaskGroup() as group_of_tasks:
            for sequence in await self.core.prepare(call, pid, group):
                group_of_tasks.create_task(one(sequence))
        return texts, ended


@contextlib.asynccontextmanager
async def machine(model: Path, *, quantum: int = 8, ram: Ram | None = None, **settings):
    bus = EventBus()
    options = {"name": "tiny", "slots": 3, "context": 512, "threads": 1, "kv_ram_mb": 16.0, **settings}
    core = LlamaCore(CoreSettings(model=str(model), **options), bus, ram)
    async with asyncio.TaskGroup() as tasks:
        await core.start(tasks)
        try:
            scheduler = Scheduler(
                core,
                RoundRobin(quantum=quantum),
                bus,
                ContextManager(core, bus, ContextSettings()),
                lambda name: plugins.load(plugins.POLICIES, name)(quantum=quantum),
                quantum=quantum,
                max_queue=100,
            )
            await scheduler.start(tasks)
            yield Machine(core, scheduler, bus)
            await scheduler.close()
        finally:
            await core.close()


def chat(text: str, **more) -> Generate:
    more = {"sampling": GREEDY, "max_tokens": 12, **more}
    return Generate(messages=(Message(role="user", content=text),), **more)


async def test_a_conversation_prefills_only_what_is_new(tiny_model):
    async with machine(tiny_model) as m:
        first = Message(role="user", content="tell me of the agents and of the kernel that runs them")
        texts, ended = await m.ask(Generate(messages=(first,), sampling=GREEDY, max_tokens=12))
        assert ended.cached_tokens == 0
        answer = Message(role="assistant", content=texts[0])
        more = Message(role="user", content="and then?")
        _, again = await m.ask(Generate(messages=(first, answer, more), sampling=GREEDY, max_tokens=12))
        assert again.cached_tokens >= ended.prompt_tokens
        assert again.prompt_tokens > again.cached_tokens


async def test_parked_contexts_come_back_without_being_computed_again(tiny_model):
    """Five conversations share three slots; none is prefilled twice."""
    async with machine(tiny_model) as m:
        talks = {pid: f"conversation number {pid} of {'x' * 40 * pid}" for pid in range(1, 6)}
        for pid, text in talks.items():
            await m.ask(chat(text), pid, group=f"g{pid}")
        for pid, text in talks.items():
            _, ended = await m.ask(chat(text), pid, group=f"g{pid}")
            assert ended.cached_tokens >= ended.prompt_tokens - 1
            assert m.scheduler.kv_of(pid)[0] == "resident"


async def test_a_prefix_is_shared_within_a_privilege_group_and_not_beyond(tiny_model):
    system = Message(role="system", content="you are one of many agents with the same long instructions " * 2)
    async with machine(tiny_model) as m:

        async def cached(pid: int, group: str) -> int:
            user = Message(role="user", content=f"task {pid}")
            call = Generate(messages=(system, user), sampling=GREEDY, max_tokens=4)
            return (await m.ask(call, pid, group))[1].cached_tokens

        assert await cached(1, "a") == 0
        assert await cached(2, "a") > 90
        assert await cached(3, "b") == 0
        together = await asyncio.gather(*(cached(pid, "c") for pid in range(10, 16)))
        assert sorted(together)[0] == 0
        assert sorted(together)[1] > 90  # five waited for the one that computed it


async def test_a_killed_worker_is_restarted_and_its_calls_go_on(tiny_model):
    async with machine(tiny_model, deterministic=True, quantum=4) as m:
        calls = [chat(f"number {i} of many words", max_tokens=200, sampling=Sampling(seed=i)) for i in range(5)]
        undisturbed = [(await m.ask(call, 1, "one"))[0] for call in calls]
        with m.bus.subscribe() as events:
            running = [asyncio.ensure_future(m.ask(call, i, "many")) for i, call in enumerate(calls)]
            while m.scheduler.running < 3 or not any(
                r.sequence.generated for r in m.scheduler._running.values()
            ):
                await asyncio.sleep(0.001)
            os.kill(m.core.worker_pid, signal.SIGKILL)
            answers = [(await call)[0] for call in running]
            m.bus.close()
            seen = [event async for event in events]
    assert answers == undisturbed
    assert [e.state for e in seen if isinstance(e, CoreChanged)] == ["lost", "restarted"]
    assert any(isinstance(e, Interrupted) and e.why == "core_lost" for e in seen)


async def test_what_was_parked_survives_the_worker(tiny_model):
    async with machine(tiny_model) as m:
        for pid in range(1, 6):  # with three slots, the contexts of 1 and 2 are parked at the end
            await m.ask(chat(f"conversation {pid} {'x' * 90}"), pid, group=f"g{pid}")
        assert m.scheduler.kv_of(1)[0] == "parked"
        os.kill(m.core.worker_pid, signal.SIGKILL)
        _, ended = await m.ask(chat(f"conversation 1 {'x' * 90}"), 1, group="g1")
        assert ended.cached_tokens >= ended.prompt_tokens - 1


async def test_a_worker_that_keeps_dying_fails_its_callers_and_hangs_nobody(tiny_model):
    async with machine(tiny_model, max_restarts=1) as m:
        call = asyncio.ensure_future(m.ask(chat("on and on", max_tokens=400, sampling=Sampling(seed=1))))
        with pytest.raises(ExceptionGroup) as caught:
            while not call.done():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(m.core.worker_pid, signal.SIGKILL)
                await asyncio.sleep(0)  # each worker dies before it can say much, however slow this machine is
            await call
        assert caught.group_contains(EngineCrashed)
        with pytest.raises(EngineCrashed):
            await m.core.embed(Embed(inputs=("x",)))


async def test_cancelling_frees_the_slot_within_a_step(tiny_model):
    async with machine(tiny_model, slots=1) as m:
        long = asyncio.ensure_future(m.ask(chat("long", max_tokens=450, sampling=Sampling(seed=1))))
        while not m.scheduler.running:
            await asyncio.sleep(0.001)
        long.cancel()
        _, ended = await m.ask(chat("next"), 2)
        assert ended.completion_tokens == 12
        assert m.scheduler.running == 0


async def test_round_robin_interrupts_change_no_answer(tiny_model):
    async with machine(tiny_model, deterministic=True, quantum=3) as m:
        calls = [chat(f"agent {i}", max_tokens=30, sampling=Sampling(seed=i)) for i in range(7)]
        alone = [(await m.ask(call, 1))[0] for call in calls]
        with m.bus.subscribe() as events:
            together = await asyncio.gather(*(m.ask(call, i) for i, call in enumerate(calls)))
            m.bus.close()
            seen = [event async for event in events]
    assert [texts for texts, _ in together] == alone
    assert sum(isinstance(e, Interrupted) for e in seen) > 5
    assert {e.slot for e in seen if isinstance(e, Dispatched)} == {0, 1, 2}


async def test_constrained_answers_always_parse_even_when_cut_short(tiny_model):
    tool = ToolSpec(function=FunctionSpec(name="note", parameters=SCHEMA))
    form = ResponseFormat(type="json_schema", schema=SCHEMA)
    async with machine(tiny_model, context=1024) as m:
        for seed in range(6):
            sampling = Sampling(temperature=1.5, seed=seed)
            texts, _ = await m.ask(chat("x", response_format=form, max_tokens=40, sampling=sampling))
            assert set(json.loads(texts[0])) == {"name", "n"}
            texts, _ = await m.ask(
                chat("x", response_format=ResponseFormat(type="json_object"), max_tokens=30, sampling=sampling)
            )
            assert isinstance(json.loads(texts[0]), dict)
            call = chat("x", tools=(tool,), tool_choice="=note", max_tokens=120, sampling=sampling)
            (sequence,) = await m.core.prepare(call, 1, "g")
            pieces = [
                piece
                async for step in m.scheduler.submit(sequence, Ticket(pid=1, call_id=seed))
                if isinstance(step, Delta)
                for piece in step.tool_calls
            ]
            assert pieces[0].name == "note"
            assert set(json.loads("".join(p.arguments for p in pieces))) == {"name", "n"}


async def test_n_choices_prefill_their_prompt_once_and_differ(tiny_model):
    async with machine(tiny_model) as m:
        texts, ended = await m.ask_all(chat("several " * 9, n=5, sampling=Sampling(seed=7, temperature=1.0)))
        assert sorted(texts) == [0, 1, 2, 3, 4]
        assert len(set(texts.values())) > 1
        (prompt,) = {each.prompt_tokens for each in ended}
        assert sorted(each.cached_tokens for each in ended) == [0, *[prompt - 1] * 4]  # the last gives logits
        again, _ = await m.ask(chat("several " * 9, n=5, sampling=Sampling(seed=7, temperature=1.0)), 2)
        assert again.keys() == texts.keys()


async def test_logprobs_stop_strings_and_bias(tiny_model):
    async with machine(tiny_model) as m:
        texts, _ = await m.ask(chat("hello", max_tokens=30, sampling=Sampling(seed=1)))
        stop = texts[0][4:6]
        cut, ended = await m.ask(chat("hello", max_tokens=30, sampling=Sampling(seed=1), stop=(stop,)))
        assert cut.get(0, "") == texts[0][: texts[0].index(stop)]
        assert ended.reasons == {0: "stop"}
        (sequence,) = await m.core.prepare(chat("hello", logprobs=3, max_tokens=2), 1, "g")
        deltas = [s async for s in m.core.run(sequence, Seat(0)) if isinstance(s, Delta) and s.logprobs]
        assert len(deltas[0].logprobs[0].top) == 3
        assert deltas[0].logprobs[0].logprob == deltas[0].logprobs[0].top[0].logprob <= 0
        forced = {ord("Z") + 5 + 16 - 33 + 256: 1000.0}
        texts, _ = await m.ask(chat("x", max_tokens=3, sampling=Sampling(temperature=0, logit_bias=forced)))
        assert len(set(texts[0])) == 1


async def test_embeddings_have_length_one_and_tell_texts_apart(tiny_model):
    async with machine(tiny_model) as m:
        result = await m.core.embed(Embed(inputs=("one text", "another", "one text", (5, 6, 7))))
        assert [round(sum(x * x for x in v), 4) for v in result.vectors] == [1.0] * 4
        assert result.vectors[0] == result.vectors[2] != result.vectors[1]
        with pytest.raises(ContextOverflow):
            await m.core.embed(Embed(inputs=("x" * 2000,)))


async def test_many_texts_of_one_hold_up_no_other(tiny_model):
    async with machine(tiny_model) as m:
        many = asyncio.create_task(m.core.embed(Embed(inputs=tuple(f"text {n} " * 20 for n in range(400)))))
        await asyncio.sleep(0.05)
        assert (await m.ask(chat("hello")))[1].completion_tokens > 0
        assert len((await m.core.embed(Embed(inputs=("one",)))).vectors) == 1
        assert not many.done()
        many.cancel()
        await asyncio.gather(many, return_exceptions=True)
        assert (await m.ask(chat("again")))[1].completion_tokens > 0


async def test_who_goes_away_tells_the_worker_that_its_texts_are_not_wanted(tiny_model, monkeypatch):
    async with machine(tiny_model) as m:
        sent: list = []
        send = m.core._worker.send
        monkeypatch.setattr(m.core._worker, "send", lambda message: (sent.append(message), send(message)))
        asked = asyncio.create_task(m.core.embed(Embed(inputs=("some text " * 20,) * 400)))
        await asyncio.sleep(0.05)
        asked.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asked
        (request,) = [message.request for message in sent if isinstance(message, EmbedTexts)]
        assert [message.id for message in sent if isinstance(message, Stop)] == [request]
        assert m.core._requests == {}


async def test_without_a_context_of_its_own_a_slot_has_the_default_one(tiny_model):
    """And not a share of what the model was trained for; and texts can be embedded."""
    async with machine(tiny_model, context=0, slots=3) as m:
        assert m.core.capabilities.window == 4096
        assert len((await m.core.embed(Embed(inputs=("a text",)))).vectors) == 1


async def test_a_parked_context_takes_the_bytes_that_are_told(tiny_model):
    async with machine(tiny_model, slots=5) as m:
        await m.ask(chat("hello " * 20))
        contexts, keeper = m.scheduler.contexts.seating, m.core.capabilities.contexts.keeper
        await keeper.move(contexts.park_all())
        (entry,) = contexts.parking.entries
        held = m.core._arena.content(entry.extent)
        assert len(held.tokens) == len(entry.tokens)
        assert 0.5 * entry.extent.size < held.length < entry.extent.size


def workers() -> list[str]:
    """Of this process, by their pids."""
    children = Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
    return [pid for pid in children if b"cores.llama.worker" in Path(f"/proc/{pid}/cmdline").read_bytes()]


class Free(Ram):
    """A machine with so many MB free."""

    def __init__(self, mb: float) -> None:
        super().__init__()
        self.mb = mb

    def _machine(self) -> Iterator[int]:
        yield int(self.mb * 2**20)

    def _groups(self) -> Iterator[int]:
        yield from ()


async def test_more_parking_memory_than_is_free_is_refused_and_leaves_no_process(tiny_model):
    with pytest.raises(ExceptionGroup) as caught:
        async with machine(tiny_model, kv_ram_mb=64.0, ram=Free(64.5)):
            raise AssertionError("it started")
    (error,) = caught.value.exceptions
    assert isinstance(error, ConfigError)
    assert "kv_ram_mb" in str(error)
    assert workers() == []


@pytest.mark.parametrize("kv_ram_mb", [64.0, None])
async def test_with_as_much_as_is_free_it_starts(tiny_model, kv_ram_mb):
    async with machine(tiny_model, kv_ram_mb=kv_ram_mb, ram=Free(4096.0)) as m:
        assert m.core.capabilities.contexts.ram_bytes == (kv_ram_mb or 1024) * 2**20
        assert len(workers()) == 1
        assert (await m.ask(chat("fine")))[1].completion_tokens == 12


async def test_the_default_parking_memory_is_half_of_what_is_free_and_it_is_said(tiny_model, caplog):
    async with machine(tiny_model, kv_ram_mb=None, ram=Free(40.0)) as m:
        size, taken = m.core.capabilities.contexts.ram_bytes, m.core._worker.ready.taken
        assert size == (40 * 2**20 - taken) // 2
        assert taken > 3 * 512 * m.core.capabilities.contexts.bytes_per_token
        assert "instead of 1024" in caplog.text
        for text in ("one", "two", "three", "four", "five"):
            await m.ask(chat(text * 20))
        assert 0 < m.scheduler.contexts.seating.parking.extents.used <= size


async def test_cores_that_share_a_machine_leave_each_other_what_they_may_take(tiny_model):
    ram = Free(400.0)
    async with machine(tiny_model, kv_ram_mb=300.0, ram=ram) as m:
        taken, weights = m.core._worker.ready.taken, m.core._worker.ready.info.size_bytes
        assert ram.free(str(tiny_model)) == 100 * 2**20 - (taken - weights)
        assert ram.free("other.gguf") == 100 * 2**20 - taken
        async with machine(tiny_model, name="next", kv_ram_mb=None, ram=ram) as other:
            size = other.core.capabilities.contexts.ram_bytes
            left = 100 * 2**20 - (taken - weights) - other.core._worker.ready.taken
            assert size == left // 2  # half of what is left beside both
            assert (await other.ask(chat("fine")))[1].completion_tokens == 12
        with pytest.raises(ExceptionGroup) as caught:
            async with machine(tiny_model, name="third", kv_ram_mb=101.0, ram=ram):
                raise AssertionError("it started")
        assert "kv_ram_mb" in str(caught.value.exceptions[0])
    assert ram.free() == 400 * 2**20


async def test_a_model_that_does_not_fit_beside_another_is_refused(tiny_model):
    """Though the system says that there is room: the other has not touched its own yet."""
    ram = Free(400.0)
    async with machine(tiny_model, kv_ram_mb=350.0, ram=ram):
        with pytest.raises(ExceptionGroup) as caught:
            async with machine(tiny_model, name="next", slots=50, ram=ram):
                raise AssertionError("it started")
        (error,) = caught.value.exceptions
        assert isinstance(error, ModelError)
        assert "50 slots of 512 tokens" in str(error)


async def test_a_worker_that_is_restarted_gets_the_parking_memory_that_there_is(tiny_model):
    async with machine(tiny_model, kv_ram_mb=None, ram=Free(60.0)) as m:
        await m.ask(chat("one"), pid=1)
        os.kill(m.core.worker_pid, signal.SIGKILL)
        for pid, text in enumerate(("two", "three", "four", "five")):
            assert (await m.ask(chat(text * 20), pid=pid + 2))[1].completion_tokens > 0
        assert m.core.epoch == 1
        assert m.scheduler.contexts.seating.parking.extents.used > 0


async def test_a_text_for_which_there_is_no_memory_is_refused_and_the_core_goes_on(tiny_model):
    """What embedding takes is asked for when it is known how long the text is."""
    reserved = [0]
    model = Model(Library(), tiny_model, gpu_layers=0)
    embedder = Embedder(model, window=4096, threads=1, ram=Free(800.0), reserved=lambda: reserved[0])
    short = embedder.embed([5, 6, 7])
    reserved[0] = 700 * 2**20
    with pytest.raises(CoreRefused) as caught:
        embedder.embed([5] * 4000)
    assert "4096 tokens" in str(caught.value)
    assert embedder.embed([5, 6, 7]) == short
    reserved[0] = 0
    assert len(embedder.embed([5] * 4000)) == 64
    assert embedder.embed([5, 6, 7]) == pytest.approx(short, abs=1e-5)
    embedder.close()
    embedder.close()


async def test_slots_that_no_machine_has_are_refused_before_they_are_made(tiny_model):
    with pytest.raises(ExceptionGroup) as caught:
        async with machine(tiny_model, slots=8, context=500_000_000):
            raise AssertionError("it started")
    (error,) = caught.value.exceptions
    assert isinstance(error, ModelError)
    assert "8 slots of 500000000 tokens" in str(error)
    assert "are free" in str(error)


@pytest.mark.parametrize(
    ("call", "error"),
    [
        (chat("x" * 2000), ContextOverflow),
        (Generate(prompt=(5, 99999)), BadRequest),
        (Generate(), BadRequest),
        (
            chat("x", response_format=ResponseFormat(type="json_schema", schema={"type": "nonsense"})),
            InvalidSchema,
        ),
        (chat("x", response_format=ResponseFormat(type="grammar", grammar="root ::= (")), InvalidSchema),
        (
            chat("x", response_format=ResponseFormat(type="json_schema", schema=SCHEMA), max_tokens=3),
            InvalidSchema,
        ),
        (chat("x", sampling=Sampling(logit_bias={10**6: 1.0})), BadRequest),
        (chat("x", tool_choice="required"), BadRequest),
    ],
)
async def test_bad_calls_get_typed_errors_and_leave_the_core_usable(tiny_model, call, error):
    async with machine(tiny_model) as m:
        with pytest.raises((error, ExceptionGroup)) as caught:
            await m.ask(call)
        found = caught.value
        assert isinstance(found, error) or found.subgroup(error)
        _, ended = await m.ask(chat("fine"))
        assert ended.completion_tokens == 12
        assert m.scheduler.running == 0


async def test_a_corrupt_model_is_a_clear_error_and_leaves_no_process(tmp_path, tiny_model):
    cut = tmp_path / "cut.gguf"
    cut.write_bytes(tiny_model.read_bytes()[:100_000])
    wrong = tmp_path / "wrong.gguf"
    wrong.write_bytes(b"not a model at all")
    for path in (cut, wrong):
        with pytest.raises(ExceptionGroup) as caught:
            core = LlamaCore(CoreSettings(name="c", model=str(path)), EventBus())
            async with asyncio.TaskGroup() as tasks:
                await core.start(tasks)
        (error,) = caught.value.exceptions
        assert isinstance(error, ModelCorrupt)
        assert str(path) in str(error)
