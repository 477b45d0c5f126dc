"""Every way from one agent to what another one owns is tried, and none leads there.

The attempts are those of tests/estate.py for all kinds of syscalls there are; they go through the kernel, HTTP,
both SDK clients and the CLI, as agents near and far."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator, Awaitable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, get_args
from urllib.parse import quote

import httpx
import msgspec
import pytest
from tests.estate import (
    GROUP,
    NAME,
    PATHS,
    PRIVATE,
    SHARED,
    Estate,
    answered,
    attempts,
    guarded,
    holds,
    photograph,
    plant,
)

from aios.errors import AiosError, Conflict, Forbidden, NotFound, Unauthenticated
from aios.kernel.kernel import Kernel
from aios.sdk.client import AsyncClient, Client
from aios.server.app import create_app
from aios.server.serve import listening
from aios.syscalls import READ_ONLY, Call, Syscall, kind

pytestmark = pytest.mark.anyio
TOKEN = "aios-daemon-token"
REFUSED = (NotFound, Forbidden, Unauthenticated)
KINDS = frozenset(get_args(Syscall))
NEAR, FAR, BELOW = ("bob", GROUP), ("eve", "ops"), ("web", f"{GROUP}/web")
LIKE_HER = (f"{NAME}/x", NAME.upper(), f"{NAME} ", f"{GROUP}:{NAME}", "аnn")
"""Names that may be taken for the owner's (one has a Cyrillic letter)."""


@asynccontextmanager
async def owned(folder: Path, **server: Any) -> AsyncGenerator[Estate]:
    """A kernel with an owner, whose estate is as it was at the end, and that asks before it loses anything."""
    async with (
        Kernel(guarded(folder, asking=True, server={"drain_s": 0, **server})) as kernel,
        planted(kernel) as estate,
    ):
        yield estate


@asynccontextmanager
async def planted(kernel: Kernel) -> AsyncGenerator[Estate]:
    estate = await plant(kernel)
    before = await photograph(estate)
    async with answered(kernel, "deny", but=estate.agent) as asked:
        yield estate
    # All of them were about what belongs to who asked: nobody is bothered with what is refused anyway.
    for question in asked:
        assert not holds(question, PRIVATE, *estate.entries.values()), question
    after = await photograph(estate)
    for what in before:
        assert after[what] == before[what]
    assert not estate.parked.done()
    estate.parked.cancel()


class Outcomes:
    """Counts what was refused to somebody of `group`. An attempt may end in an answer, if nothing of the owner
    is in it: agents have files and memories of their own."""

    def __init__(self, estate: Estate, group: str) -> None:
        self._marks = (PRIVATE,) if group == GROUP else (PRIVATE, SHARED)
        self._ids = tuple(estate.entries.values())
        self.by_kind: Counter[str] = Counter()

    async def judge(self, call: Call[Any], attempt: Awaitable[Any]) -> None:
        marks = self._marks
        try:
            answer = await attempt
            marks += self._ids
        except AiosError as error:
            answer = error
        told = str(answer) if isinstance(answer, AiosError) else answer
        assert not holds(told, *marks), f"{call} gave {told}"
        assert type(answer) is not AiosError, f"{call} met a defect: {told}"
        if not isinstance(answer, AiosError) or isinstance(answer, REFUSED):
            self.by_kind[kind(call)] += 1  # any other error says that the call is wrong in itself

    def complete(self, least: int) -> None:
        assert {str(each.__struct_config__.tag) for each in KINDS} == self.by_kind.keys()
        assert self.by_kind.total() >= least


# -- the table ----------------------------------------------------------------------------------------------


async def test_every_kind_of_syscall_has_its_attempts(tmp_path: Path) -> None:
    async with owned(tmp_path) as estate:
        assert attempts(estate).keys() == KINDS


