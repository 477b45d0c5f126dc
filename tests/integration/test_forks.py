"""`Client.fork`: the child's calls are those of the process that was made, with a key and without."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from tests.kernels import settings

from aios.errors import AiosError, Forbidden, LimitExceeded
from aios.kernel.kernel import Kernel
from aios.kernel.pcb import Process
from aios.sdk.client import AsyncClient, Client
from aios.server.serve import listening
from aios.syscalls import Limits, PlanStep

pytestmark = pytest.mark.anyio
TOKEN = "aios-daemon-token"


def say(text: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": text}]


@asynccontextmanager
async def served(folder: Path) -> AsyncGenerator[tuple[Kernel, str]]:
    async with (
        Kernel(settings(folder)) as kernel,
        listening(kernel, port=0, admin_token=TOKEN) as at,
    ):
        yield kernel, at.url


def only(kernel: Kernel, name: str) -> Process:
    """The one process of that name."""
    (found,) = [info for info in kernel.processes.list() if info.name == name]
    return kernel.processes.get(found.pid)


KEYLESS, OF_THE_KEY, OTHER, UNNAMED, DAEMONS = (
    "keyless",
    "named as its key",
    "named otherwise",
    "unnamed",
    "daemon",
)
WHOSE = {KEYLESS: "pool", OF_THE_KEY: "pool", OTHER: "pool/web", UNNAMED: "pool", DAEMONS: "pool"}


def client(kernel: Kernel, url: str, way: str) -> AsyncClient:
    key = {KEYLESS: None, DAEMONS: TOKEN}.get(way) or kernel.keys.create("pool") if way != KEYLESS else None
    agent = {OTHER: "web", UNNAMED: None}.get(way, "pool")
    return AsyncClient(url, api_key=key, agent=agent, retries=0)


@pytest.mark.parametrize("way", WHOSE)
@pytest.mark.parametrize("group", ["default", "default/few"])
async def test_a_childs_calls_are_the_childs(tmp_path: Path, way: str, group: str) -> None:
    async with served(tmp_path) as (kernel, url), client(kernel, url, way) as parent:
        await parent.chat(say("hello"))
        kid = await parent.fork(
            "kid0", group=group, scheduling_class="batch", nice=7, limits=Limits(calls=3), program="crew"
        )
        async with kid, await kid.fork("kid1") as grandchild:
            await kid.plan([PlanStep(name="one"), PlanStep(name="two")])
            await kid.chat(say("one"))
            await grandchild.chat(say("two"))
            made = only(kernel, f"{WHOSE[way]}/kid0")
            assert (made.parent.name, made.group, made.program) == (WHOSE[way], group, "crew")
            assert (made.scheduling_class, made.nice, made.usage.calls) == ("batch", 7, 2)  # the fork is one
            below = only(kernel, f"{WHOSE[way]}/kid0/kid1")
            assert (below.parent, below.group, below.usage.calls) == (made, group, 1)
            with pytest.raises(LimitExceeded):  # what is below it is charged to it too
                await grandchild.chat(say("three"))
        names = [info.name for info in kernel.processes.list() if "pool" in info.name]
        assert all(name.count("pool") == 1 for name in names), names


async def test_the_blocking_client_forks_as_well(tmp_path: Path) -> None:
    async with served(tmp_path) as (kernel, url):
        key = kernel.keys.create("pool", "research")

        def work() -> None:
            with Client(url, api_key=key, agent="pool") as parent, parent.fork("kid0", nice=3) as kid:
                kid.chat(say("hello"))

        await asyncio.to_thread(work)
        made = only(kernel, "pool/kid0")
        assert (made.parent.name, made.group, made.nice, made.usage.calls) == ("pool", "research", 3, 1)


async def test_a_child_only_loses_rights(tmp_path: Path) -> None:
    async with served(tmp_path) as (kernel, url), client(kernel, url, OF_THE_KEY) as parent:
        kid = await parent.fork("kid0", rights=("llm.*", "process.spawn"), limits=Limits(calls=9))
        async with kid, await kid.fork("kid1", rights=("storage.*", "llm.*")) as grandchild:
            await kid.chat(say("hello"))
            for each in (kid, grandchild):
                with pytest.raises(Forbidden, match="without the right"):
                    await each.files.write("/a", "x")
            for more in ({"limits": Limits(calls=10)}, {"group": "admin"}, {"group": "research"}):
                with pytest.raises(Forbidden):
                    await kid.fork("more", **more)
        await parent.files.write("/a", "x")


async def test_a_key_names_nobody_elses_child(tmp_path: Path) -> None:
    async with served(tmp_path) as (kernel, url), client(kernel, url, OF_THE_KEY) as parent:
        async with await parent.fork("kid0", group="default/few", limits=Limits(calls=0)):
            pass
        other = kernel.keys.create("eve", "ops")
        for said in ("pool", "pool/kid0", "poolside"):
            async with AsyncClient(url, api_key=other, agent=said, retries=0) as eve:
                await eve.spawn("pool/kid0")
                await eve.chat(say("hello"))
        names = {(info.group, info.name) for info in kernel.processes.list()}
        assert {(g, n) for g, n in names if g == "ops"} == {
            ("ops", f"eve/{name}") for name in ("pool", "pool/kid0", "poolside")
        }
        for key, agent in ((None, "pool"), (None, "pool/kid0"), ("aios-wrong", "pool")):
            async with AsyncClient(url, api_key=key, agent=agent, retries=0) as nobody:
                with pytest.raises(AiosError, match="key"):
                    await nobody.chat(say("hello"))
