"""The kernel as an MCP server, asked by the official client: over HTTP, and over stdio as a client starts
it."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from mcp import Client, StdioServerParameters
from mcp.client.streamable_http import streamable_http_client
from mcp.shared._httpx_utils import create_mcp_http_client
from tests.kernels import settings, until

from aios.events import SyscallFinished
from aios.kernel.kernel import Kernel
from aios.server.daemon import Daemon, announced
from aios.server.serve import listening
from aios.tools.tool import tool

pytestmark = pytest.mark.anyio

Connect = Callable[..., AbstractAsyncContextManager[Client]]
TABLES = {"access": {"ask": []}, "memory": {"thinking": "extract", "embedder": "none"}}


@pytest.fixture
async def kernel(tmp_path: Path) -> AsyncGenerator[Kernel]:
    async with Kernel(settings(tmp_path / "state", **TABLES)) as kernel:
        yield kernel


@pytest.fixture
async def url(kernel: Kernel) -> AsyncGenerator[str]:
    async with listening(kernel, port=0) as listener:
        yield listener.url


@asynccontextmanager
async def over_http(url: str, agent: str = "", mode: Any = "auto", **headers: str) -> AsyncGenerator[Client]:
    if agent:
        headers["X-Agent-Id"] = agent
    async with (
        create_mcp_http_client(headers=headers) as http,
        Client(streamable_http_client(f"{url}/mcp", http_client=http), mode=mode) as client,
    ):
        yield client


@asynccontextmanager
async def over_stdio(url: str, agent: str, key: str = "", **env: str) -> AsyncGenerator[Client]:
    env |= {"AIOS_BASE_URL": url, **({"AIOS_API_KEY": key} if key else {})}
    name = ["--agent", agent] if agent else []
    parameters = StdioServerParameters(
        command=sys.executable, args=["-m", "aios.cli.main", "mcp", *name], env=env
    )
    async with Client(parameters) as client:
        yield client


async def use(client: Client, name: str, /, **arguments: Any) -> str:
    told = await client.call_tool(name, arguments)
    assert not told.is_error, told.content
    return told.content[0].text


async def refused(client: Client, name: str, /, **arguments: Any) -> str:
    told = await client.call_tool(name, arguments)
    assert told.is_error
    return told.content[0].text


async def works_with_what_it_knows_and_keeps(ann: Client, bob: Client) -> None:
    tools = {tool.name: tool for tool in (await ann.list_tools()).tools}
    assert {"calculator", "remember", "recall", "read_file", "write_file"} <= tools.keys()
    assert "trap" not in tools["recall"].input_schema["properties"]
    read_only = {name for name, tool in tools.items() if tool.annotations and tool.annotations.read_only_hint}
    assert {"recall", "read_file"} <= read_only
    assert not {"write_file", "remember"} & read_only
    assert await use(ann, "calculator", expression="6*7") == "42"
    assert "Remembered" in await use(ann, "remember", text="The deploy key rotates on Mondays.", tags=["ops"])
    assert "Mondays" in await use(ann, "recall", query="deploy key")
    assert await use(bob, "recall", query="deploy key") == "Nothing was found."
    assert "version" in await use(ann, "write_file", path="/plan.md", text="ship it")
    assert await use(ann, "read_file", path="/plan.md") == "ship it"
    assert "/plan.md" in await refused(bob, "read_file", path="/plan.md")


@pytest.mark.parametrize("mode", ["auto", "legacy"])
async def test_over_http(url: str, mode: str) -> None:
    async with over_http(url, "ann", mode) as ann, over_http(url, "bob", mode) as bob:
        await works_with_what_it_knows_and_keeps(ann, bob)


async def test_over_stdio(url: str) -> None:
    async with over_stdio(url, "ann") as ann, over_http(url, "bob") as bob:
        await works_with_what_it_knows_and_keeps(ann, bob)
        assert "nearest" in await refused(ann, "calculater")


async def test_over_stdio_the_key_says_who_it_is(kernel: Kernel, url: str) -> None:
    key = await asyncio.to_thread(kernel.keys.create, "ann")
    async with over_stdio(url, "", key) as ann:
        await use(ann, "write_file", path="/a", text="mine")
    (process,) = [info for info in kernel.processes.list() if info.name == "ann"]
    assert process.usage.calls == 1  # of storage: the tool is not counted besides


async def test_every_tool_of_memory_and_files(url: str) -> None:
    async with over_http(url, "ann") as ann:
        kept = await use(ann, "add_memory", text="verbatim  text", name="raw")
        assert await use(ann, "read_memory", id=kept.split()[-1].rstrip(".")) == "verbatim  text"
        assert await use(ann, "memory_blocks") == "There are no blocks."
        assert "persona" in await refused(ann, "edit_memory", block="persona", text="kind")
        await use(ann, "write_file", path="/a/b.txt", text="é" * 3_000)
        first = await use(ann, "read_file", path="/a/b.txt", offset=1)
        assert first.endswith("(of 6000 bytes; read on at 4000)")  # not at 4001, amid a character
        assert await use(ann, "read_file", path="/a/b.txt", offset=4_000) == "é" * 1_000
        await use(ann, "append_file", path="/a/b.txt", text="zebra")
        assert await use(ann, "move_file", path="/a/b.txt", to="/c.txt") == "/c.txt"
        assert await use(ann, "list_files") == "/a/\n/c.txt"
        assert "bin" in await use(ann, "delete_file", path="/c.txt")
        assert await use(ann, "find_files", query="zebra") == "None."


async def test_what_goes_wrong_is_told_as_what_to_mend(url: str) -> None:
    async with over_http(url, "ann") as ann:
        assert "expression" in await refused(ann, "calculator", sum=1)
        assert "read_file failed" in await refused(ann, "read_file", path="/../x")
        assert "calculator" in await refused(ann, "calculater", expression="1")


async def test_each_call_is_a_syscall_of_the_agent(kernel: Kernel, url: str) -> None:
    async with over_http(url, "ann") as ann:
        with kernel.bus.subscribe() as events:
            await use(ann, "write_file", path="/a", text="x")
            told = [(e.kind, e.pid) for e in events.unread() if isinstance(e, SyscallFinished)]
    pid = kernel.processes.attach("ann")
    assert told == [("storage.write", pid), ("tool.call", pid)]


async def test_rules_for_the_syscall_hold_for_the_tool(tmp_path: Path) -> None:
    rules = tmp_path / "rules.toml"
    rules.write_text(
        '[[rules]]\nid = "no-writing"\neffect = "deny"\nactions = ["storage.write"]\nwhy = "Reading only."\n'
        'match = [{ action = "storage.write", resource = "file:/a" }]\n'
        'not_match = [{ action = "storage.read", resource = "file:/a" }]\n'
    )
    tables = {**TABLES, "access": {"rules": [str(rules)]}}
    async with (
        Kernel(settings(tmp_path / "state", **tables)) as kernel,
        listening(kernel, port=0) as listener,
        over_http(listener.url, "ann") as ann,
    ):
        assert "Reading only." in await refused(ann, "write_file", path="/a", text="x")
        assert await use(ann, "list_files") == "The folder is empty."


async def test_a_tool_does_not_wait_for_the_place_it_holds(tmp_path: Path) -> None:
    tables = {
        "memory": {"thinking": "model", "embedder": "none"},
        "processes": {"limits": {"concurrency": 1}},
    }  # the note asks a model, for the same process
    async with (
        Kernel(settings(tmp_path / "state", **tables)) as kernel,
        listening(kernel, port=0) as listener,
        over_http(listener.url, "ann") as ann,
        asyncio.timeout(20),
    ):
        await use(ann, "remember", text="green tea")


async def test_a_secret_is_kept_as_its_handle(kernel: Kernel, url: str) -> None:
    await asyncio.to_thread(kernel.guard.vault.put, "token", "s3cr3t-value", agents=("ann",))
    async with over_http(url, "ann") as ann:
        await use(ann, "write_file", path="/a", text="use {{secret:token}}")
    stored = await kernel.managers.storage.files.read("default:ann", "/a")
    assert stored.data == b"use {{secret:token}}"


ASK: dict[str, Any] = {"jsonrpc": "2.0", "id": 1, "method": "tools/list", "params": {}}
TALKS = {"Accept": "application/json, text/event-stream"}


async def test_who_may_not_call_is_told_so_before_any_mcp(kernel: Kernel, url: str) -> None:
    await asyncio.to_thread(kernel.keys.create, "ann")
    async with httpx.AsyncClient(base_url=url, headers=TALKS) as client:
        stolen = await client.post("/mcp", json=ASK, headers={"X-Agent-Id": "ann"})
        assert (stolen.status_code, stolen.json()["error"]["code"]) == (401, "invalid_api_key")
        unknown = await client.post("/mcp", json=ASK, headers={"Authorization": "Bearer aios-x"})
        assert unknown.status_code == 401
        for header in ({"Host": "evil.example"}, {"Origin": "https://evil.example"}, {"Origin": "null"}):
            assert (await client.post("/mcp", json=ASK, headers=header)).status_code == 403
        assert (await client.get("/mcp")).status_code == 405  # no stream without a request
        plain = await client.post("/mcp", json=ASK, headers={"X-Agent-Id": "bob"})
        assert plain.json()["result"]["tools"]
        junk = await client.post("/mcp", content=b"{", headers={"Content-Type": "application/json"})
        assert junk.status_code == 400


@pytest.mark.parametrize("mode", ["auto", "legacy"])
async def test_a_client_that_hangs_up_ends_its_call(kernel: Kernel, url: str, mode: str) -> None:
    began, ended = asyncio.Event(), asyncio.Event()

    @tool
    async def sleepy() -> str:
        """Sleep."""
        began.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()
        return ""

    kernel._need().tools._tools.add(sleepy)
    async with over_http(url, "ann", mode) as ann, asyncio.TaskGroup() as tasks:
        call = tasks.create_task(ann.call_tool("sleepy", {}))
        await began.wait()
        call.cancel()
    async with asyncio.timeout(10):
        await ended.wait()
    await until(lambda: not kernel.status().active_calls)


async def test_nothing_is_left_running(kernel: Kernel) -> None:
    before = asyncio.all_tasks()
    async with listening(kernel, port=0) as listener:
        for mode in ("auto", "legacy"):
            async with over_http(listener.url, "ann", mode) as ann:
                await use(ann, "clock")
    await until(lambda: asyncio.all_tasks() <= before)


async def test_the_command_finds_the_daemon_and_says_what_is_wrong(kernel: Kernel, url: str) -> None:
    state = str(kernel.settings.state_dir())
    command = [sys.executable, "-m", "aios.cli.main", "mcp", "--state-dir", state]

    async def run(**env: str) -> tuple[int, str]:
        clean = {name: value for name, value in os.environ.items() if not name.startswith("AIOS_")}
        process = await asyncio.create_subprocess_exec(
            *command, env=clean | env, stdin=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.PIPE
        )
        told = (await process.communicate())[1].decode()
        assert process.returncode is not None
        return process.returncode, told

    status, told = await run()
    assert (status, "Start one: aios serve" in told) == (3, True)
    with announced(Path(state), Daemon(pid=os.getpid(), url=url, token="aios-daemon-x")):
        assert (await run())[0] == 0  # stdin ended at once
        assert "mcp" in {info.name for info in kernel.processes.list()}
        status, told = await run(AIOS_API_KEY="aios-unknown")
        assert (status, "This key is not known." in told) == (5, True)
