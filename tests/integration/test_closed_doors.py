"""What HTTP and the CLI refuse: to nobody's keys everything, to agents what is the operator's, and names that
only look like somebody's."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import msgspec
import pytest
from starlette.routing import Route
from tests.estate import GROUP, NAME, PRIVATE, SHARED, Estate, attempts, guarded, holds, photograph, plant
from tests.kernels import ask, settings, spawn

from aios.cli.main import _run
from aios.errors import Forbidden, SandboxUnavailable, ToolError
from aios.kernel.kernel import Kernel
from aios.server.app import create_app
from aios.server.daemon import Daemon, announced
from aios.server.serve import listening
from aios.syscalls.tools import CallTool

pytestmark = pytest.mark.anyio
TOKEN = "aios-daemon-token"
OPEN = {"/health", "/docs", "/openapi.json", "/share/{token}", "/share/{token}/{inner:path}"}
"""Paths that take no key."""
OF_AGENTS = re.compile(
    r"/mcp|/v1/.*|/aios/v1/(syscalls|runs|declassify|grants|(memory|storage)/.*|approvals(/\{id\})?"
    r"|processes(/\{pid\}(/signal|/nice)?)?|tools/\{name\}/call)"
)
"""Paths for ordinary keys; all others are the operator's."""
READ_BY_AGENTS = {"/aios/v1/tools", "/aios/v1/tools/{name}"}


@asynccontextmanager
async def owned(folder: Path) -> AsyncGenerator[Estate]:
    """A kernel that requires keys, with an owner whose estate is as it was at the end."""
    async with Kernel(guarded(folder, server={"drain_s": 0, "keys_required": True})) as kernel:
        estate = await plant(kernel)
        before = await photograph(estate)
        yield estate
        assert await photograph(estate) == before
        estate.parked.cancel()


@asynccontextmanager
async def browser(kernel: Kernel, key: str = "", **headers: str) -> AsyncGenerator[httpx.AsyncClient]:
    given = {**({"authorization": f"Bearer {key}"} if key else {}), **headers}
    app = httpx.ASGITransport(create_app(kernel, admin_token=TOKEN))
    async with httpx.AsyncClient(transport=app, base_url="http://localhost", headers=given) as http:
        yield http


def doors(of: Estate) -> list[tuple[str, str, str]]:
    """Method, route and path of all there is, with the owner's names in it."""
    names = {"pid": str(of.child), "agent": NAME, "name": "token", "id": of.approval, "path": "plan.md",
             "model": "parrot", "token": of.token, "inner": f"{PRIVATE}.md"}  # fmt: skip
    found: list[tuple[str, str, str]] = []
    for route in create_app(of.kernel).routes:
        assert isinstance(route, Route)
        path = re.sub(r"\{(\w+)(:path)?\}", lambda each: names[each[1]], route.path)
        found += [(method, route.path, path) for method in sorted(route.methods or ()) if method != "HEAD"]
    return found


@pytest.mark.parametrize(
    "who", ["without a key", "with a wrong key", "with a revoked key", "with a foreign key"]
)
async def test_without_a_good_key_nothing_opens(tmp_path: Path, who: str) -> None:
    async with owned(tmp_path) as estate:
        revoked = estate.kernel.keys.create("rex", GROUP)
        estate.kernel.keys.revoke("rex")
        wrong = f"aios-{NAME}-{'A' * 32}"
        keys = {"without a key": "", "with a wrong key": wrong, "with a revoked key": revoked}
        async with browser(estate.kernel, keys.get(who, "sk-1234"), **{"x-agent-id": NAME}) as http:
            tried = [(m, path) for m, route, path in doors(estate) if route not in OPEN]
            assert len(tried) > 100
            for method, path in tried:
                told = await http.request(method, path, content=b"{}")
                assert told.status_code == 401, (method, path)
                assert not holds(told.content, PRIVATE, SHARED)


