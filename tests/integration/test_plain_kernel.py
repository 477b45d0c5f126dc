"""`aios do` through a kernel's HTTP, with a scripted core as the planner."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest
from tests.kernels import settings

from aios.cli.exits import Exit
from aios.cli.main import _run
from aios.config import CoreSettings
from aios.cores.scripted import ScriptedCore
from aios.events import EventBus
from aios.kernel.kernel import Kernel
from aios.sdk.client import AsyncClient
from aios.sdk.plain.plan import Delete, Find, Move, encoded
from aios.server.serve import listening
from aios.syscalls import Generate

pytestmark = pytest.mark.anyio
PLANS = {
    "gather the notes about caching": (
        Find("the notes about caching"),
        Move("the notes about caching", "caching"),
    ),
    "delete the todo": (Delete("the todo"),),
}
TOKEN = "the operator's"
Say = Callable[..., Coroutine[Any, Any, int]]


def plans(call: Generate, choice: int) -> str:
    said = (call.messages[-1].content or "").rpartition("Command: ")[2]
    return encoded(PLANS[said])


@pytest.fixture
async def user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncGenerator[AsyncClient]:
    core = ScriptedCore(
        CoreSettings(name="main", kind="scripted", models=("parrot",)), EventBus(), script=plans
    )
    made = settings(tmp_path, memory={"thinking": "extract", "embedder": "none"})
    async with (
        Kernel(made, cores=[core]) as kernel,
        listening(kernel, port=0, admin_token=TOKEN) as listener,
        AsyncClient(listener.url, agent="user") as client,
    ):
        monkeypatch.setattr(
            "aios.cli.do.connect_async",
            lambda state_dir, agent: AsyncClient(listener.url, api_key=TOKEN, agent=agent),
        )
        await client.files.write("/notes/a.md", "A cache is warm; caching pays.")
        await client.files.write("/todo.txt", "- rest")
        while (await client.files.find("caching"))[:1] == []:
            await asyncio.sleep(0.01)
        yield client


async def test_a_command_is_done_and_taken_back(user: AsyncClient, capsys: pytest.CaptureFixture[str]):
    assert await _said("do", "gather the notes about caching") == Exit.OK
    shown = capsys.readouterr()
    assert "move /notes/a.md -> /caching/a.md" in shown.err
    assert shown.out == "/notes/a.md\n"
    assert await user.files.read("/caching/a.md")
    assert await _said("do", "--undo") == Exit.OK
    assert await user.files.read("/notes/a.md")
    assert not [entry async for entry in user.files.list("/") if entry.path == "/caching"]


async def test_what_destroys_is_refused_where_nobody_can_be_asked(user: AsyncClient):
    assert await _said("do", "delete", "the", "todo") == Exit.REFUSED
    assert await _said("do", "--dry-run", "delete the todo") == Exit.OK
    assert await user.files.read("/todo.txt") == b"- rest"
    assert await _said("do", "--yes", "delete the todo") == Exit.OK
    assert [entry.path async for entry in user.files.list("/") if entry.kind == "file"] == []


async def test_no_words_are_a_usage_error():
    assert await _said("do") == Exit.USAGE


async def _said(*words: str) -> int:
    return await asyncio.to_thread(_run, list(words))
