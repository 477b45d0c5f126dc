"""A core behind an endpoint that misbehaves in every way endpoints do."""

import asyncio
import json
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing, asynccontextmanager, suppress

import pytest
from aiohttp import web

from aios import plugins
from aios.config import CoreSettings
from aios.cores.core import Ended, Seat, Step
from aios.cores.openai import OpenAICore
from aios.cores.retry import Backoff
from aios.errors import (
    ConfigError,
    ContextOverflow,
    CoreProtocolError,
    CoreRateLimited,
    CoreRefused,
    CoreTimeout,
    CoreUnavailable,
)
from aios.events import CoreChanged, EventBus
from aios.syscalls import Delta, Embed, Generate, Message, Sampling

pytestmark = pytest.mark.anyio

KEY = "sk-very-secret"
QUICK = Backoff(first_s=0.001, most_s=0.002, patience_s=5.0, draw=lambda: 0.0)
Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Rogue:
    """An endpoint that answers each call with the next of `answers`, and the last again and again."""

    def __init__(self, *answers: Answer) -> None:
        self.answers = list(answers)
        self.bodies: list[dict] = []
        self.headers: list[dict[str, str]] = []
        self.gone = asyncio.Event()
        self.port = 0

    @asynccontextmanager
    async def running(self) -> AsyncGenerator[None]:
        app = web.Application()
        app.router.add_get("/v1/models", self._models)
        app.router.add_post("/v1/{path:.*}", self._call)
        runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0.1)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", self.port)
        await site.start()
        self.port = runner.addresses[0][1]
        try:
            yield
        finally:
            await runner.cleanup()

    async def _models(self, request: web.Request) -> web.Response:
        return web.json_response({"data": [{"id": "small"}, {"id": "large"}]})

    async def _call(self, request: web.Request) -> web.StreamResponse:
        self.headers.append(dict(request.headers))
        self.bodies.append(await request.json())
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        try:
            return await answer(request)
        except asyncio.CancelledError:
            self.gone.set()
            raise


def event(content: str = "", finish: str | None = None) -> bytes:
    chunk = {"choices": [{"index": 0, "delta": {"content": content}, "finish_reason": finish}]}
    return b"data: " + json.dumps(chunk).encode() + b"\n\n"


GOOD = event("Hel") + event("lo") + event(finish="stop") + b"data: [DONE]\n\n"