async def test_a_made_up_key_is_none_until_there_is_a_key(tmp_path: Path) -> None:
    kept = guarded(tmp_path, server={"drain_s": 0})
    async with Kernel(kept) as kernel, browser(kernel, "sk-made-up") as http:
        estate = await plant(kernel)
        tried = [(m, path) for m, route, path in doors(estate) if route not in OPEN]
        for method, path in tried:
            assert (await http.request(method, path, content=b"{}")).status_code == 401, (method, path)
        kernel.keys.revoke(NAME)
        assert (await http.get("/v1/models")).status_code == 200
        assert (await http.put("/aios/v1/storage/files/a", content=b"x")).status_code == 200
        assert [p.usage.calls for p in kernel.processes.list() if p.name.startswith("key-")] == [1]
        assert (await http.post("/aios/v1/keys", content=b'{"agent": "me"}')).status_code == 403
        kernel.keys.create("first")
        for method, path in tried:
            assert (await http.request(method, path, content=b"{}")).status_code == 401, (method, path)
        estate.parked.cancel()


@pytest.mark.parametrize(
    ("name", "group"), [("bob", GROUP), ("eve", "ops"), ("admin", "default"), ("x", "admin/x")]
)
async def test_what_is_the_operators_is_refused_to_agents(tmp_path: Path, name: str, group: str) -> None:
    async with (
        owned(tmp_path) as estate,
        browser(estate.kernel, estate.kernel.keys.create(name, group)) as http,
    ):
        tried = [
            (method, path)
            for method, route, path in doors(estate)
            if route not in OPEN and not OF_AGENTS.fullmatch(route)
            and not (method == "GET" and route in READ_BY_AGENTS)
        ]  # fmt: skip
        for word in ("groups", "scheduler", "keys", "roots", "quota", "trace", "events", "audit", "secrets",
                     "agents", "standing", "status", "tools", "context", "approvals/watch"):  # fmt: skip
            assert any(word in path for _, path in tried), word
        for method, path in tried:
            told = await http.request(method, path, content=b"{}")
            assert told.status_code == 403, (method, path, told.text)
            assert not holds(told.content, PRIVATE, SHARED)


@pytest.mark.parametrize(
    ("name", "group"), [("bob", GROUP), ("eve", "ops"), (NAME, "ops"), ("web", f"{GROUP}/web")]
)
async def test_what_is_asked_granted_and_run_is_its_owners(tmp_path: Path, name: str, group: str) -> None:
    async with (
        owned(tmp_path) as estate,
        browser(estate.kernel, estate.kernel.keys.create(name, group)) as http,
    ):
        one, grants, process = (
            f"approvals/{estate.approval}",
            f"resource=context:{PRIVATE}&name=x:carol",
            estate.pid,
        )
        mine = {"resource": "*", "name": f"{group}:{name}", "owner": estate.agent, "write": True}
        for method, path, given in (
            ("GET", one, None), ("POST", one, {"answer": "always"}), ("POST", one, {"answer": "deny"}),
            ("POST", "grants", mine), ("DELETE", f"grants?{grants}&owner={estate.agent}", None),
            ("DELETE", f"grants?{grants}", None), ("POST", "declassify", {"name": f"agent:{estate.agent}"}),
            ("DELETE", f"processes/{process}", None), ("POST", f"processes/{process}/nice", {"nice": 19}),
            *(("POST", f"processes/{process}/signal", {"signal": s}) for s in ("kill", "pause", "resume")),
        ):  # fmt: skip
            told = await http.request(method, f"/aios/v1/{path}", json=given)
            assert told.status_code in (403, 404), (method, path, told.text)
        for path in (
            "approvals",
            "grants",
            "processes?all=1",
            f"processes/{process}",
            f"processes/{estate.child}",
        ):
            told = await http.get(f"/aios/v1/{path}")
            assert not holds(told.content, PRIVATE, *((SHARED,) if group != GROUP else ()))
        names = ("token", "{{secret:token}}")
        for each in names:
            told = await http.post("/aios/v1/tools/calculator/call", json={"arguments": {"expression": each}})
            assert not told.is_success or not holds(told.content, PRIVATE)


