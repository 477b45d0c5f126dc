"""The server over the real kernel and a scripted core, which says the last user message again."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from aios.config import parse
from aios.kernel.kernel import Kernel
from aios.server.serve import listening

pytestmark = pytest.mark.anyio

CHAT = "/v1/chat/completions"
WORDS = "one two three four five"

Start = Callable[..., AbstractAsyncContextManager[tuple[Kernel, httpx.AsyncClient]]]


@pytest.fixture
def start(tmp_path: Path) -> Start:
    @asynccontextmanager
    async def running(**core: Any) -> AsyncGenerator[tuple[Kernel, httpx.AsyncClient]]:
        cores = [{"name": "main", "kind": "scripted", "models": ["parrot"], **core}]
        settings = parse({"state": {"dir": str(tmp_path)}, "cores": cores, "server": {"drain_s": 1}})
        async with (
            Kernel(settings) as kernel,
            listening(kernel, port=0) as listener,
            httpx.AsyncClient(base_url=listener.url, timeout=10) as client,
        ):
            yield kernel, client

    return running


def ask(text: str = WORDS, **fields: Any) -> dict[str, Any]:
    return {"model": "parrot", "messages": [{"role": "user", "content": text}], **fields}


def chunks(text: str) -> list[Any]:
    *data, done = [line.removeprefix("data: ") for line in text.splitlines() if line.startswith("data: ")]
    assert done == "[DONE]"
    return [json.loads(line) for line in data]


async def until(true: Callable[[], bool]) -> None:
    """Wait for what comes soon, a few seconds at most."""
    async with asyncio.timeout(5):
        while not true():
            await asyncio.sleep(0.005)


async def test_whole_and_streamed_answers_are_the_same_tokens(start: Start) -> None:
    async with start() as (_, client):
        whole = (await client.post(CHAT, json=ask())).json()
        asked = ask(stream=True, stream_options={"include_usage": True})
        *steps, end, usage = chunks((await client.post(CHAT, json=asked)).text)

    assert whole["choices"][0]["message"]["content"] == WORDS
    assert [c["choices"][0]["delta"]["content"] for c in steps] == ["one", " two", " three", " four", " five"]
    assert end["choices"][0]["finish_reason"] == whole["choices"][0]["finish_reason"] == "stop"
    assert usage["usage"] | {"prompt_tokens_details": 0} == whole["usage"] | {"prompt_tokens_details": 0}
    assert usage["usage"]["completion_tokens"] == len(steps)


async def test_stop_limit_choices_tools_and_json(start: Start) -> None:
    tool = {"type": "function", "function": {"name": "add", "parameters": {"type": "object"}}}
    async with start() as (_, client):

        async def choices(**fields: Any) -> list[Any]:
            return (await client.post(CHAT, json=ask(**fields))).json()["choices"]

        (stopped,) = await choices(stop=" three")
        (cut,) = await choices(max_tokens=2)
        several = await choices(n=3)
        (called,) = await choices(tools=[tool], tool_choice="required")
        (formed,) = await choices(response_format={"type": "json_object"})
    assert (stopped["message"]["content"], stopped["finish_reason"]) == ("one two", "stop")
    assert (cut["message"]["content"], cut["finish_reason"]) == ("one two", "length")
    assert [(c["index"], c["message"]["content"]) for c in several] == [(i, WORDS) for i in range(3)]
    assert called["message"]["tool_calls"][0]["function"] == {"name": "add", "arguments": "{}"}
    assert json.loads(formed["message"]["content"]) == {}


async def test_text_completions_and_embeddings(start: Start) -> None:
    async with start() as (_, client):
        text = await client.post("/v1/completions", json={"prompt": ["a b", "c"], "echo": True})
        vectors = await client.post("/v1/embeddings", json={"model": "parrot", "input": ["a", "a", "b"]})
    assert [c["text"] for c in text.json()["choices"]] == ["a ba b", "cc"]
    first, same, other = [d["embedding"] for d in vectors.json()["data"]]
    assert first == same != other


async def test_each_agent_is_a_process_that_pays_for_its_own_calls(start: Start) -> None:
    async with start() as (_, client):
        for name in ("ann", "bob", "ann"):
            await client.post(CHAT, json=ask(), headers={"x-agent-id": name})
        listed = (await client.get("/aios/v1/processes")).json()["processes"]
    calls = {p["name"]: p["usage"]["calls"] for p in listed if p["name"] in ("ann", "bob")}
    assert calls == {"ann": 2, "bob": 1}


@pytest.mark.parametrize("stream", [True, False])
async def test_an_unknown_model_is_not_found(start: Start, stream: bool) -> None:
    async with start() as (_, client):
        response = await client.post(CHAT, json=ask(stream=stream) | {"model": "none"})
    assert response.status_code == 404
    assert response.json()["error"]["code"] == "model_not_found"


async def test_a_client_that_hangs_up_frees_its_slot(start: Start) -> None:
    async with start(slots=1, tokens_per_s=20) as (kernel, client):
        for stream in (True, False):
            call = asyncio.create_task(client.post(CHAT, json=ask("word " * 1000, stream=stream)))
            await until(lambda: kernel.status().cores[0].running == 1)
            call.cancel()
            await until(lambda: kernel.status().cores[0].running == 0)
        answer = await client.post(CHAT, json=ask("short"))
        assert answer.json()["choices"][0]["message"]["content"] == "short"


async def test_the_same_idempotency_key_gets_the_same_answer(start: Start) -> None:
    async with start() as (_, client):
        keyed = {"idempotency-key": "k1", "x-agent-id": "ann"}
        first, again = [(await client.post(CHAT, json=ask(), headers=keyed)).json() for _ in range(2)]
        assert first == again
        replayed = chunks((await client.post(CHAT, json=ask(stream=True), headers=keyed)).text)
        assert "".join(c["choices"][0]["delta"].get("content", "") for c in replayed) == WORDS
        other = await client.post(CHAT, json=ask("else"), headers=keyed)
        assert other.status_code == 409


async def test_a_killed_process_has_its_call_ended_with_the_reason(start: Start) -> None:
    async with start(tokens_per_s=20) as (_, client):
        named = {"x-agent-id": "ann"}
        call = asyncio.create_task(client.post(CHAT, json=ask("word " * 1000), headers=named))
        child = (await client.post("/aios/v1/processes", json={"name": "child"}, headers=named)).json()
        killed = await client.delete(f"/aios/v1/processes/{child['parent']}")
        response = await call
        listed = (await client.get("/aios/v1/processes?all=true")).json()["processes"]
    assert killed.status_code == 200
    assert (response.status_code, response.json()["error"]["code"]) == (409, "process_killed")
    assert {p["state"] for p in listed if p["name"] in ("ann", "child")} == {"killed"}


async def test_signals_and_nice_by_the_native_api(start: Start) -> None:
    async with start() as (_, client):
        pid = (await client.post("/aios/v1/processes", json={"name": "worker"})).json()["pid"]
        paused = await client.post(f"/aios/v1/processes/{pid}/signal", json={"signal": "pause"})
        resumed = await client.post(f"/aios/v1/processes/{pid}/signal", json={"signal": "resume"})
        nice = await client.post(f"/aios/v1/processes/{pid}/nice", json={"nice": 5})
        wrong = await client.post(f"/aios/v1/processes/{pid}/nice", json={"nice": 50})
        kernels_own = await client.delete("/aios/v1/processes/1")
    assert (paused.json()["state"], resumed.json()["state"], nice.json()["nice"]) == ("paused", "idle", 5)
    assert (wrong.status_code, wrong.json()["error"]["param"]) == (400, "nice")
    assert kernels_own.status_code == 403


async def test_strace_over_http(start: Start) -> None:
    async with start() as (_, client), client.stream("GET", "/aios/v1/events") as response:
        lines = response.aiter_lines()
        assert await anext(lines) == ": following"
        await client.post(CHAT, json=ask(), headers={"x-agent-id": "ann"})
        seen: list[str] = []
        async for line in lines:
            seen += [line.removeprefix("event: ")] if line.startswith("event: ") else []
            if "syscall.finished" in seen:
                break
    expected = ["syscall.started", "sched.queued", "sched.dispatched", "sched.first_token", "syscall.finished"]
    assert [name for name in seen if name in expected] == expected


async def test_a_draining_kernel_takes_no_calls_and_says_so(start: Start) -> None:
    async with start() as (kernel, client):
        assert (await client.get("/health")).status_code == 200
        kernel.drain()
        health = await client.get("/health")
        refused = await client.post(CHAT, json=ask(stream=True))
    assert (health.status_code, health.json()) == (503, {"status": "draining"})
    assert (refused.status_code, refused.json()["error"]["code"]) == (503, "draining")
    assert "retry-after" in refused.headers


async def test_keys_outlive_the_kernel(start: Start) -> None:
    async with start() as (kernel, _):
        key = await asyncio.to_thread(kernel.keys.create, "ann", "writers")
    async with start() as (_, client):
        await client.post(CHAT, json=ask(), headers={"authorization": f"Bearer {key}"})
        listed = (await client.get("/aios/v1/processes")).json()["processes"]
        unknown = await client.post(CHAT, json=ask(), headers={"authorization": f"Bearer {key}x"})
    assert ("ann", "writers") in [(p["name"], p["group"]) for p in listed]
    assert unknown.status_code == 401


async def test_status(start: Start) -> None:
    async with start(slots=3) as (_, client):
        status = (await client.get("/aios/v1/status")).json()
    (core,) = status["cores"]
    assert (status["state"], core["name"], core["capacity"]) == ("ready", "main", 3)