def stream(*pieces: bytes, end: str = "whole", kind: str = "text/event-stream") -> Answer:
    """Sends `pieces`; then ends the stream, cuts the connection, or says no more."""

    async def answer(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": kind})
        await response.prepare(request)
        for piece in pieces:
            await response.write(piece)
            await asyncio.sleep(0)
        if end == "cut":
            assert request.transport
            request.transport.abort()
        elif end == "hang":
            await asyncio.Event().wait()
        return response

    return answer


def status(code: int, body: object = None, **headers: str) -> Answer:
    async def answer(request: web.Request) -> web.StreamResponse:
        return web.json_response(body, status=code, headers=headers)

    return answer


async def hang(request: web.Request) -> web.StreamResponse:
    await asyncio.Event().wait()
    raise AssertionError


async def hang_up(request: web.Request) -> web.StreamResponse:
    assert request.transport
    request.transport.abort()
    return web.Response()


@asynccontextmanager
async def core_at(
    rogue: Rogue, *, bus: EventBus | None = None, env: dict[str, str] | None = None, **settings
) -> AsyncGenerator[OpenAICore]:
    fields = {"base_url": f"http://127.0.0.1:{rogue.port}/v1", "retries": 2, "timeout_s": 5.0, **settings}
    core = OpenAICore(
        CoreSettings(name="far", kind="openai", **fields),
        bus or EventBus(),
        env=env or {},
        backoff=QUICK,
        probes=Backoff(first_s=0.01, most_s=0.01),
    )
    async with asyncio.TaskGroup() as tasks:
        await core.start(tasks)
        try:
            yield core
        finally:
            await core.close()


@asynccontextmanager
async def facing(*answers: Answer, **settings) -> AsyncGenerator[tuple[OpenAICore, Rogue]]:
    rogue = Rogue(*answers)
    async with rogue.running(), core_at(rogue, **settings) as core:
        yield core, rogue


def ask(**fields) -> Generate:
    return Generate(messages=(Message(role="user", content="Hi"),), **fields)


async def steps_of(core: OpenAICore, call: Generate | None = None) -> list[Step]:
    (sequence,) = await core.prepare(call or ask(), 1, "default")
    return [step async for step in core.run(sequence, Seat(0))]


async def text_of(core: OpenAICore, call: Generate | None = None) -> str:
    return "".join(step.content for step in await steps_of(core, call) if isinstance(step, Delta))


# -- what goes well ---------------------------------------------------------------------------------


async def test_a_stream_is_one_delta_a_chunk():
    async with facing(stream(GOOD)) as (core, rogue):
        assert core.models == ("small", "large")
        *deltas, ended = await steps_of(core, ask(model="large"))
        assert [d.content for d in deltas if isinstance(d, Delta)] == ["Hel", "lo"]
        assert ended == Ended(reasons={0: "stop"}, completion_tokens=2)
        assert rogue.bodies[0]["model"] == "large"


async def test_a_chunk_comes_as_soon_as_it_is_sent():
    async with facing(stream(event("first"), end="hang")) as (core, _):
        (sequence,) = await core.prepare(ask(), 1, "default")
        async with aclosing(core.run(sequence, Seat(0))) as steps:
            assert await anext(steps) == Delta(content="first")


async def test_how_the_bytes_are_cut_does_not_matter():
    async with facing(stream(*(GOOD[i : i + 1] for i in range(len(GOOD))))) as (core, _):
        assert await text_of(core) == "Hello"


async def test_an_endpoint_that_does_not_stream_is_understood():
    whole = {
        "choices": [{"message": {"content": "Hello"}, "finish_reason": "length"}],
        "usage": {"prompt_tokens": 3, "completion_tokens": 2},
    }
    async with facing(status(200, whole)) as (core, _):
        assert await steps_of(core) == [
            Delta(content="Hello", tokens=2),
            Ended(reasons={0: "length"}, prompt_tokens=3, completion_tokens=2),
        ]


async def test_a_stream_without_its_last_word_is_whole_when_all_choices_ended():
    async with facing(stream(event("a"), event(finish="stop"))) as (core, _):
        assert await text_of(core) == "a"


async def test_connections_are_used_again():
    async with facing(stream(GOOD)) as (core, rogue):
        ports: set[int] = set()

        async def note(request: web.Request) -> web.StreamResponse:
            assert request.transport
            ports.add(request.transport.get_extra_info("peername")[1])
            return await stream(GOOD)(request)

        rogue.answers = [note]
        for _ in range(3):
            await text_of(core)
        assert len(ports) == 1


async def test_embeddings_have_length_one_and_the_order_of_the_texts():
    reply = {
        "data": [{"index": 1, "embedding": [0.0, 2.0]}, {"index": 0, "embedding": [3.0, 4.0]}],
        "usage": {"prompt_tokens": 6},
    }
    async with facing(status(503), status(200, reply)) as (core, rogue):
        result = await core.embed(Embed(inputs=("a", "b"), dimensions=2))
        assert result.vectors == ((0.6, 0.8), (0.0, 1.0))
        assert (result.model, result.usage.prompt_tokens) == ("small", 6)
        assert rogue.bodies[-1] == {
            "model": "small", "input": ["a", "b"], "encoding_format": "float", "dimensions": 2,
        }  # fmt: skip


async def test_too_few_embeddings_are_an_error():
    async with facing(status(200, {"data": []})) as (core, _):
        with pytest.raises(CoreProtocolError, match="0 vectors of 1"):
            await core.embed(Embed(inputs=("a",)))


# -- what is cut and gone on with --------------------------------------------------------------------


def counted(tokens: int) -> bytes:
    return (
        b"data: " + json.dumps({"usage": {"prompt_tokens": 9, "completion_tokens": tokens}}).encode() + b"\n\n"
    )


def piece(*contents: str, finish: str) -> Answer:
    return stream(*map(event, contents), event(finish=finish), counted(len(contents)))


async def run_through(core: OpenAICore, call: Generate, *, interrupted: bool) -> tuple[str, int]:
    """The whole answer, and the stays that it took."""
    (sequence,) = await core.prepare(call, 1, "default")
    text, stays, over = "", 0, False
    while not over:
        stays += 1
        async for step in core.run(sequence, Seat(0)):
            text += step.content if isinstance(step, Delta) else ""
            over = isinstance(step, Ended)
            if interrupted:
                core.interrupt(sequence)
    return text, stays


@pytest.mark.parametrize("interrupted", [False, True])
async def test_in_pieces_an_interrupted_call_sends_the_requests_of_one_that_is_not(interrupted: bool):
    answers = (piece("Hel", "lo", finish="length"), piece(" wor", "ld ", finish="length"))
    call = ask(max_tokens=9, sampling=Sampling(seed=7))
    async with facing(
        *answers, piece("ld", ".", finish="length"), piece("", finish="stop"), continues=True, piece_tokens=2
    ) as (core, rogue):
        text, stays = await run_through(core, call, interrupted=interrupted)
        assert (text, stays) == ("Hello world.", 4 if interrupted else 1)
        said = [body["messages"][-1]["content"] for body in rogue.bodies]
        assert said == ["Hi", "Hello", "Hello wor", "Hello world."]  # "ld " ends in white space: said again
        assert [body["max_tokens"] for body in rogue.bodies] == [2, 2, 2, 2]
        assert len({body["seed"] for body in rogue.bodies}) == 4


async def test_thoughts_are_not_cut_into_pieces():
    thought = b'data: {"choices": [{"index": 0, "delta": {"reasoning_content": "Hm"}}]}\n\n'
    async with facing(stream(thought, GOOD), continues=True, piece_tokens=2) as (core, rogue):
        assert await text_of(core, ask(max_tokens=9)) == "Hello"
        assert [body["max_tokens"] for body in rogue.bodies] == [2, 9]


async def test_trouble_between_pieces_is_tried_again():
    answers = (piece("Hel", "lo", finish="length"), status(503), piece("!", finish="stop"))
    async with facing(*answers, continues=True, piece_tokens=2) as (core, rogue):
        assert await text_of(core, ask(max_tokens=9)) == "Hello!"
        assert rogue.bodies[1] == rogue.bodies[2]


@pytest.mark.parametrize(
    ("sampling", "stays"),
    [
        (Sampling(temperature=0.0, seed=1), 2),
        (Sampling(), 2),
        (Sampling(seed=1), 1),
        (Sampling(temperature=0.0, frequency_penalty=0.5), 1),
    ],
    ids=["greedy", "drawn-from-anywhere", "seeded", "penalised"],
)
async def test_what_would_go_on_differently_is_not_interrupted(sampling: Sampling, stays: int):
    answers = (stream(event("Hel"), event("lo", "stop")), stream(event("lo", "stop")))
    async with facing(*answers, continues=True) as (core, _):
        assert await run_through(core, ask(sampling=sampling), interrupted=True) == ("Hello", stays)


# -- what is tried again ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "trouble",
    [
        status(429, **{"Retry-After": "0.01"}),
        status(429),
        status(500),
        status(503, {"error": {"message": "Loading model"}}),
        hang_up,
        stream(end="cut"),
        stream(event(), end="cut"),
        stream(event()),
    ],
    ids=["429-when", "429", "500", "503", "hung-up", "cut-at-start", "cut-after-role", "ended-after-role"],
)
async def test_trouble_before_the_first_token_is_tried_again(trouble: Answer):
    async with facing(trouble, trouble, stream(GOOD)) as (core, rogue):
        assert await text_of(core) == "Hello"
        assert len(rogue.bodies) == 3