async def test_through_mcp(tmp_path: Path) -> None:
    pytest.importorskip("mcp")
    async with owned(tmp_path) as estate:
        key = estate.kernel.keys.create("bob", GROUP)
        async with browser(estate.kernel, key, accept="application/json, text/event-stream") as http:
            for call in attempts(estate)[CallTool]:
                params = msgspec.to_builtins({"name": call.name, "arguments": call.arguments})
                asked = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}
                told = await http.post("/mcp", json=asked)
                assert told.status_code == 200, told.text
                assert not holds(told.content, PRIVATE), call


async def test_from_the_box_of_one_agent_the_folder_of_another_is_not_seen(tmp_path: Path) -> None:
    async with owned(tmp_path) as estate:
        bob, file = estate.kernel.processes.attach("bob", group=GROUP), estate.folder / "notes.txt"
        above = f"../{estate.folder.name}"
        shell = f"cat {file} {above}/notes.txt; ln -s {file} l; cat l; ls ..; echo mine >> {file}"
        python = f"open({str(file)!r}).read()"
        for name, arguments in (
            ("shell", {"command": shell}), ("python", {"code": python}),
            ("text_search", {"pattern": "canary", "folder": above}),
            ("text_search", {"pattern": "canary", "folder": str(estate.folder)}),
            ("table", {"file": f"{above}/notes.txt"}), ("sql", {"database": str(file), "query": "SELECT 1"}),
        ):  # fmt: skip
            try:
                told = (await estate.kernel.trap(bob, CallTool(name=name, arguments=arguments))).text
            except SandboxUnavailable as error:
                pytest.skip(str(error))
            except ToolError as error:
                told = str(error)
            assert PRIVATE not in told, name


# -- names --------------------------------------------------------------------------------------------------


async def test_who_has_a_key_is_not_played_by_who_has_none(tmp_path: Path) -> None:
    async with Kernel(settings(tmp_path, memory={"embedder": "none"})) as kernel:
        async with browser(kernel, kernel.keys.create(NAME)) as ann:
            await ann.put("/aios/v1/storage/files/plan.md", content=PRIVATE.encode())
            assert PRIVATE in (await ann.get("/aios/v1/storage/files/plan.md")).text
        plain = [NAME, f" {NAME} ", f"{NAME}/", f"{NAME}/x", f"{NAME}\t", f"/{NAME}", f"{NAME};", "Ann", "ANN",
                 f"{NAME}%20", "%61nn", f"./{NAME}", f"x/../{NAME}", f"{NAME}\\x"]  # fmt: skip
        plain.append(f"default:{NAME}")
        bare = [*plain, f"{NAME}\u00a0", f"{NAME}\u3000", "аnn", "ａnn", f"{NAME}\u200b", f"\u202e{NAME}"]
        for said in plain:
            async with browser(kernel, **{"x-agent-id": said}) as http:
                told = await http.get("/aios/v1/storage/files/plan.md")
                assert told.status_code in (400, 401, 404), said
                assert PRIVATE not in told.text
        async with browser(kernel) as http:
            chat = {"model": "parrot", "messages": [{"role": "user", "content": "hi"}]}
            for field in ("agent_id", "user"):
                for said in bare:
                    await http.post("/v1/chat/completions", json={**chat, field: said})
            await http.get("/v1/models", headers={"user-agent": f"{NAME}/1.0"})
        hers = [p for p in kernel.processes.list() if (p.group, p.name) == ("default", NAME)]
        assert [p.usage.calls for p in hers] == [2]


