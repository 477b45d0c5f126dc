"""What a hostile agent tried against a live kernel and got: each of these once worked."""

from __future__ import annotations

from pathlib import Path

import httpx
import pytest
from tests.kernels import settings, spawn

from aios.access.globs import matches
from aios.errors import BadRequest, Forbidden, LimitExceeded
from aios.kernel.kernel import Kernel
from aios.server.app import create_app
from aios.syscalls import storage as s
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


async def test_no_group_looks_like_a_part_of_another(tmp_path: Path) -> None:
    async with Kernel(settings(tmp_path)) as kernel:
        ann = kernel.processes.attach("ann", group="research")
        for group in ("research/../ops", "research/a:b", "research/", "research//x"):
            with pytest.raises(BadRequest):
                await spawn(kernel, ann, "x", group=group)


async def test_only_ones_own_labels_can_be_asked_away(tmp_path: Path) -> None:
    async with Kernel(settings(tmp_path)) as kernel:
        eve = kernel.processes.get(kernel.processes.attach("eve", group="ops"))
        for name in ("agent:research:ann", "file:research:ann:/plan.md"):
            with pytest.raises(Forbidden):
                await kernel.guard.declassify(eve, name)


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
