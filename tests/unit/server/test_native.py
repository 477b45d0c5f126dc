"""`/aios/v1`, `/health` and the documentation."""

from __future__ import annotations

from typing import Any

import pytest

from aios.syscalls import Nice, SendSignal

pytestmark = pytest.mark.anyio

PROCESSES = "/aios/v1/processes"


async def test_health_says_whether_calls_are_taken(stand: Any) -> None:
    async with stand.client() as client:
        ready = await client.get("/health")
        stand.kernel.ready = False
        starting = await client.get("/health")
        stand.kernel.draining = True
        draining = await client.get("/health")
    assert [(r.status_code, r.json()["status"]) for r in (ready, starting, draining)] == [
        (200, "ok"),
        (503, "starting"),
        (503, "draining"),
    ]


async def test_any_syscall_can_be_made_by_its_wire_form(stand: Any) -> None:
    async with stand.client(x_agent_id="ann") as client:
        call = {"call": "llm.generate", "messages": [{"role": "user", "content": "hi"}]}
        done = (await client.post("/aios/v1/syscalls", json=call)).json()
        listed = (await client.post("/aios/v1/syscalls", json={"call": "process.list"})).json()
    assert (done["type"], done["choices"][0]["content"]) == ("completion", "Hello world")
    assert (listed["type"], [p["name"] for p in listed["processes"]]) == ("processes", ["ann"])


@pytest.mark.parametrize(
    ("call", "param"),
    [
        ({}, "call"),
        ({"call": "llm.dream"}, "call"),
        ({"call": "process.nice", "pid": 1}, "nice"),
        ({"call": "process.nice", "pid": "1", "nice": 2}, "pid"),
    ],
)
async def test_a_wrong_syscall_is_refused_by_field(stand: Any, call: Any, param: str) -> None:
    async with stand.client() as client:
        response = await client.post("/aios/v1/syscalls", json=call)
    assert (response.status_code, response.json()["error"]["param"]) == (400, param)


async def test_processes_are_made_listed_signalled_and_killed(stand: Any) -> None:
    async with stand.client(x_agent_id="parent") as client:
        child = await client.post(PROCESSES, json={"name": "child"})
        pid = child.json()["pid"]
        one = await client.get(f"{PROCESSES}/{pid}")
        listed = await client.get(PROCESSES)
        for path, asked in (("signal", {"signal": "pause", "reason": "lunch"}), ("nice", {"nice": 5})):
            assert (await client.post(f"{PROCESSES}/{pid}/{path}", json=asked)).status_code == 200
        assert (await client.delete(f"{PROCESSES}/{pid}")).status_code == 200

    assert child.status_code == 201
    assert one.json()["name"] == "child"
    assert [p["name"] for p in listed.json()["processes"]] == ["parent", "child"]
    assert stand.kernel.made == [  # a child is its parent's to signal
        ("parent", SendSignal(pid=pid, signal="pause", reason="lunch")),
        ("parent", Nice(pid=pid, nice=5)),
        ("parent", SendSignal(pid=pid, signal="kill")),
    ]


@pytest.mark.parametrize(
    ("method", "path", "asked", "status"),
    [
        ("GET", "99", None, 404),
        ("GET", "x", None, 400),
        ("DELETE", "99", None, 404),
        ("POST", "1/signal", {"signal": "explode"}, 400),
        ("POST", "1/nice", {}, 400),
        ("POST", "1/nice", {"nice": 1, "nise": 2}, 400),
    ],
)
async def test_wrong_process_requests(stand: Any, method: str, path: str, asked: Any, status: int) -> None:
    stand.kernel.processes.attach("a")
    async with stand.client() as client:
        assert (await client.request(method, f"{PROCESSES}/{path}", json=asked)).status_code == status


async def test_without_keys_the_owner_of_the_machine_signals_as_operator(stand: Any) -> None:
    pid = stand.kernel.processes.attach("someone")
    async with stand.client(user_agent="curl/8") as client:
        await client.delete(f"{PROCESSES}/{pid}")
    assert stand.kernel.made == [("operator", SendSignal(pid=pid, signal="kill"))]


async def test_an_agent_with_a_key_reaches_itself_and_below_and_no_others(stand: Any) -> None:
    attach = stand.kernel.processes.attach
    pids = {
        "itself": attach("alice", group="writers"),
        "sub": attach("alice/editor", group="writers"),
        "peer": attach("bob", group="writers"),
        "stranger": attach("carol", group="readers"),
    }
    async with stand.client(key=stand.kernel.keys.create("alice", "writers")) as client:
        kills = {name: (await client.delete(f"{PROCESSES}/{pid}")).status_code for name, pid in pids.items()}
        nice = {"call": "process.nice", "pid": pids["peer"], "nice": 1}
        by_syscall = await client.post("/aios/v1/syscalls", json=nice)
        seen = [p["name"] for p in (await client.get(PROCESSES)).json()["processes"]]
        stranger = await client.get(f"{PROCESSES}/{pids['stranger']}")
    assert kills == {"itself": 200, "sub": 200, "peer": 403, "stranger": 404}
    assert by_syscall.status_code == 403
    assert seen == ["alice", "alice/editor", "bob"]
    assert stranger.status_code == 404


async def test_the_documentation_names_every_path_and_type(stand: Any) -> None:
    async with stand.client() as client:
        spec = (await client.get("/openapi.json")).json()
        page = (await client.get("/docs")).text
    assert spec["openapi"] == "3.1.0"
    assert spec["info"]["version"] == "1.2.3"
    assert set(spec["paths"]["/aios/v1/processes/{pid}"]) == {"get", "delete"}
    body = spec["paths"]["/v1/chat/completions"]["post"]["requestBody"]["content"]["application/json"]
    assert body["schema"] == {"$ref": "#/components/schemas/ChatRequest"}
    assert "messages" in spec["components"]["schemas"]["ChatRequest"]["required"]
    for path in spec["paths"]:
        assert f"<code>{path}</code>" in page
    for operations in spec["paths"].values():
        assert all(operation["summary"] for operation in operations.values())