@pytest.mark.parametrize(
    ("trouble", "kind"),
    [(status(429), CoreRateLimited), (status(500), CoreUnavailable), (stream(event()), CoreUnavailable)],
)
async def test_but_not_for_ever(trouble: Answer, kind: type):
    async with facing(trouble) as (core, rogue):
        with pytest.raises(kind):
            await steps_of(core)
        assert len(rogue.bodies) == 3


async def test_an_endpoint_that_asks_for_too_much_patience_is_not_waited_for():
    async with facing(status(429, **{"Retry-After": "3600"})) as (core, rogue):
        with pytest.raises(CoreRateLimited) as caught:
            await steps_of(core)
        assert caught.value.retry_after == 3600
        assert len(rogue.bodies) == 1


async def test_a_refusal_for_load_shrinks_the_window_and_holds_back_the_others():
    async with facing(status(429, **{"Retry-After": "0.3"}), stream(GOOD), window=8) as (core, rogue):
        first = asyncio.create_task(text_of(core))
        while not rogue.bodies:
            await asyncio.sleep(0.001)
        while core.capacity > 1:
            await asyncio.sleep(0.001)
        second = asyncio.create_task(text_of(core))
        await asyncio.sleep(0.01)
        assert len(rogue.bodies) == 1  # the endpoint said when: nobody asks earlier
        assert await asyncio.gather(first, second) == ["Hello", "Hello"]
        assert 4 <= core.capacity < 8


