"""Labels belong to what was written, and come along however it is read."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest
from tests.kernels import settings

from aios.errors import NotFound
from aios.kernel.kernel import Kernel
from aios.kernel.pcb import Process
from aios.kernel.records import AccessRow
from aios.memory.manager import MemoryManager
from aios.memory.records import Identity
from aios.server.app import create_app
from aios.syscalls import memory as m
from aios.syscalls import storage as s
from aios.syscalls.flow import flowing
from aios.syscalls.memory_records import Filter as Entries
from aios.syscalls.storage_records import Filter as Files
from aios.syscalls.tools import CallTool

pytestmark = pytest.mark.anyio
WAYS: dict[str, list[Any]] = {
    "read": [s.ReadFile(path="/lab/plan.md")],
    "an old version": [s.ReadFile(path="/lab/plan.md", version=2)],
    "stat": [s.StatFile(path="/lab/plan.md")],
    "list": [s.ListFolder(path="/lab")],
    "glob": [s.Glob(pattern="/lab/*.md")],
    "history": [s.FileHistory(path="/lab/plan.md")],
    "diff": [s.DiffFile(path="/lab/plan.md", old=2)],
    "search": [s.Find(query="zebra")],
    "search by name": [s.Find(where=Files(name="pl*"))],
    "group": [s.GroupFiles()],
    "join": [s.JoinFolders(left="/lab", right="/", least=0.0)],
    "through a link": [s.LinkFile(target="/lab/plan.md", path="/l"), s.ReadFile(path="/l")],
    "a copy": [s.Copy(path="/lab/plan.md", to="/mine"), s.ReadFile(path="/mine")],
    "a copied folder": [s.Copy(path="/lab", to="/all"), s.ReadFile(path="/all/plan.md")],
    "a move": [s.Move(path="/lab/plan.md", to="/mine"), s.ReadFile(path="/mine")],
    "an append": [s.AppendFile(path="/lab/plan.md", text="x"), s.ReadFile(path="/lab/plan.md")],
    "a rollback": [s.Rollback(path="/lab/plan.md", version=2)],
    "tool read_file": [CallTool(name="read_file", arguments={"path": "/lab/plan.md"})],
    "tool find_files": [CallTool(name="find_files", arguments={"query": "zebra"})],
}


@asynccontextmanager
async def laboratory(folder: Path) -> AsyncGenerator[tuple[Kernel, Process]]:
    """A kernel with a shared root, and ann, who has private data and wrote of it there."""
    roots = {"roots": [{"name": "lab", "writable": True}]}
    memory = {"thinking": "extract", "embedder": "none"}
    rules = folder / "rules.toml"
    rules.write_text('[[rules]]\nid = "declassify"\neffect = "allow"\nactions = ["label.declassify"]\n')
    access = {"rules": [str(rules)], "ask": ["irreversible"]}
    async with Kernel(settings(folder / "state", storage=roots, memory=memory, access=access)) as kernel:
        ann = await mounted(kernel, "ann")
        await kernel.trap(ann.pid, s.WriteFile(path="/lab/plan.md", text="zebra, in public"))
        kernel.guard.saw(ann, {"private": True})
        await kernel.trap(ann.pid, s.WriteFile(path="/lab/plan.md", text="zebra, for ann alone"))
        await kernel.managers.storage.search.settled()
        yield kernel, ann


async def mounted(kernel: Kernel, name: str) -> Process:
    process = kernel.processes.get(kernel.processes.attach(name))
    await kernel.trap(process.pid, s.MountRoot(path="/lab", name="lab", writable=True))
    return process


@pytest.mark.parametrize("way", WAYS)
async def test_a_file_brings_its_labels_however_it_is_read(tmp_path: Path, way: str) -> None:
    async with laboratory(tmp_path) as (kernel, _):
        bob = await mounted(kernel, "bob")
        assert not kernel.guard.subject(bob).labels
        for call in WAYS[way]:
            await kernel.trap(bob.pid, call)
        assert kernel.guard.subject(bob).labels == {"private"}


async def test_labels_are_of_the_version_and_come_back_with_it(tmp_path: Path) -> None:
    async with laboratory(tmp_path) as (kernel, ann):
        bob = await mounted(kernel, "bob")
        await kernel.trap(bob.pid, s.WriteFile(path="/lab/other.md", text="nothing"))
        await kernel.trap(bob.pid, s.ReadFile(path="/lab/other.md"))
        await kernel.trap(bob.pid, s.ReadFile(path="/lab/plan.md", version=1))
        assert not kernel.guard.subject(bob).labels
        await kernel.trap(ann.pid, s.WriteFile(path="/own.md", text="private"))
        await kernel.trap(ann.pid, s.TakeSnapshot(name="monday"))
        gone = await kernel.trap(ann.pid, s.DeleteFile(path="/own.md"))
        assert (await kernel.trap(ann.pid, s.Restore(id=gone.id))).labels == ("private",)
        await kernel.trap(ann.pid, s.Describe(path="/own.md", tags=("x",)))
        await kernel.guard.declassify(ann, "agent:default:ann")
        await kernel.guard.declassify(ann, "file:default:ann:/own.md")
        assert not (await kernel.trap(ann.pid, s.StatFile(path="/own.md", snapshot="monday"))).labels
        assert not kernel.guard.subject(ann).labels
    async with Kernel(settings(tmp_path / "state", storage={"roots": [{"name": "lab"}]})) as kernel:
        eve = kernel.processes.get(kernel.processes.attach("eve"))
        await kernel.trap(eve.pid, s.MountRoot(path="/lab", name="lab"))
        await kernel.trap(eve.pid, s.ReadFile(path="/lab/plan.md"))
        assert kernel.guard.subject(eve).labels == {"private"}


async def test_a_link_for_people_opens_nothing_that_is_private_since(tmp_path: Path) -> None:
    async with laboratory(tmp_path) as (kernel, _):
        bob = await mounted(kernel, "bob")
        await kernel.trap(bob.pid, s.WriteFile(path="/docs/open.md", text="open"))
        link = await kernel.trap(bob.pid, s.ShareFile(path="/docs"))
        await kernel.trap(bob.pid, s.Copy(path="/lab/plan.md", to="/docs/plan.md"))
        shares = kernel.managers.storage.shares
        assert (await shares.resolve(link.token, inner="/open.md")).stat.path == "/docs/open.md"
        with pytest.raises(NotFound):
            await shares.resolve(link.token, inner="/plan.md")
        transport = httpx.ASGITransport(create_app(kernel))
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as http:
            told = (await http.get(f"/share/{link.token}")).text
        assert "open.md" in told
        assert "plan.md" not in told
        now = await kernel.trap(bob.pid, s.ShareFile(path="/docs"))  # decided with what bob has seen by now
        assert (await shares.resolve(now.token, inner="/plan.md")).stat.labels == ("private",)
        kernel.guard.saw(bob, {"untrusted": True})
        bob = kernel.processes.get(bob.pid)
        assert kernel.guard.decide(bob, "storage.share", "file:/docs", {"sink": True}).effect == "ask"


async def test_a_memory_brings_its_labels_however_it_is_read(tmp_path: Path) -> None:
    async with laboratory(tmp_path) as (kernel, ann):
        note = await kernel.trap(ann.pid, m.AddNote(content="The zebra is at the gate."))
        block = await kernel.trap(ann.pid, m.MakeBlock(name="persona", text="zebra"))
        for each in (note, block):
            await kernel.trap(ann.pid, m.Share(id=each.id, name="default", whom="group", write=True))
        ways: list[Any] = [
            m.Read(id=note.id), m.Stat(id=note.id), m.ReadNote(id=note.id), m.List(), m.Search(query="zebra"),
            m.Graph(), m.History(id=note.id), m.ListBlocks(), m.ReviseNote(id=note.id, tags=("t",)),
            m.EditBlock(block=block.id, action="append", text="x"), m.Search(query="zebra", filter=Entries()),
            CallTool(name="recall", arguments={"query": "zebra"}),
            CallTool(name="read_memory", arguments={"id": note.id}), CallTool(name="memory_blocks"),
        ]  # fmt: skip
        for number, call in enumerate(ways):
            process = kernel.processes.get(kernel.processes.attach(f"reader-{number}"))
            await kernel.trap(process.pid, call)
            assert kernel.guard.subject(process).labels == {"private"}, call
        exported = await kernel.trap(ann.pid, m.Export(filter=Entries(kinds=("note",))))
        fresh = kernel.processes.get(kernel.processes.attach("importer"))
        kernel.guard.saw(fresh, {"untrusted": True})
        (made,) = (await kernel.trap(fresh.pid, m.Import(data=exported.data))).ids
        assert (await kernel.trap(fresh.pid, m.Stat(id=made))).labels == ("untrusted",)
        await kernel.guard.declassify(ann, "agent:default:ann")
        await kernel.trap(ann.pid, m.Export())
        assert kernel.guard.subject(ann).labels == {"private"}


async def test_what_an_agent_may_is_decided_anew_when_its_labels_change(tmp_path: Path) -> None:
    rules = tmp_path / "rules.toml"
    rules.write_text("""
        rules = [
            {id = "declassify", effect = "allow", actions = ["label.declassify"]},
            {id = "quiet", effect = "deny", actions = ["llm.generate"], labels = ["private"]},
        ]
    """)
    async with Kernel(settings(tmp_path / "state", access={"rules": [str(rules)]})) as kernel:
        guard = kernel.guard
        ann = kernel.processes.get(kernel.processes.attach("ann"))

        def asks(model: str) -> str:
            return guard.decide(ann, "llm.generate", model).effect

        assert [asks("model:a"), asks("model:a"), asks("model:b")] == ["allow", "allow", "allow"]
        guard.saw(ann, {"private": True})
        assert [asks("model:b"), asks("model:b"), asks("model:a")] == ["deny", "deny", "deny"]
        await guard.declassify(ann, "agent:default:ann")
        assert asks("model:a") == "allow"


async def test_labels_of_a_memory_are_there_with_it_and_go_by_asking(tmp_path: Path) -> None:
    async with laboratory(tmp_path) as (kernel, ann):
        memory = kernel.managers.memory
        note = await kernel.trap(ann.pid, m.AddNote(content="The zebra is at the gate."))
        shared = m.Share(id=note.id, name="default", whom="group", write=True)
        await kernel.trap(ann.pid, shared)
        assert await memory.labels.owner_of(note.id) == "default:ann"
        assert kernel.guard.labels.names() == ("agent:default:ann",)  # the memory keeps its own
        bob = kernel.processes.get(kernel.processes.attach("bob"))
        kernel.guard.saw(bob, {"untrusted": True})
        await kernel.trap(bob.pid, m.ReviseNote(id=note.id, content="It is not."))
        mine = await kernel.trap(bob.pid, m.AddNote(content="Where is the zebra?"))
    async with Kernel(settings(tmp_path / "state", access={"rules": [str(tmp_path / "rules.toml")]})) as kernel:
        eve = kernel.processes.get(kernel.processes.attach("eve"))
        await kernel.trap(eve.pid, m.ReadNote(id=note.id))
        assert kernel.guard.subject(eve).labels == {"private", "untrusted"}
        bob = kernel.processes.get(kernel.processes.attach("bob"))
        assert (await kernel.trap(bob.pid, m.Stat(id=mine.id))).labels == ("private", "untrusted")
        await kernel.guard.declassify(bob, f"memory:{mine.id}", ("private",))
        assert (await kernel.trap(bob.pid, m.Stat(id=mine.id))).labels == ("untrusted",)


async def test_a_memory_and_its_labels_are_on_disk_together(tmp_path: Path) -> None:
    ann, bob = Identity(agent="default:ann"), Identity(agent="default:bob")
    async with MemoryManager(tmp_path / "memory") as memory:
        with flowing(frozenset({"private"})):
            made = await memory.alloc(ann, m.Alloc(text="zebra"))
            await memory.share(ann, m.Share(id=made.id, name="default:bob", write=True))
        for number in range(2):  # at each moment after a write returned, the power fails
            await asyncio.to_thread(shutil.copytree, tmp_path / "memory", tmp_path / f"copy{number}")
            async with MemoryManager(tmp_path / f"copy{number}") as after:
                labels = (await after.stat(ann, made.id)).labels
                assert labels == (("private",), ("private", "untrusted"))[number]
            with flowing(frozenset({"untrusted"})) as flow:
                await memory.write(bob, m.Write(id=made.id, text="lion"))
                assert flow.seen == {"private", "untrusted"}


async def test_labels_that_an_earlier_version_kept_are_handed_over(tmp_path: Path) -> None:
    async with laboratory(tmp_path) as (kernel, ann):
        await kernel.guard.declassify(ann, "agent:default:ann")
        note = await kernel.trap(ann.pid, m.AddNote(content="The zebra is at the gate."))
        await kernel.trap(ann.pid, s.WriteFile(path="/a", text="zebra"))
        old = {f"memory:{note.id}": "private", "file:default:ann:/a": "untrusted", "memory:n_gone": "private"}
        rows = [
            AccessRow(kind="labels", name=name, value=msgspec.Raw(msgspec.json.encode([label])))
            for name, label in old.items()
        ]
        await kernel._journal.commit_access(rows)
    for _ in range(2):
        async with Kernel(settings(tmp_path / "state")) as kernel:
            assert not [name for name in kernel.guard.labels.names() if not name.startswith("agent:")]
            ann = kernel.processes.get(kernel.processes.attach("ann"))
            assert (await kernel.trap(ann.pid, m.Stat(id=note.id))).labels == ("private",)
            assert (await kernel.trap(ann.pid, s.StatFile(path="/a"))).labels == ("untrusted",)
            assert kernel.guard.subject(ann).labels == {"private", "untrusted"}
