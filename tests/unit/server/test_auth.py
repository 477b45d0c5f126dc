"""Who a caller is taken for, and who is turned away."""

from __future__ import annotations

from typing import Any

import pytest

pytestmark = pytest.mark.anyio

CHAT = "/v1/chat/completions"
ASK: dict[str, Any] = {"messages": [{"role": "user", "content": "hi"}]}


async def caller(client: Any, stand: Any, **body: Any) -> str:
    """The name of the process that a call was made by."""
    async with client:
        response = await client.post(CHAT, json={**ASK, **body})
    assert response.status_code == 200, response.text
    return stand.kernel.made[-1][0]


async def test_without_a_key_a_caller_is_told_by_what_it_sends_in_this_order(stand: Any) -> None:
    everything: dict[str, Any] = {"x_agent_id": "a", "key": "sk-1", "user_agent": "AutoGen/0.7 x"}
    body = {"agent_id": "b", "user": "c"}
    assert await caller(stand.client(**everything), stand, **body) == "a"
    del everything["x_agent_id"]
    assert await caller(stand.client(**everything), stand, **body) == "b"
    assert await caller(stand.client(**everything), stand, user="c") == "c"
    by_key = await caller(stand.client(**everything), stand)
    assert by_key.startswith("key-")
    assert "sk-1" not in by_key
    del everything["key"]
    assert await caller(stand.client(**everything), stand) == "AutoGen"
    assert await caller(stand.client(user_agent=""), stand) == "anonymous"


async def test_each_made_up_key_is_a_caller_of_its_own(stand: Any) -> None:
    first = await caller(stand.client(key="sk-1"), stand)
    second = await caller(stand.client(key="sk-2"), stand)
    again = await caller(stand.client(key="sk-1"), stand)
    assert first == again != second


async def test_a_name_that_no_terminal_should_show_is_replaced(stand: Any) -> None:
    assert (await caller(stand.client(), stand, user="a\x1b[31m")).startswith("id-")
    assert (await caller(stand.client(), stand, user="x" * 1000)).startswith("id-")


async def test_a_known_key_is_its_agent_and_can_name_sub_agents(stand: Any) -> None:
    key = stand.kernel.keys.create("alice", "writers")
    assert await caller(stand.client(key=key), stand, user="ignored") == "alice"
    assert await caller(stand.client(key=key, x_agent_id="editor"), stand) == "alice/editor"
    assert await caller(stand.client(key=key), stand, agent_id="critic") == "alice/critic"
    assert {p.group for p in stand.kernel.processes.list()} == {"writers"}


async def test_the_name_of_an_agent_with_a_key_is_not_for_others(stand: Any) -> None:
    stand.kernel.keys.create("alice")
    for name in ("alice", "alice/editor"):
        async with stand.client(x_agent_id=name) as client:
            assert (await client.post(CHAT, json=ASK)).status_code == 401


@pytest.mark.parametrize(
    ("server", "peer", "headers"),
    [
        ({}, "127.0.0.1", {"key": "aios-alice-madeup"}),
        ({"keys_required": True}, "127.0.0.1", {}),
        ({"keys_required": True}, "127.0.0.1", {"key": "sk-1", "x_agent_id": "a"}),
        ({"host": "0.0.0.0"}, "127.0.0.1", {}),
        ({}, "10.0.0.9", {}),
        ({}, "127.0.0.1", {"x_forwarded_for": "127.0.0.1"}),
    ],
    ids=["looks-like-ours", "required", "required-unknown", "off-loopback", "peer-elsewhere", "proxied"],
)
async def test_who_needs_a_key_and_has_none_is_refused(
    make_stand: Any, server: Any, peer: str, headers: Any
) -> None:
    stand = make_stand(**server)
    async with stand.client(peer=peer, **headers) as client:
        for response in (await client.post(CHAT, json=ASK), await client.get("/v1/models")):
            assert response.status_code == 401
            assert response.json()["error"]["code"] == "invalid_api_key"
            assert response.headers["www-authenticate"] == "Bearer"
    assert stand.kernel.made == []


async def test_a_known_key_works_where_keys_are_required(make_stand: Any) -> None:
    stand = make_stand(host="0.0.0.0")
    key = stand.kernel.keys.create("alice")
    assert await caller(stand.client(key=key, peer="10.0.0.9"), stand) == "alice"
    stand.kernel.keys.revoke("alice")
    async with stand.client(key=key) as client:
        assert (await client.post(CHAT, json=ASK)).status_code == 401


