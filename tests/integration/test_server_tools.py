"""Tools over HTTP and through the SDK, with the real kernel and a scripted core."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.kernels import settings

from aios.errors import Forbidden, NotFound, ToolError
from aios.kernel.kernel import Kernel
from aios.sdk.client import AsyncClient, Client
from aios.sdk.tool import tool
from aios.server.serve import listening
from aios.syscalls.tools import RemoveTools, ToolSource

pytestmark = pytest.mark.anyio


@pytest.fixture
async def kernel(tmp_path: Path) -> AsyncGenerator[Kernel]:
    async with Kernel(settings(tmp_path)) as kernel:
        yield kernel


@pytest.fixture
async def url(kernel: Kernel) -> AsyncGenerator[str]:
    async with listening(kernel, port=0) as listener:
        yield listener.url


def user(text: str) -> list[dict[str, Any]]:
    return [{"role": "user", "content": text}]


async def test_tools_over_http(url: str) -> None:
    async with httpx.AsyncClient(base_url=url, headers={"X-Agent-Id": "ann"}) as client:
        listed = (await client.get("/aios/v1/tools")).json()["tools"]
        assert {"calculator", "python", "shell"} <= {tool["name"] for tool in listed}
        assert (await client.get("/aios/v1/tools/clock")).json()["effect"] == "idempotent"
        done = await client.post("/aios/v1/tools/calculator/call", json={"arguments": {"expression": "2+3"}})
        assert (done.status_code, done.json()["value"], done.json()["type"]) == (200, 5, "tool_result")
        key = {"Idempotency-Key": "k"}
        once = [(await client.post("/aios/v1/tools/clock/call", headers=key)).json() for _ in range(2)]
        assert once[0] == once[1]
        wrong = await client.post("/aios/v1/tools/calculator/call", json={"arguments": {"sum": 1}})
        assert (wrong.status_code, wrong.json()["error"]["code"]) == (422, "tool_error")
        assert (await client.post("/aios/v1/tools/nosuch/call", json={})).status_code == 404
        same = {"call": "tool.call", "name": "calculator", "arguments": {"expression": "1"}}
        assert (await client.post("/aios/v1/syscalls", json=same)).json()["text"] == "1"


async def test_only_admins_change_what_tools_there_are(kernel: Kernel, url: str) -> None:
    key = await asyncio.to_thread(kernel.keys.create, "ann")
    async with AsyncClient(url, agent="passer-by", retries=0) as nobody:
        with pytest.raises(Forbidden, match="shows a key"):
            await nobody.tools.add(ToolSource(name="x", kind="mcp", command="true"))
        with pytest.raises(Forbidden, match="shows a key"):
            await nobody.tools.remove("clock")
    boss = await asyncio.to_thread(kernel.keys.create, "boss", "admin")
    async with AsyncClient(url, api_key=boss, retries=0) as client:
        assert [tool.name for tool in await client.tools.add(ToolSource(name="arxiv", kind="package"))] == [
            "arxiv__search"
        ]
        assert "arxiv__search" not in {tool.name for tool in await client.tools.remove("arxiv")}
    async with AsyncClient(url, api_key=key, retries=0) as ann:
        assert (await ann.tools.call("calculator", expression="1+1")).value == 2
        with pytest.raises(Forbidden):
            await ann.tools.add(ToolSource(name="x", kind="mcp", command="true"))
        with pytest.raises(Forbidden):
            await ann.tools.remove("calculator")
        with pytest.raises(Forbidden):
            await ann.syscall(RemoveTools(name="clock"))


async def test_the_kernel_runs_model_and_tools_in_one_request(kernel: Kernel, url: str) -> None:
    async with AsyncClient(url, agent="ann", retries=0) as client:
        run = await client.run_tools(user("what time"), ["clock"], tool_choice="required")
        assert [m.role for m in run.messages] == ["assistant", "tool", "assistant"]
        assert '"zone":"UTC"' in (run.messages[1].content or "")
        assert (run.messages[2].content, run.turns, run.finished) == ("what time", 2, True)
        assert run.usage.completion_tokens > run.completion.usage.completion_tokens
        wrong = await client.run_tools(user("sum"), ["calculator"], tool_choice="required")
        assert (wrong.messages[1].content or "").startswith("Error: ")
        cut = await client.run_tools(user("time"), ["clock"], tool_choice="required", max_turns=1)
        assert (cut.turns, cut.finished) == (1, False)
        with pytest.raises(NotFound):
            await client.run_tools(user("x"), ["nosuch"])
    (ann,) = [p for p in kernel.processes.list() if p.name == "ann"]
    assert ann.usage.calls == 8  # five of the model, three of tools


async def test_a_run_that_is_sent_twice_runs_its_tools_once(kernel: Kernel, url: str) -> None:
    body = {
        "chat": {"messages": user("x"), "idempotency_key": "k"}, "tools": ["clock"], "tool_choice": "=clock",
    }  # fmt: skip
    async with httpx.AsyncClient(base_url=url, headers={"X-Agent-Id": "ann"}) as client:
        runs = [(await client.post("/aios/v1/runs", json=body)).json() for _ in range(2)]
    assert runs[0]["messages"] == runs[1]["messages"]


@tool
def add(a: int = 20, b: int = 22) -> int:
    """Add."""
    return a + b


@tool
def broken() -> int:
    """Fail."""
    raise ToolError("It is out of order.", "Do without it.")


async def test_functions_of_the_program_and_tools_of_the_kernel_together(url: str) -> None:
    async with AsyncClient(url, agent="ann", retries=0) as client:
        choose = {"type": "function", "function": {"name": "clock"}}
        run = await client.run_tools(user("hi"), [add, "clock"], tool_choice=choose)
        assert '"zone":"UTC"' in (run.messages[1].content or "")
        failed = await client.run_tools(user("hi"), [broken], tool_choice="required")
        assert failed.messages[1].content == "Error: It is out of order. Do without it."

    def sync() -> tuple[list[str | None], Any]:
        with Client(url, agent="bob", retries=0) as client:
            run = client.run_tools(user("hi"), [add], tool_choice="required")
            return [m.content for m in run.messages], client.tools.call("calculator", expression="2**5").value

    told, value = await asyncio.to_thread(sync)
    assert told[1:] == ["42", "hi"]
    assert value == 32
