"""Streams over real sockets: hang-ups, heartbeats, the end of the kernel."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator
from typing import Any

import httpx
import pytest

from aios.errors import CoreUnavailable
from aios.events import Lost, Queued
from aios.server import sse
from aios.server.serve import listening
from aios.syscalls import Delta

pytestmark = pytest.mark.anyio

CHAT = "/v1/chat/completions"
ASK: dict[str, Any] = {"messages": [{"role": "user", "content": "hi"}]}


@pytest.fixture
async def client(stand: Any) -> AsyncGenerator[httpx.AsyncClient]:
    async with (
        listening(stand.kernel, port=0) as listener,
        httpx.AsyncClient(base_url=listener.url, timeout=10) as client,
    ):
        yield client


async def next_frame(lines: Any) -> list[str]:
    """The lines up to the next empty one."""
    frame: list[str] = []
    async for line in lines:
        if not line:
            break
        frame.append(line)
    return frame


async def test_tokens_are_seen_as_they_come(stand: Any, client: httpx.AsyncClient) -> None:
    more = asyncio.Event()
    stand.kernel.script = [Delta(content="a"), more, Delta(content="b")]
    async with client.stream("POST", CHAT, json={**ASK, "stream": True}) as response:
        lines = response.aiter_lines()
        (first,) = await next_frame(lines)  # while the second is not there yet
        assert '"content":"a"' in first
        more.set()
        (second,) = await next_frame(lines)
        assert '"content":"b"' in second


@pytest.mark.parametrize("script", [[asyncio.Event()], [Delta(content="a"), asyncio.Event()]])
async def test_a_client_that_hangs_up_cancels_its_stream(
    stand: Any, client: httpx.AsyncClient, script: Any
) -> None:
    stand.kernel.script = script
    with pytest.raises(httpx.ReadTimeout):
        async with client.stream("POST", CHAT, json={**ASK, "stream": True}, timeout=0.2) as response:
            await response.aread()
    await asyncio.wait_for(stand.kernel.cancelled.wait(), 5)


@pytest.mark.parametrize("path", [CHAT, "/v1/completions", "/aios/v1/syscalls"])
async def test_a_client_that_hangs_up_cancels_its_call(
    stand: Any, client: httpx.AsyncClient, path: str
) -> None:
    stand.kernel.script = [asyncio.Event()]
    asked = {**ASK, "prompt": ["a", "b"], "call": "llm.generate"}
    if path == "/aios/v1/syscalls":
        del asked["prompt"]
    with pytest.raises(httpx.ReadTimeout):
        await client.post(path, json=asked, timeout=0.2)
    await asyncio.wait_for(stand.kernel.cancelled.wait(), 5)
    assert (await client.get("/health")).status_code == 200


async def collect(frames: AsyncGenerator[bytes, None], **options: Any) -> list[bytes]:
    """What a client that stays reads of an EventStream."""
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    async def receive() -> Any:
        await asyncio.Event().wait()

    await sse.EventStream(frames, **options)({"type": "http"}, receive, send)
    assert sent[0]["type"] == "http.response.start"
    assert [m["more_body"] for m in sent[1:]] == [True] * (len(sent) - 2) + [False]
    return [m["body"] for m in sent[1:-1]]


async def slow(*steps: bytes | float | Exception) -> AsyncGenerator[bytes, None]:
    for step in steps:
        if isinstance(step, Exception):
            raise step
        if isinstance(step, float):
            await asyncio.sleep(step)
        else:
            yield step


async def test_heartbeats_keep_a_client_waiting_until_the_first_token() -> None:
    sent = await collect(slow(0.2, b"a", 0.2, b"b"), interval=0.05)
    beats = len(sent) - 2
    assert beats >= 1
    assert sent == [b": waiting\n\n"] * beats + [b"a", b"b"]


async def test_heartbeats_all_along() -> None:
    sent = await collect(slow(b"a", 0.2, b"b"), interval=0.05, all_along=True, heartbeat=b": alive\n\n")
    assert sent[0] == b"a"
    assert sent[1:-1] == [b": alive\n\n"] * (len(sent) - 2) != []


async def test_an_error_after_a_heartbeat_is_told_in_the_stream() -> None:
    *_, last = await collect(slow(0.2, CoreUnavailable("Gone.")), interval=0.05)
    assert json.loads(last.removeprefix(b"data: "))["error"]["code"] == "core_unavailable"


async def test_attendance_leaves_foreign_cancellations_alone() -> None:
    async def never() -> Any:
        await asyncio.Event().wait()

    async def work() -> None:
        async with sse.Attendance(never):
            await asyncio.Event().wait()

    task = asyncio.create_task(work())
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_events_are_followed_and_filtered(stand: Any, client: httpx.AsyncClient) -> None:
    publish = stand.kernel.bus.publish
    stand.kernel.processes.add("first", "default")
    stand.kernel.processes.add("second", "default")
    async with (
        client.stream("GET", "/aios/v1/events") as every,
        client.stream("GET", "/aios/v1/events?pid=2") as second,
    ):
        lines, filtered = every.aiter_lines(), second.aiter_lines()
        assert await next_frame(lines) == await next_frame(filtered) == [": following"]
        publish(Queued(pid=1, core="main"))
        publish(Queued(pid=2, core="main", waiting=3))
        publish(Lost(count=4))
        first = await next_frame(lines)
        assert first[:2] == ["id: 1", "event: sched.queued"]
        event = json.loads(first[2].removeprefix("data: "))
        assert (event["event"], event["pid"], event["seq"], event["core"]) == ("sched.queued", 1, 1, "main")
        assert json.loads((await next_frame(filtered))[2].removeprefix("data: "))["waiting"] == 3
        assert (await next_frame(filtered))[1] == "event: bus.lost"  # whom it concerned is lost too

        stand.kernel.drain()
        assert "draining" in [line async for line in filtered][2]  # and there the stream ends


async def test_events_of_a_process_that_is_not_are_none(client: httpx.AsyncClient) -> None:
    assert (await client.get("/aios/v1/events?pid=77")).status_code == 404


async def test_a_huge_body_is_answered_while_it_is_sent(make_stand: Any) -> None:
    stand = make_stand(max_body_mb=0.1)
    async with listening(stand.kernel, port=0) as listener, httpx.AsyncClient(base_url=listener.url) as client:
        response = await client.post(CHAT, content=b" " * 5_000_000)
        assert response.status_code == 413