async def test_a_limit_by_its_newer_name_is_learnt():
    wrong = {
        "error": {
            "message": "Unsupported parameter: 'max_tokens'. Use 'max_completion_tokens' instead.",
            "param": "max_tokens",
        }
    }
    async with facing(status(400, wrong), stream(GOOD)) as (core, rogue):
        for _ in range(2):
            assert await text_of(core, ask(max_tokens=5)) == "Hello"
        assert [body.get("max_completion_tokens") for body in rogue.bodies] == [None, 5, 5]


# -- what is not ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("answer", "kind", "says"),
    [
        (status(400, {"error": {"message": "No such thing"}}), CoreRefused, "No such thing"),
        (status(400, {"error": {"code": "context_length_exceeded", "message": ""}}), ContextOverflow, "Short"),
        (stream(b"data: {nonsense\n\n"), CoreProtocolError, "can't be read"),
        (stream(b'data: {"choices": 7}\n\n'), CoreProtocolError, "can't be read"),
        (stream(b"data: \xff\xfe\n\n"), CoreProtocolError, "can't be read"),
        (stream(b"x" * (5 * 2**20)), CoreProtocolError, "bytes"),
        (stream(b"<html>", kind="text/html"), CoreProtocolError, "text/html"),
        (stream(b"{nonsense", kind="application/json"), CoreProtocolError, "can't be read"),
        (stream(b'data: {"error": {"message": "Out of memory", "code": 400}}\n\n'), CoreRefused, "memory"),
        (status(302, Location="http://elsewhere/"), CoreRefused, "302"),
    ],
    ids=[
        "400", "overflow", "bad-json", "wrong-json", "bad-utf8", "huge", "html", "bad-whole", "error-event",
        "redirect",
    ],
)  # fmt: skip
async def test_an_answer_that_makes_no_sense_is_an_error_at_once(answer: Answer, kind: type, says: str):
    async with facing(answer) as (core, rogue):
        with pytest.raises(kind, match=says):
            await steps_of(core)
        assert len(rogue.bodies) == 1


@pytest.mark.parametrize("end", ["cut", "whole"])
async def test_a_stream_cut_after_the_first_token_can_not_be_repeated(end: str):
    async with facing(stream(event("Hel"), event("lo")[:20], end=end)) as (core, rogue):
        (sequence,) = await core.prepare(ask(), 1, "default")
        steps = core.run(sequence, Seat(0))
        assert await anext(steps) == Delta(content="Hel")
        with pytest.raises(CoreProtocolError):
            await anext(steps)
        assert len(rogue.bodies) == 1


