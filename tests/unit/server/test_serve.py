"""Listening, being found, and stopping."""

from __future__ import annotations

import asyncio
import os
import signal
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest

from aios.errors import ConfigError, PortTaken
from aios.server.daemon import Daemon, announced, find_daemon
from aios.server.serve import listening, serve
from aios.syscalls import Delta

pytestmark = pytest.mark.anyio

CHAT = "/v1/chat/completions"
ASK: dict[str, Any] = {"messages": [{"role": "user", "content": "hi"}], "stream": True}


async def test_a_taken_port_is_an_error_that_names_it(stand: Any) -> None:
    async with listening(stand.kernel, port=0) as first:
        port = int(first.url.rpartition(":")[2])
        with pytest.raises(PortTaken, match=f"{port}.*--port"):
            async with listening(stand.kernel, port=port):
                pass


async def test_an_address_of_another_machine_is_refused(stand: Any) -> None:
    with pytest.raises(ConfigError, match=r"203\.0\.113\.1"):
        async with listening(stand.kernel, "203.0.113.1", 0):
            pass


async def test_listening_elsewhere_than_the_settings_say_takes_a_key(stand: Any) -> None:
    async with listening(stand.kernel, "0.0.0.0", 0) as listener, httpx.AsyncClient() as client:
        url = listener.url.replace("0.0.0.0", "127.0.0.1")
        assert (await client.get(f"{url}/v1/models")).status_code == 401


async def test_running_calls_end_well_when_the_daemon_is_stopped(stand: Any) -> None:
    go_on = asyncio.Event()
    stand.kernel.script = [Delta(content="a"), go_on, Delta(content="b")]
    ready: asyncio.Future[Daemon] = asyncio.get_running_loop().create_future()
    daemon_task = asyncio.create_task(serve(stand.kernel, port=0, on_ready=ready.set_result))
    daemon = await ready
    state_dir = stand.kernel.settings.state_dir()
    assert find_daemon(state_dir) == daemon
    assert stat.S_IMODE((state_dir / "daemon.json").stat().st_mode) == 0o600

    async with httpx.AsyncClient(base_url=daemon.url) as client:
        async with client.stream("POST", CHAT, json=ASK) as response:
            lines = response.aiter_lines()
            assert '"a"' in await anext(lines)
            os.kill(os.getpid(), signal.SIGTERM)
            await asyncio.wait_for(stand.kernel.drained.wait(), 5)
            go_on.set()
            rest = [line async for line in lines if line]
        assert '"b"' in rest[0]
        assert rest[-1] == "data: [DONE]"
        assert await daemon_task == int(daemon.url.rpartition(":")[2])
        with pytest.raises(httpx.ConnectError):
            await client.get("/health")
    assert find_daemon(state_dir) is None


@pytest.mark.parametrize("stream", [True, False])
async def test_calls_that_outlast_the_drain_are_cancelled_and_told(make_stand: Any, stream: bool) -> None:
    stand = make_stand(drain_s=0.0)
    stand.kernel.script = [Delta(content="a"), asyncio.Event()]
    async with httpx.AsyncClient() as client:
        async with listening(stand.kernel, port=0) as listener:
            call = asyncio.create_task(client.post(listener.url + CHAT, json={**ASK, "stream": stream}))
            await asyncio.wait_for(stand.kernel.called.wait(), 5)
        assert stand.kernel.cancelled.is_set()
        response = await call
    assert response.status_code == (200 if stream else 503)
    assert '"code":"draining"' in response.text


async def test_a_second_signal_stops_without_waiting(stand: Any) -> None:
    stand.kernel.script = [asyncio.Event()]
    ready: asyncio.Future[Daemon] = asyncio.get_running_loop().create_future()
    daemon_task = asyncio.create_task(serve(stand.kernel, port=0, on_ready=ready.set_result))
    async with httpx.AsyncClient(base_url=(await ready).url) as client:
        call = asyncio.create_task(client.post(CHAT, json=ASK))
        await asyncio.wait_for(stand.kernel.called.wait(), 5)
        for _ in range(2):
            os.kill(os.getpid(), signal.SIGTERM)
            await asyncio.wait_for(stand.kernel.drained.wait(), 5)
        await asyncio.wait_for(daemon_task, 10)  # drain_s is 30
        assert (await call).status_code == 503


def test_a_dead_daemon_is_not_found(tmp_path: Path) -> None:
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    with announced(tmp_path, Daemon(pid=dead.pid, url="http://127.0.0.1:1", token="t")):
        assert find_daemon(tmp_path) is None
    with announced(tmp_path, Daemon(pid=os.getpid(), url="http://127.0.0.1:1", token="t")) as _:
        found = find_daemon(tmp_path)
        assert found is not None
        assert found.token == "t"
    (tmp_path / "daemon.json").write_text("{")
    assert find_daemon(tmp_path) is None