async def test_a_child_with_somebodys_name_is_not_taken_for_it(tmp_path: Path) -> None:
    async with Kernel(settings(tmp_path, server={"keys_required": True, "drain_s": 0})) as kernel:
        ann, bob = (kernel.keys.create(name) for name in (NAME, "bob"))
        async with browser(kernel, bob) as his, browser(kernel, ann) as hers:
            fakes = list[int]()
            for name in (NAME, f"{NAME}/web"):
                given = {"call": "process.spawn", "name": name, "rights": [], "limits": {"calls": 0}}
                fakes.append((await his.post("/aios/v1/processes", json=given)).json()["pid"])
            given = {"call": "process.spawn", "name": f"{NAME}/helper"}
            helper = (await hers.post("/aios/v1/processes", json=given)).json()["pid"]
            for said in (NAME, "web", "helper"):
                told = await hers.put("/aios/v1/storage/files/a", content=b"x", headers={"x-agent-id": said})
                assert told.status_code == 200
        calls = {p.pid: p.usage.calls for p in kernel.processes.list()}
        assert [calls[pid] for pid in (*fakes, helper)] == [0, 0, 1]


async def test_a_process_without_rights_has_none(tmp_path: Path) -> None:
    async with Kernel(settings(tmp_path)) as kernel:
        child = await spawn(kernel, kernel.processes.attach(NAME), "child", rights=())
        with pytest.raises(Forbidden, match="without the right"):
            await ask(kernel, child.pid, "may I?")


# -- the command line ----------------------------------------------------------------------------------------


def commands(of: Estate, folder: Path) -> list[list[str]]:
    """What `aios memory` and `aios fs` can be asked about the owner's things."""
    out, found = str(folder / "out"), list[str]()
    for id in of.entries.values():
        found += [f"memory show {id}", f"memory rm --yes {id}", f"memory share {id} bob --write"]
        found += [f"memory unshare {id} x:carol"]
    found += ["memory list", "memory search plan Ann", "memory block persona", "memory block", "memory graph"]
    found += [f"memory export {out}", "memory usage", "fs ls", "fs ls /docs", "fs bin", "fs shares", "fs usage"]
    for path in ("/plan.md", "/docs", "/lab/results.md", "/link", f"/../../{GROUP}:{NAME}/plan.md"):
        found += [f"fs {verb} {path}" for verb in ("cat", "history", "rm -r", "tag", "share", "unmount")]
        found += [f"fs diff {path} 1", f"fs rollback {path} --steps 1", f"fs get {path} {out}"]
        found += [f"fs mv {path} /m", f"fs cp {path} /m"]
    found += [
        f"fs restore {of.binned}",
        f"fs purge --yes {of.binned}",
        "fs purge --yes",
        f"fs unshare {of.share}",
    ]
    found += [f"fs mount {GROUP}:{NAME} /m", "fs mount lab /m", "fs find plan", "fs grep canary", "fs group"]
    return [each.split() for each in found]


async def test_through_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    kept, state, ends = guarded(tmp_path), tmp_path / "state", list[int]()
    async with Kernel(kept) as kernel, listening(kernel, port=0, admin_token=TOKEN) as at:
        estate = await plant(kernel)
        before = await photograph(estate)
        with announced(state, Daemon(pid=1, url=at.url, token=TOKEN)):
            for agent, step in (("bob", 2), (NAME, 15), (f"{NAME}/x", 9), (f"{GROUP}:{NAME}", 4)):
                for family, *words in commands(estate, tmp_path)[::step]:
                    given = [family, "--agent", agent, "--state-dir", str(state), *words]
                    ends.append(await asyncio.to_thread(_run, given))
                    told = capsys.readouterr()
                    assert not holds(told.out + told.err, PRIVATE, SHARED), given
                    written = tmp_path / "out"
                    assert not written.exists() or not holds(written.read_bytes(), PRIVATE, SHARED)
        assert await photograph(estate) == before
        estate.parked.cancel()
    assert len(ends) > 80
    assert 2 not in ends, "a command was not understood"