@pytest.mark.parametrize("answer", [hang, stream(event("a"), end="hang")], ids=["at-once", "in-mid-stream"])
async def test_silence_is_a_timeout(answer: Answer):
    async with facing(answer, timeout_s=0.05) as (core, _):
        with pytest.raises(CoreTimeout, match="timeout_s"):
            await steps_of(core)


# -- going away -------------------------------------------------------------------------------------


@pytest.mark.parametrize("answer", [hang, stream(event("a"), end="hang")], ids=["waiting", "streaming"])
async def test_cancelling_closes_the_upstream_connection_at_once(answer: Answer):
    async with facing(answer, window=1) as (core, rogue):
        call = asyncio.create_task(steps_of(core))
        while not rogue.bodies:
            await asyncio.sleep(0.001)
        call.cancel()
        with suppress(asyncio.CancelledError):
            await call
        await rogue.gone.wait()
        rogue.answers = [stream(GOOD)]
        assert await text_of(core) == "Hello"  # its place is free again


async def test_closing_the_core_ends_what_runs():
    async with facing(hang) as (core, rogue):
        call = asyncio.create_task(steps_of(core))
        while not rogue.bodies:
            await asyncio.sleep(0.001)
        await core.close()
        with pytest.raises(CoreUnavailable):
            await call


# -- out of reach -----------------------------------------------------------------------------------


async def test_an_endpoint_that_is_down_at_start_is_looked_for_and_found():
    rogue, bus = Rogue(stream(GOOD)), EventBus()
    async with rogue.running():
        pass  # now its port is known, and nobody listens there
    with bus.subscribe() as events:
        async with core_at(rogue, bus=bus) as core:
            assert core.models == ("far",)
            with pytest.raises(CoreUnavailable, match="far is out of reach"):
                await steps_of(core)
            async with rogue.running():
                states = []
                async for event in events:
                    assert isinstance(event, CoreChanged)
                    states.append(event.state)
                    if event.state == "ready":
                        break
                assert states[:2] == ["lost", "half_open"]
                assert core.models == ("small", "large")
                assert await text_of(core) == "Hello"


async def test_after_enough_failures_to_connect_calls_fail_without_trying():
    rogue = Rogue(stream(GOOD))
    async with rogue.running(), core_at(rogue, models=("small",)) as core:
        rogue.answers = [hang_up]
        for _ in range(2):
            with pytest.raises(CoreUnavailable):
                await steps_of(core)
        asked = len(rogue.bodies)
        assert asked == 5  # three tries, then two: the fifth failure opened the breaker
        with pytest.raises(CoreUnavailable, match="out of reach"):
            await steps_of(core)
        assert len(rogue.bodies) == asked


# -- the key ----------------------------------------------------------------------------------------


async def test_the_key_goes_into_the_header_and_nowhere_else(caplog: pytest.LogCaptureFixture):
    caplog.set_level(logging.DEBUG)
    bad_key = status(401, {"error": {"message": f"Incorrect key: {KEY}"}})
    settings = {"api_key_env": "FAR_KEY", "env": {"FAR_KEY": KEY}}
    async with facing(bad_key, stream(GOOD), **settings) as (core, rogue):
        with pytest.raises(CoreRefused, match=r"Incorrect key: \[key\]") as caught:
            await steps_of(core)
        await steps_of(core)
        assert rogue.headers[0]["Authorization"] == f"Bearer {KEY}"
        seen = repr([vars(core), rogue.bodies, caught.value, str(caught.value)]) + caplog.text
        assert KEY not in seen


@pytest.mark.parametrize(
    ("settings", "says"),
    [({"api_key_env": "FAR_KEY"}, "no FAR_KEY"), ({"base_url": "127.0.0.1:80"}, "base_url")],
)
def test_settings_that_can_not_work_are_refused(settings: dict, says: str):
    fields = {"base_url": "http://127.0.0.1:1/v1", **settings}
    with pytest.raises(ConfigError, match=says):
        OpenAICore(CoreSettings(name="far", kind="openai", **fields), EventBus(), env={})


def test_it_is_registered():
    assert plugins.load(plugins.CORES, "openai") is OpenAICore
