"""Memory and files of agents, through HTTP and the SDK, over a real kernel with a scripted core."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.kernels import settings, until

from aios.errors import BadRequest, Forbidden, NotFound, ToolError, VersionConflict
from aios.events import SyscallFinished
from aios.kernel.kernel import Kernel
from aios.sdk.client import AsyncClient
from aios.sdk.knowledge import file_tools, memory_tools
from aios.server.serve import listening
from aios.syscalls import Message, memory, storage
from aios.syscalls.memory_records import EntryInfo

pytestmark = pytest.mark.anyio

Start = Callable[..., AbstractAsyncContextManager[tuple[Kernel, Callable[[str], AsyncClient]]]]


@pytest.fixture
def start(tmp_path: Path) -> Start:
    @asynccontextmanager
    async def running(**tables: Any) -> AsyncGenerator[tuple[Kernel, Callable[[str], AsyncClient]]]:
        tables = {"memory": {"thinking": "extract"}, "access": {"ask": ["irreversible"]}, **tables}
        async with (
            Kernel(settings(tmp_path / "state", **tables)) as kernel,
            listening(kernel, port=0) as listener,
            AsyncExitStack() as clients,
        ):

            def client(agent: str) -> AsyncClient:
                made = AsyncClient(listener.url, agent=agent)
                clients.push_async_callback(made.close)
                return made

            yield kernel, client

    return running


async def test_what_an_agent_knows_outlives_its_process_and_its_kernel(start: Start) -> None:
    async with start() as (_, agent):
        ann = agent("ann")
        note = await ann.memory.note("The deploy key rotates every Monday", tags=["ops"])
        data = await ann.memory.add(b"\x00\xff bytes", name="raw")
        await ann.memory.block("persona", "I am terse.")
        talk = await ann.memory.save(
            [{"role": "user", "content": "hi"}, Message(role="assistant", content="ho")]
        )
        await ann.exit()
    async with start() as (_, agent):
        ann = agent("ann")
        assert await ann.memory.read(data.id) == b"\x00\xff bytes"
        assert [hit.id for hit in await ann.memory.search("when do keys rotate?", kinds=["note"])] == [note.id]
        assert "I am terse." in await ann.memory.blocks()
        assert [m.content for m in await ann.memory.conversation(talk.id)] == ["hi", "ho"]


async def test_memory_is_private_until_it_is_shared(start: Start) -> None:
    async with start() as (_, agent):
        ann, bob = agent("ann"), agent("bob")
        entry = await ann.memory.add("the plan", name="plan")
        for attempt in (
            bob.memory.read(entry.id), bob.memory.write(entry.id, "x"),
            bob.memory.share(entry.id, "bob"), bob.memory.pin(entry.id), bob.memory.stat("t_unknown"),
        ):  # fmt: skip
            with pytest.raises(NotFound):
                await attempt
        assert not await bob.memory.search("plan")
        await ann.memory.share(entry.id, "bob")
        assert await bob.memory.read(entry.id) == b"the plan"
        with pytest.raises(Forbidden):
            await bob.memory.write(entry.id, "mine")
        await ann.memory.unshare(entry.id, "bob")
        with pytest.raises(NotFound):
            await bob.memory.read(entry.id)


async def test_a_memory_is_deleted_for_good_when_a_person_says_so(start: Start) -> None:
    async with start() as (kernel, agent):
        ann, by = agent("ann"), kernel.processes.get(kernel.processes.attach("operator", group="admin"))
        entry = await ann.memory.add("the plan")
        for answer in ("deny", "once"):
            deleting = asyncio.create_task(ann.memory.delete(entry.id))
            await until(lambda: kernel.guard.approvals.list("waiting"))
            (asked,) = kernel.guard.approvals.list("waiting")
            assert (asked.action, asked.resource) == ("memory.delete", f"memory:{entry.id}")
            assert await ann.memory.read(entry.id) == b"the plan"
            await kernel.guard.answer(by, asked.id, answer)
            if answer == "deny":
                with pytest.raises(Forbidden, match="irreversible"):
                    await deleting
        await deleting
        with pytest.raises(NotFound):
            await ann.memory.read(entry.id)


async def test_files_have_versions_and_a_bin(start: Start) -> None:
    async with start() as (_, agent):
        files = agent("ann").files
        first = await files.write("/notes/a.md", "one\n", expect=0)
        await files.append("/notes/a.md", "two\n")
        with pytest.raises(VersionConflict):
            await files.write("/notes/a.md", "lost", expect=first.version)
        assert await files.read("/notes/a.md", version=first.version) == b"one\n"
        assert "+two" in (await files.diff("/notes/a.md", first.version)).text
        await files.rollback("/notes/a.md", steps=1)
        assert await files.read("/notes/a.md") == b"one\n"
        assert [v.op for v in await files.history("/notes/a.md")] == ["rollback", "append", "write"]
        gone = await files.delete("/notes", recursive=True)
        assert [entry.path async for entry in files.list("/")] == []
        await files.restore(gone.id)
        assert [entry.path async for entry in files.glob("**/*.md")] == ["/notes/a.md"]


async def test_an_agents_files_are_its_own(start: Start) -> None:
    async with start() as (_, agent):
        await agent("ann").files.write("/secret.txt", "mine")
        with pytest.raises(NotFound):
            await agent("bob").files.read("/secret.txt")
        with pytest.raises(NotFound):
            await agent("bob").files.mount("default:ann", "/ann")


async def test_bytes_come_as_they_are_and_in_ranges(start: Start) -> None:
    async with start() as (_, agent):
        ann = agent("ann")
        data = bytes(range(256)) * 20_000  # more than one piece
        await ann.files.write("/big file#1.bin", data)
        assert await ann.files.read("/big file#1.bin") == data
        url = f"{ann.address.url}/aios/v1/storage/files/big%20file%231.bin"
        async with httpx.AsyncClient(headers=ann.address.headers()) as plain:
            some = await plain.get(url, headers={"range": "bytes=1000-1099"})
            assert (some.status_code, some.content) == (206, data[1000:1100])
            assert some.headers["content-range"] == f"bytes 1000-1099/{len(data)}"
            rest = await plain.get(url, headers={"range": f"bytes={len(data) - 5}-"})
            assert rest.content == data[-5:]
            assert (await plain.get(url + "x")).status_code == 404


async def test_a_share_link_opens_what_was_shared_and_nothing_else(start: Start) -> None:
    async with start() as (_, agent):
        ann = agent("ann")
        await ann.files.write("/pub/<b>.html", "<script>alert(1)</script>")
        await ann.files.write("/private.txt", "no")
        share = await ann.files.share("/pub", password="sesame")
        async with httpx.AsyncClient(base_url=ann.address.url) as anyone:
            link = f"/share/{share.token}"
            assert (await anyone.get(link)).status_code == 401
            assert (await anyone.get(link, auth=("x", "wrong"))).status_code == 401
            page = await anyone.get(link, auth=("", "sesame"))
            assert "&lt;b&gt;.html" in page.text
            assert "<b>" not in page.text
            inner = await anyone.get(f"{link}/%3Cb%3E.html", auth=("", "sesame"))
            assert inner.text == "<script>alert(1)</script>"
            assert inner.headers["content-disposition"].startswith("attachment")
            assert "default-src 'none'" in inner.headers["content-security-policy"]
            for path in ("../private.txt", "%2e%2e/private.txt", "..%2fprivate.txt"):
                assert (await anyone.get(f"{link}/{path}", auth=("", "sesame"))).status_code in (400, 404)
            await ann.files.revoke(share.id)
            assert (await anyone.get(link, auth=("", "sesame"))).status_code == 404


async def test_a_folder_of_the_machine_is_followed_and_mounted(start: Start, tmp_path: Path) -> None:
    real = tmp_path / "real"
    real.mkdir()
    (real / "a.txt").write_text("one")
    async with start() as (_, agent):
        operator, ann = agent("operator"), agent("ann")
        async with httpx.AsyncClient(base_url=ann.address.url) as admin:
            root = {"name": "docs", "folder": str(real)}
            assert (await admin.post("/aios/v1/roots", json=root)).status_code == 201
            assert (await admin.post("/aios/v1/roots", json=root)).status_code == 409
        await ann.files.mount("docs", "/docs")
        await _until(lambda: _text(ann, "/docs/a.txt"), b"one")
        (real / "a.txt").write_text("two!")
        await _until(lambda: _text(ann, "/docs/a.txt"), b"two!")
        with pytest.raises(Forbidden):
            await ann.files.write("/docs/b.txt", "x")
        with pytest.raises(Forbidden):
            await operator.files.mount("docs", "/w", writable=True)
    (real / "a.txt").write_text("three")
    async with start() as (_, agent):  # it is followed again by the next kernel
        await _until(lambda: _text(agent("ann"), "/docs/a.txt"), b"three")


async def _text(client: AsyncClient, path: str) -> bytes:
    try:
        return await client.files.read(path)
    except NotFound:
        return b""


async def _until(get: Callable[[], Any], wanted: object) -> None:
    async with asyncio.timeout(15):
        while await get() != wanted:
            await asyncio.sleep(0.05)


async def test_a_call_sent_twice_happens_once(start: Start) -> None:
    async with start() as (_, agent):
        ann = agent("ann")
        for _ in range(2):
            await ann.syscall(storage.AppendFile(path="/log", text="line\n", idempotency_key="k1"))
            note = await ann.syscall(memory.AddNote(content="once", idempotency_key="k2"))
            made = await ann.syscall(memory.Alloc(text="once", idempotency_key="k3"))
        assert await ann.files.read("/log") == b"line\n"
        assert {entry.id for entry in (await ann.memory.list()).entries} == {note.id, made.id}


async def test_every_call_is_told_of_and_changes_are_journalled(start: Start, tmp_path: Path) -> None:
    async with start() as (kernel, agent):
        ann = agent("ann")
        with kernel.bus.subscribe() as events:
            await ann.files.write("/a", "x")
            await ann.files.read("/a")
            with pytest.raises(NotFound):
                await ann.files.delete("/b")
            told = [(e.kind, e.error) for e in events.unread() if isinstance(e, SyscallFinished)]
        assert told == [("storage.write", ""), ("storage.read", ""), ("storage.delete", "not_found")]
    with sqlite3.connect(tmp_path / "state" / "journal.db") as db:
        rows = db.execute("SELECT kind, state FROM syscalls ORDER BY id").fetchall()
    assert rows == [("storage.write", "done"), ("storage.delete", "failed")]


async def test_calls_have_paths_of_their_own(start: Start) -> None:
    async with start() as (_, agent), httpx.AsyncClient(base_url=agent("ann").address.url) as plain:
        headers = {"x-agent-id": "ann"}
        made = await plain.post("/aios/v1/memory/alloc", json={"text": "tea"}, headers=headers)
        assert made.json()["kind"] == "text"
        found = await plain.post("/aios/v1/memory/search", json={"query": "tea"}, headers=headers)
        assert [hit["id"] for hit in found.json()["hits"]] == [made.json()["id"]]
        assert (await plain.post("/aios/v1/memory/list", headers=headers)).json()["entries"]
        wrong = await plain.post("/aios/v1/storage/read", json={"pth": "/"}, headers=headers)
        assert (wrong.status_code, wrong.json()["error"]["param"]) == (400, "path")
        spec = (await plain.get("/openapi.json")).json()["paths"]
        assert {"/aios/v1/memory/note", "/aios/v1/storage/rollback", "/share/{token}"} <= spec.keys()


async def test_notes_are_thought_about_by_the_model_in_the_agents_name(start: Start) -> None:
    async with start(memory={"thinking": "model", "embedder": "none"}) as (kernel, agent):
        ann = agent("ann")
        with kernel.bus.subscribe() as events:
            note = await ann.memory.note("green tea")
            kinds = [(e.kind, e.pid) for e in events.unread() if isinstance(e, SyscallFinished)]
    assert note.made_by == "model"
    assert [kind for kind, _ in kinds] == ["llm.generate", "memory.note"]
    assert len({pid for _, pid in kinds}) == 1


async def test_agents_take_turns_when_too_many_call(start: Start) -> None:
    async with start(storage={"concurrency": 1}) as (kernel, agent):
        ann, bob = agent("ann"), agent("bob")
        await asyncio.gather(ann.files.write("/0", "x"), bob.files.write("/0", "x"))
        with kernel.bus.subscribe() as events:
            first = kernel.processes.attach("ann")
            calls = [kernel.trap(first, storage.WriteFile(path=f"/{i}", text="x")) for i in range(20)]
            second = kernel.processes.attach("bob")
            calls.append(kernel.trap(second, storage.WriteFile(path="/1", text="x")))
            await asyncio.gather(*calls)
            order = [e.pid for e in events.unread() if isinstance(e, SyscallFinished)]
    assert order.index(second) <= 2


async def test_what_is_bound_to_fail_says_how_to_mend_it(start: Start) -> None:
    async with start() as (_, agent):
        ann = agent("ann")
        for call in (
            storage.ReadFile(path="/../x"),
            storage.WriteFile(path="a\x00b"),
            storage.StatFile(path="x" * 300),
        ):
            with pytest.raises(BadRequest) as told:
                await ann.syscall(call)
            assert told.value.code == "invalid_path"


async def test_the_answer_of_a_syscall_has_the_type_its_call_says(start: Start) -> None:
    async with start() as (kernel, _):
        pid = kernel.processes.attach("ann")
        assert isinstance(await kernel.trap(pid, memory.Alloc(text="x")), EntryInfo)


async def test_what_a_conversation_tells_is_known_in_the_next(start: Start) -> None:
    async with start(memory={"embedder": "none"}) as (kernel, agent):
        ann = agent("ann")
        fact = memory.Alloc(text="Ann drinks green tea.", tags=("fact",))
        await ann.syscall(fact)
        with kernel.bus.subscribe() as events:
            done = await ann.chat([{"role": "user", "content": "what tea does Ann drink?"}], facts=60)
            assert done.usage.prompt_tokens > 10  # what is known went before the question
            plain = await ann.chat([{"role": "user", "content": "what tea does Ann drink?"}], facts=1)
            assert plain.usage.prompt_tokens < done.usage.prompt_tokens  # the budget has room for none
            async with asyncio.timeout(10):
                async for event in events:  # it is learned from behind the answer
                    if isinstance(event, SyscallFinished) and event.kind == "memory.learn":
                        break
        with pytest.raises(BadRequest):
            await ann.complete("no conversation", facts=10)


async def test_memory_and_files_are_tools_of_an_agent(start: Start) -> None:
    async with start() as (_, agent):
        ann = agent("ann")
        tools = {tool.name: tool for tool in (*memory_tools(ann), *file_tools(ann))}
        assert "Remembered" in await tools["remember"].call({"text": "Tea is green.", "tags": ["drink"]})
        assert "Tea is green." in await tools["recall"].call('{"query": "tea", "limit": "3"}')
        await ann.memory.block("persona", "terse")
        assert await tools["edit_memory"].call({"block": "persona", "text": "kind"}) == "terse\nkind"
        await tools["write_file"].call({"path": "/a/b.txt", "text": "x" * 5_000})
        assert "read on at 4000" in await tools["read_file"].call({"path": "/a/b.txt"})
        await tools["append_file"].call({"path": "/a/b.txt", "text": "end"})
        await tools["move_file"].call({"path": "/a/b.txt", "to": "/c.txt"})
        assert await tools["list_files"].call({}) == "/a/\n/c.txt"
        assert "bin" in await tools["delete_file"].call({"path": "/c.txt"})
        assert await tools["find_files"].call({"query": "zebra"}) == "None."
        with pytest.raises(ToolError, match="/none"):  # words that a model can mend its call by
            await tools["read_file"].call({"path": "/none"})


async def test_blocks_are_always_in_the_window_of_who_asks_for_them(start: Start) -> None:
    async with start() as (kernel, agent):
        ann = agent("ann")
        await ann.memory.block("persona", "I am terse and kind.")
        for blocks, more in ((False, 0), (True, 5)):
            await ann.chat(
                [{"role": "system", "content": "Be good."}, {"role": "user", "content": "hi"}], blocks=blocks
            )
            told = await kernel.composition(kernel.processes.attach("ann"))
            assert (told.blocks > 0, told.messages) == (blocks, 3 if blocks else 2)
            assert told.blocks >= more
