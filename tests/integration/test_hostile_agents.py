"""What a hostile agent tried against a live kernel and got: each of these once worked."""

from __future__ import annotations

from pathlib import Path

import httpx
import msgspec
import pytest
from tests.kernels import settings, signal, spawn

from aios.access.globs import matches
from aios.errors import BadRequest, Forbidden, LimitExceeded, NotFound
from aios.kernel.kernel import Kernel
from aios.server.app import create_app
from aios.syscalls import Nice, SendSignal
from aios.syscalls import storage as s
from aios.syscalls.memory import Alloc
from aios.syscalls.storage_records import Filter

pytestmark = pytest.mark.anyio
HUGE = 10**30
NUMBERS = [
    {"call": "storage.bin", "limit": HUGE}, {"call": "storage.bin", "after": HUGE},
    {"call": "storage.read", "path": "/a", "version": HUGE},
    {"call": "storage.history", "path": "/a", "limit": HUGE},
    {"call": "storage.diff", "path": "/a", "old": HUGE}, {"call": "storage.revoke", "id": HUGE},
    {"call": "storage.restore", "id": -HUGE}, {"call": "storage.rollback", "path": "/a", "steps": HUGE},
    {"call": "storage.purge", "ids": [HUGE]},
    {"call": "memory.save_conversation", "messages": [], "tokens": [HUGE]},
]  # fmt: skip


async def test_what_is_not_ones_own_looks_like_what_is_not_there(tmp_path: Path) -> None:
    async with Kernel(settings(tmp_path, server={"keys_required": True})) as kernel:
        ann = kernel.processes.attach("ann", group="research")
        kernel.guard.vault.put("token", "a value", agents=("research:ann",))
        key = kernel.keys.create("eve", "ops")
        app = httpx.ASGITransport(create_app(kernel))
        headers = {"authorization": f"Bearer {key}"}
        async with httpx.AsyncClient(transport=app, base_url="http://localhost", headers=headers) as http:

            async def told(method: str, path: str, name: str, **body: object) -> tuple[int, str]:
                answer = await http.request(method, path, json=body or None)
                return answer.status_code, answer.text.replace(name, "IT")

            for pair in (str(ann), "9999"), ("9999", str(ann)):
                one, other = pair
                path = "/aios/v1/processes"
                assert await told("GET", f"{path}/{one}", one) == await told("GET", f"{path}/{other}", other)
                nice = [await told("POST", f"{path}/{pid}/nice", pid, nice=1) for pid in pair]
                assert nice[0] == nice[1]
            uses = [{"arguments": {"expression": f"{{{{secret:{name}}}}}"}} for name in ("token", "wrong")]
            tool = "/aios/v1/tools/calculator/call"
            assert await told("POST", tool, "token", **uses[0]) == await told("POST", tool, "wrong", **uses[1])
            for number in NUMBERS:
                assert (await http.post("/aios/v1/syscalls", json=number)).status_code == 400
            many = {"range": f"bytes={'9' * 5000}-"}
            await http.put("/aios/v1/storage/files/a", content=b"x")
            assert (await http.get("/aios/v1/storage/files/a", headers=many)).status_code == 200


async def test_a_process_of_another_group_is_not_there_for_a_signal(tmp_path: Path) -> None:
    async with Kernel(settings(tmp_path)) as kernel:
        ann, gone = (kernel.processes.attach(name, group="research") for name in ("ann", "gone"))
        await signal(kernel, gone, "kill")
        bob, eve = (kernel.processes.attach("eve", group=group) for group in ("research", "ops"))
        for call in (
            *(SendSignal(pid=0, signal=what) for what in ("kill", "pause", "resume")),
            Nice(pid=0, nice=1),
        ):
            told = set[str]()
            for pid in (ann, gone, 9999):
                with pytest.raises(NotFound) as refused:
                    await kernel.trap(eve, msgspec.structs.replace(call, pid=pid))
                told.add(str(refused.value).replace(str(pid), "IT"))
            assert len(told) == 1
            with pytest.raises(Forbidden):  # those of one's own group are known to one
                await kernel.trap(bob, msgspec.structs.replace(call, pid=ann))
        assert kernel.processes.info(ann).state == "idle"
        await kernel.guard.verify()  # all is on disk
        tried = [row.text for row in await kernel.guard.audited() if '"ops:eve"' in row.text]
        assert sum("process:research:ann" in row and '"deny"' in row for row in tried) == 4


async def test_no_group_looks_like_a_part_of_another(tmp_path: Path) -> None:
    async with Kernel(settings(tmp_path)) as kernel:
        ann = kernel.processes.attach("ann", group="research")
        for group in ("research/../ops", "research/a:b", "research/", "research//x"):
            with pytest.raises(BadRequest):
                await spawn(kernel, ann, "x", group=group)


async def test_only_ones_own_labels_can_be_asked_away(tmp_path: Path) -> None:
    async with Kernel(settings(tmp_path)) as kernel:
        eve = kernel.processes.get(kernel.processes.attach("eve", group="ops"))
        made = await kernel.trap(kernel.processes.attach("ann", group="research"), Alloc(text="zebra"))
        memories = (f"memory:{made.id}", "memory:t_missing")
        for name in ("agent:research:ann", "file:research:ann:/plan.md", *memories):
            with pytest.raises(Forbidden):
                await kernel.guard.declassify(eve, name)
        bob = kernel.processes.get(kernel.processes.attach("bob", group="research"))
        for name in memories:  # not those of one's group either
            with pytest.raises(Forbidden):
                await kernel.guard.declassify(bob, name)
        assert not kernel.guard.approvals.list()


async def test_one_key_does_not_fill_the_process_table(tmp_path: Path) -> None:
    async with Kernel(settings(tmp_path, processes={"max_processes": 40})) as kernel:
        with pytest.raises(LimitExceeded, match="half"):
            for number in range(40):
                kernel.processes.attach(f"eve/{number}", group="ops")
        assert kernel.processes.attach("ann", group="research")


async def test_no_pattern_takes_for_ever(tmp_path: Path) -> None:
    assert not matches("*a" * 30 + "b", "a" * 200)
    async with Kernel(settings(tmp_path, memory={"embedder": "none"})) as kernel:
        eve = kernel.processes.attach("eve")
        await kernel.trap(eve, s.WriteFile(path="/" + "a" * 200, text="x"))
        assert not (await kernel.trap(eve, s.Find(where=Filter(name="*a" * 30 + "b")))).hits