async def test_for_the_owner_the_same_calls_show_it_all(tmp_path: Path) -> None:
    async with Kernel(guarded(tmp_path)) as kernel:
        estate, shown = await plant(kernel), Counter[type]()
        for calls in attempts(estate).values():
            for call in calls:
                if isinstance(call, READ_ONLY):
                    try:
                        shown[type(call)] += holds(await estate.do(call), PRIVATE, SHARED)
                    except AiosError:
                        continue
        estate.parked.cancel()
    ids = {"memory.prefix"}
    numbers = {"memory.usage", "storage.usage", "storage.mounts", "storage.shares", "storage.snapshots"}
    blind = {str(each.__struct_config__.tag) for each in READ_ONLY if not shown[each]}
    assert blind == {*numbers, *ids, "tool.list"}


# -- the surfaces -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "group"), [NEAR, FAR, BELOW, (NAME, "ops"), *((like, GROUP) for like in LIKE_HER)]
)
async def test_through_the_kernel(tmp_path: Path, name: str, group: str) -> None:
    async with owned(tmp_path) as estate:
        outcomes, processes = Outcomes(estate, group), estate.kernel.processes
        for calls in attempts(estate).values():
            for call in calls:
                pid = processes.attach(name, group=group)
                await outcomes.judge(call, estate.kernel.trap(pid, call))
        outcomes.complete(300)


@pytest.mark.parametrize(("name", "group", "says"), [(*FAR, None), (*NEAR, NAME), (NAME, "ops", "x")])
async def test_through_http(tmp_path: Path, name: str, group: str, says: str | None) -> None:
    async with owned(tmp_path, keys_required=True) as estate:
        outcomes, key = Outcomes(estate, group), estate.kernel.keys.create(name, group)
        async with browser(estate.kernel, key, says) as http:
            for call, path in [
                (c, p) for calls in attempts(estate).values() for c in calls for p in paths_of(c)
            ]:
                await outcomes.judge(call, answer(http, "POST", path, call))
            for path in PATHS:
                url = f"/aios/v1/storage/files/{quote(path.strip('/'))}"
                got = await http.get(url)
                assert not holds(got.content, PRIVATE)
                put = await http.put(url, content=b"mine")  # 403: it was asked whether its own may go
                assert put.status_code in (200, 400, 403, 404, 409)
        outcomes.complete(500)


def paths_of(call: Call[Any]) -> list[str]:
    tag = kind(call)
    own = [f"/aios/v1/{tag.replace('.', '/')}"] if tag.startswith(("memory.", "storage.")) else []
    return ["/aios/v1/syscalls", *own]


@asynccontextmanager
async def browser(kernel: Kernel, key: str, says: str | None = None) -> AsyncGenerator[httpx.AsyncClient]:
    headers = {"authorization": f"Bearer {key}"} if key else {}
    headers |= {"x-agent-id": says} if says else {}
    app = httpx.ASGITransport(create_app(kernel, admin_token=TOKEN))
    async with httpx.AsyncClient(transport=app, base_url="http://localhost", headers=headers) as http:
        yield http


async def answer(http: httpx.AsyncClient, method: str, path: str, call: Call[Any]) -> bytes:
    """What came, or the error that it tells."""
    told = await http.request(method, path, content=msgspec.json.encode(call))
    if told.is_success:
        return told.content
    raise {401: Unauthenticated, 403: Forbidden, 404: NotFound}.get(told.status_code, Conflict)(told.text)


async def test_through_both_clients(tmp_path: Path) -> None:
    kept = guarded(tmp_path, asking=True, server={"drain_s": 0, "keys_required": True})
    async with Kernel(kept) as kernel, listening(kernel, port=0) as at, planted(kernel) as estate:
        near, far = (kernel.keys.create(*who) for who in (NEAR, FAR))
        outcomes, others = Outcomes(estate, NEAR[1]), Outcomes(estate, FAR[1])
        async with AsyncClient(at.url, api_key=near, retries=0) as client:
            with Client(at.url, api_key=far, retries=0) as blocking:
                for calls in attempts(estate).values():
                    for call in calls[:3]:
                        other = others.judge(call, asyncio.to_thread(blocking.syscall, call))
                        await asyncio.gather(outcomes.judge(call, client.syscall(call)), other)
        outcomes.complete(80)
        others.complete(80)
