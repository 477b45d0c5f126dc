"""Whatever changes who may do what leaves a row in the audit log."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.kernels import settings, until

from aios.errors import Forbidden
from aios.kernel.kernel import Kernel
from aios.server.serve import listening
from aios.syscalls import storage
from aios.syscalls.tools import RemoveTools

pytestmark = pytest.mark.anyio
TOKEN = "the operator's"
V1 = "/aios/v1"
SPEC = {"name": "clock2", "kind": "mcp", "command": "false"}
CHANGES: tuple[tuple[str, str, Any, str, str], ...] = (
    ("POST", f"{V1}/keys", {"agent": "bob"}, "key.create", "key:default:bob"),
    ("DELETE", f"{V1}/keys/bob", None, "key.revoke", "key:bob"),
    ("PATCH", f"{V1}/groups", {"name": "research", "concurrency": 2}, "group.set", "group:research"),
    ("PUT", f"{V1}/secrets", {"name": "s", "value": "hush-hush"}, "secret.put", "secret:s"),
    ("DELETE", f"{V1}/secrets/s", None, "secret.remove", "secret:s"),
    ("POST", f"{V1}/grants", {"resource": "file:/a", "name": "default:bob"}, "grant.give", "file:/a"),
    ("DELETE", f"{V1}/grants?resource=file:/a&name=default:bob", None, "grant.take", "file:/a"),
    ("POST", f"{V1}/roots", {"name": "lab"}, "root.add", "root:lab"),
    ("DELETE", f"{V1}/roots/lab", None, "root.remove", "root:lab"),
    ("PUT", f"{V1}/quota", {"agent": "ann", "quota": 1000}, "quota.set", "agent:default:ann"),
    ("POST", f"{V1}/tools", SPEC, "tool.add", "tool:clock2"),
    ("DELETE", f"{V1}/tools/clock2", None, "tool.remove", "tool:clock2"),
)


async def rows(kernel: Kernel) -> list[tuple[str, str, str]]:
    await kernel.guard.verify()  # all is on disk
    told = [json.loads(row.text) for row in await kernel.guard.audited(limit=1000)]
    return [(row["action"], row["resource"], row["effect"]) for row in told]


async def test_changes_of_an_admin(tmp_path: Path) -> None:
    async with (
        Kernel(settings(tmp_path)) as kernel,
        listening(kernel, port=0, admin_token=TOKEN) as listener,
        httpx.AsyncClient(base_url=listener.url, headers={"authorization": f"Bearer {TOKEN}"}) as http,
    ):
        for method, path, given, action, resource in CHANGES:
            await http.request(method, path, json=given)
            assert (action, resource, "allow") in await rows(kernel), action


async def test_what_only_admins_may_is_told_when_others_try(tmp_path: Path) -> None:
    async with Kernel(settings(tmp_path)) as kernel:
        with pytest.raises(Forbidden):
            await kernel.trap(kernel.processes.attach("ann"), RemoveTools(name="shell"))
        assert ("tool.remove", "tool:shell", "deny") in await rows(kernel)


async def test_taking_an_always_back(tmp_path: Path) -> None:
    async with (
        Kernel(settings(tmp_path)) as kernel,
        listening(kernel, port=0, admin_token=TOKEN) as listener,
        httpx.AsyncClient(base_url=listener.url, headers={"authorization": f"Bearer {TOKEN}"}) as http,
    ):
        ann = kernel.processes.attach("ann")
        await kernel.trap(ann, storage.WriteFile(path="/a", text="one"))
        doing = asyncio.create_task(kernel.trap(ann, storage.DeleteFile(path="/a")))
        await until(lambda: kernel.guard.approvals.list("waiting"))
        (asked,) = kernel.guard.approvals.list("waiting")
        await http.post(f"{V1}/approvals/{asked.id}", json={"answer": "always"})
        await doing
        which = {"rule": "delete", "agent": "default:ann"}
        assert (await http.delete(f"{V1}/standing", params=which)).status_code == 200
        assert (await http.delete(f"{V1}/standing", params=which)).status_code == 404
        found = await rows(kernel)
        assert found.count(("approval.withdraw", "standing:delete default:ann", "allow")) == 1