async def test_the_daemons_token_may_do_everything_in_any_name(make_stand: Any) -> None:
    stand = make_stand(keys_required=True)
    assert await caller(stand.client(key="aios-daemon-token", x_agent_id="react-1"), stand) == "react-1"
    async with stand.client(key="aios-daemon-token") as client:
        assert (await client.get("/aios/v1/status")).status_code == 200


ADMIN_ONLY = ["/aios/v1/status", "/aios/v1/keys", "/aios/v1/events"]


@pytest.mark.parametrize("path", ADMIN_ONLY)
async def test_managing_takes_an_admin(make_stand: Any, path: str) -> None:
    stand = make_stand(keys_required=True)
    key = stand.kernel.keys.create("alice")
    async with stand.client() as client:
        assert (await client.get(path)).status_code == 401
    async with stand.client(key=key) as client:
        response = await client.get(path)
    assert response.status_code == 403
    assert "admin" in response.json()["error"]["message"]


async def test_a_key_of_group_admin_may_manage(make_stand: Any) -> None:
    stand = make_stand(keys_required=True)
    async with stand.client(key=stand.kernel.keys.create("root", "admin")) as client:
        made = await client.post("/aios/v1/keys", json={"agent": "bob"})
        listed = await client.get("/aios/v1/keys")
        gone = await client.delete("/aios/v1/keys/bob")
        twice = await client.delete("/aios/v1/keys/bob")
    assert made.status_code == 201
    assert made.json()["key"].startswith("aios-bob-")
    assert [k["name"] for k in listed.json()["keys"]] == ["root", "bob"]
    assert made.json()["key"] not in listed.text
    assert [k["name"] for k in gone.json()["keys"]] == ["root"]
    assert twice.status_code == 404
    assert stand.kernel.noted == [("key.create", "key:default:bob"), ("key.revoke", "key:bob")]


async def test_whoever_is_on_this_machine_makes_itself_no_key(make_stand: Any) -> None:
    stand = make_stand()
    stand.kernel.keys.create("ann", "research")
    async with stand.client(x_agent_id="eve") as client:
        tries = [
            ("POST", "/aios/v1/keys", {"agent": "eve", "group": "admin"}),
            ("DELETE", "/aios/v1/keys/ann", None),
            ("PATCH", "/aios/v1/groups", {"name": "default", "spend": 1e9}),
        ]
        for method, path, given in tries:
            assert (await client.request(method, path, json=given)).status_code == 403, path
    assert [key.name for key in stand.kernel.keys.list()] == ["ann"]


@pytest.mark.parametrize(
    ("server", "host", "status"),
    [
        ({}, "127.0.0.1:8420", 200),
        ({}, "localhost:8420", 200),
        ({}, "LOCALHOST", 200),
        ({}, "[::1]:8420", 200),
        ({}, "evil.example", 403),
        ({}, "127.0.0.1.evil.example", 403),
        ({}, "192.168.1.5:8420", 403),
        ({}, "", 403),
        ({"allowed_hosts": ["box.lan"]}, "box.lan:8420", 200),
        ({"host": "0.0.0.0"}, "192.168.1.5:8420", 200),
        ({"host": "0.0.0.0"}, "evil.example", 403),
    ],
)
async def test_the_host_header_must_name_this_server(
    make_stand: Any, server: Any, host: str, status: int
) -> None:
    async with make_stand(**server).client(host=host) as client:
        assert (await client.get("/health")).status_code == status


@pytest.mark.parametrize("origin", ["https://evil.example", "null", "http://localhost:3000", ""])
async def test_web_pages_may_not_call(stand: Any, origin: str) -> None:
    async with stand.client(origin=origin) as client:
        response = await client.post(CHAT, json=ASK)
    assert response.status_code == 403
    assert stand.kernel.made == []


async def test_pages_of_an_allowed_origin_may(make_stand: Any) -> None:
    stand = make_stand(allowed_origins=["https://app.example"])
    async with stand.client(origin="https://app.example") as client:
        asked = {"access-control-request-method": "POST", "access-control-request-headers": "authorization"}
        preflight = await client.options(CHAT, headers=asked)
        response = await client.post(CHAT, json=ASK)
    assert preflight.status_code == 200
    assert "authorization" in preflight.headers["access-control-allow-headers"]
    assert response.headers["access-control-allow-origin"] == "https://app.example"
