"""What one agent owns, and how others try to get at it: one table for every kind of syscall."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncGenerator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from aios import syscalls as k
from aios.access.approvals import Answer, Approval
from aios.access.decision import agent_id
from aios.access.grants import Granted
from aios.config import Settings
from aios.kernel.kernel import Kernel
from aios.kernel.process import KERNEL
from aios.kernel.tooling import folder_of
from aios.syscalls import memory as m
from aios.syscalls import storage as s
from aios.syscalls import tools as t
from aios.syscalls.memory_records import Filter as Entries
from aios.syscalls.memory_records import Grant
from aios.syscalls.storage_records import Filter as Files
from tests.kernels import ask, say, settings, spawn, until

PRIVATE = "canary-of-ann-9d41"
"""In all that is the owner's alone."""
SHARED = "canary-of-research-27ce"
"""In what those of its group may see too."""
NAME, GROUP = "ann", "research"
KEY = "a key of hers"
"""Idempotency key under which the owner did everything."""
RULES = """
[[rules]]
id = "declassify"
effect = "deny"
actions = ["label.declassify"]
except_groups = ["admin"]
"""
OWNER_ASKED = f"""
[[rules]]
id = "irreversible"
effect = "ask"
agents = ["{NAME}"]
groups = ["{GROUP}"]
when = {{ irreversible = true }}
"""
"""Only the owner is asked: what others do to their own is held up by no question."""


def guarded(folder: Path, *, asking: bool = False, **tables: Any) -> Settings:
    """Of a kernel on which all this can be owned. `asking`: everybody is asked, as by default."""
    rules = folder / "rules.toml"
    rules.write_text(RULES if asking else RULES + OWNER_ASKED)
    return settings(
        folder / "state",
        access={"rules": [str(rules)], **({} if asking else {"ask": []})},
        memory={"thinking": "extract", "embedder": "none"},
        storage={"roots": [{"name": "lab", "groups": [GROUP], "writable": True}]},
        **tables,
    )


@dataclass(frozen=True)
class Estate:
    """The owner's: ids of what it has. `agent` is `group:name`."""

    kernel: Kernel
    agent: str
    pid: int
    child: int
    entries: Mapping[str, str]
    binned: int
    share: int
    token: str
    folder: Path
    approval: str
    parked: asyncio.Task[Any]

    async def do(self, call: k.Call[Any]) -> Any:
        return await self.kernel.trap(self.pid, call)


async def plant(kernel: Kernel, name: str = NAME, group: str = GROUP) -> Estate:
    """Make an agent that owns something of everything there is, with the canary in it."""
    pid = kernel.processes.attach(name, group=group)
    child = await spawn(kernel, pid, f"{name}/{SHARED}", idempotency_key=f"{KEY}: child")
    await ask(kernel, pid, PRIVATE, idempotency_key=KEY)

    async def do(call: k.Call[Any]) -> Any:
        return await kernel.trap(pid, call)

    entries = await _known(do)
    async with answered(kernel, "once"):
        binned, share = await _files(do)
    folder = folder_of(kernel.settings.state_dir() / "work", agent_id(group, name))
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "notes.txt").write_text(PRIVATE)
    agent = agent_id(group, name)
    kernel.keys.create(name, group)
    kernel.guard.vault.put("token", f"{PRIVATE} secret", agents=(agent,))
    given = Granted(owner=agent, resource=f"context:{PRIVATE}", grant=Grant(whom="agent", name="x:carol"))
    await kernel.guard.grant(kernel.processes.get(pid), given)
    parked = asyncio.create_task(kernel.trap(pid, s.ForgetVersions(path=f"/{PRIVATE}.md")))
    await until(lambda: kernel.guard.approvals.list("waiting") or parked.done())
    asked = [a.id for a in kernel.guard.approvals.list("waiting")]
    return Estate(
        kernel,
        agent,
        pid,
        child.pid,
        entries,
        binned,
        share.id,
        share.token,
        folder,
        *asked[:1] or [""],
        parked,
    )


@asynccontextmanager
async def answered(kernel: Kernel, answer: Answer, but: str = "") -> AsyncGenerator[list[Approval]]:
    """A person who answers all that is asked in here, but what the agent `but` asks; and what was asked."""
    asked: list[Approval] = []

    async def answering() -> None:
        while True:
            for one in kernel.guard.approvals.list("waiting"):
                if one.agent != but:
                    asked.append(one)
                    await kernel.guard.answer(kernel.processes.get(KERNEL), one.id, answer)
            await asyncio.sleep(0.001)

    person = asyncio.create_task(answering())
    try:
        yield asked
    finally:
        person.cancel()
        await asyncio.wait([person])


async def _known(do: Callable[[k.Call[Any]], Any]) -> dict[str, str]:
    tags, talk = (PRIVATE,), (k.Message(role="user", content=PRIVATE),)
    made = {
        "text": await do(m.Alloc(text=PRIVATE, name=PRIVATE, tags=tags, idempotency_key=KEY)),
        "data": await do(m.Alloc(kind="data", data=b"\0" + PRIVATE.encode(), tags=tags)),
        "fact": await do(m.Alloc(text=f"Ann drinks {PRIVATE}.", tags=("fact",))),
        "note": await do(m.AddNote(content=f"the plan is {PRIVATE}", tags=tags)),
        "other": await do(m.AddNote(content=f"the plan was {PRIVATE}", tags=tags)),
        "block": await do(m.MakeBlock(name="persona", text=PRIVATE, about=PRIVATE)),
        "talk": await do(m.SaveConversation(messages=talk, tokens=(1, 2, 3), name=PRIVATE)),
    }
    await do(m.Share(id=made["text"].id, name="x:carol"))
    await do(m.Pin(id=made["data"].id))
    await do(m.LinkNotes(id=made["note"].id, other=made["other"].id))
    return {what: entry.id for what, entry in made.items()}


async def _files(do: Callable[[k.Call[Any]], Any]) -> tuple[int, Any]:
    await do(s.WriteFile(path="/plan.md", text="an older plan"))
    await do(s.WriteFile(path="/plan.md", text=PRIVATE, idempotency_key=KEY))
    await do(s.Describe(path="/plan.md", tags=(PRIVATE,), about={"of": PRIVATE}))
    await do(s.WriteFile(path=f"/docs/{PRIVATE}.md", text=PRIVATE))
    await do(s.WriteFile(path=f"/{PRIVATE}.md", text=PRIVATE))
    await do(s.LinkFile(target=f"/{PRIVATE}.md", path="/link"))
    await do(s.TakeSnapshot(name="monday"))
    await do(s.WriteFile(path=f"/tuesday-{PRIVATE}", text=PRIVATE))
    await do(s.WriteFile(path=f"/gone-{PRIVATE}", text=PRIVATE))
    gone = await do(s.DeleteFile(path=f"/gone-{PRIVATE}"))
    await do(s.MountRoot(path="/lab", name="lab", writable=True))
    await do(s.WriteFile(path="/lab/results.md", text=SHARED))
    return gone.id, await do(s.ShareFile(path="/docs"))


# -- attempts -----------------------------------------------------------------------------------------


def attempts(of: Estate) -> Mapping[type[k.Call[Any]], tuple[k.Call[Any], ...]]:
    """What others may try with the owner's names, for each kind of syscall."""
    tried = (*_with_models(of), *_with_processes(of), *_with_memory(of), *_with_files(of), *_with_tools(of))
    table: dict[type[k.Call[Any]], tuple[k.Call[Any], ...]] = {}
    for call in tried:
        table[type(call)] = (*table.get(type(call), ()), call)
    return table


def _with_models(of: Estate) -> Iterator[k.Call[Any]]:
    yield say("What do you know?", idempotency_key=KEY)
    yield say("What does Ann drink?", facts=500)
    yield k.Embed(inputs=("Ann",))


def _with_processes(of: Estate) -> Iterator[k.Call[Any]]:
    for pid in (of.pid, of.child, 1):
        for what in ("kill", "pause", "resume"):
            yield k.SendSignal(pid=pid, signal=what)
        yield k.Nice(pid=pid, nice=19)
    yield k.SendSignal(pid=of.pid, signal="kill", idempotency_key=KEY)
    group = of.agent.partition(":")[0]
    for name in ("admin", f"{group}s", f"{group}/../admin", ""):
        yield k.Spawn(name=NAME, group=name, rights=(), limits=k.Limits(calls=0))
    yield k.Spawn(name=f"{NAME}/below", idempotency_key=f"{KEY}: child")
    yield k.DeclarePlan(steps=(k.PlanStep(name="x"),))
    yield k.Ps(all=True)
    yield k.Exit()


def _with_memory(of: Estate) -> Iterator[k.Call[Any]]:
    for id in of.entries.values():
        yield from (m.Read(id=id), m.Stat(id=id), m.Pin(id=id), m.Pin(id=id, pinned=False), m.Delete(id=id))
        yield from (m.Write(id=id, text="mine"), m.Update(id=id, name="mine", tags=(), append=b"mine"))
        yield from (m.Share(id=id, name="ops:eve", write=True), m.Share(id=id, name=GROUP, whom="group"))
        yield from (m.Unshare(id=id, name="x:carol"), m.History(id=id), m.ReadNote(id=id, use=True))
        yield from (m.ReviseNote(id=id, content="mine"), m.ReadConversation(id=id))
        yield from (m.LinkNotes(id=id, other=of.entries["other"]), m.EditBlock(block=id, action="set", text=""))
        yield m.SaveConversation(messages=(), id=id)
    for found in (Entries(), Entries(tags=(PRIVATE,)), Entries(kinds=("note",))):
        yield from (m.List(filter=found), m.Export(filter=found), m.Graph(filter=found), m.Clear(filter=found))
        yield from (m.Search(query="plan Ann drinks", filter=found), m.Search(query="plan", by="words"))
    line = msgspec.json.encode({"id": of.entries["text"], "kind": "text", "data": "bWluZQ=="})
    yield m.Import(data=b'{"aios_memory":1}\n' + line)
    yield from (m.Alloc(text="mine", idempotency_key=KEY), m.AddNote(content="mine", idempotency_key=KEY))
    yield from (m.MakeBlock(name="persona", text="mine"), m.ListBlocks(), m.Usage())
    yield m.EditBlock(block="persona", action="append", text="mine")
    talk = (k.Message(role="user", content="canary"),)
    yield from (m.FindPrefix(messages=talk), m.FindPrefix(tokens=(1, 2, 3)), m.LearnFacts(messages=talk))
    yield from (m.RecallFacts(query="Ann drinks"), m.RecallFacts(at=1e10))


PATHS = ("/plan.md", "/docs", "/link", "/lab/results.md", "/../research:ann/plan.md", "/research:ann/plan.md",
         "/%2e%2e/research:ann/plan.md", "/plan.md\u200b", "plan.md")  # fmt: skip
"""The owner's, as others may write them."""


def _with_files(of: Estate) -> Iterator[k.Call[Any]]:
    yield from (s.JoinFolders(left=path, right="/", least=0.0) for path in PATHS)
    for path in PATHS:
        yield from (s.ReadFile(path=path), s.ReadFile(path=path, version=1), s.StatFile(path=path))
        yield from (s.ReadFile(path=path, snapshot="monday"), s.StatFile(path=path, follow=False))
        yield from (s.ListFolder(path=path), s.FileHistory(path=path), s.DiffFile(path=path, old=1))
        yield from (s.Rollback(path=path, version=1), s.ForgetVersions(path=path), s.ShareFile(path=path))
        yield from (s.Describe(path=path, tags=("mine",)), s.TruncateFile(path=path), s.Unmount(path=path))
        yield from (s.Move(path=path, to="/mine"), s.Copy(path=path, to="/mine", replace=True))
        yield from (s.Copy(path=path, to="/m", snapshot="monday"), s.DeleteFile(path=path, recursive=True))
        yield from (s.LinkFile(target=path, path="/mine"), s.ReadFile(path="/mine"))
        yield from (s.AppendFile(path=path, text="mine"), s.WriteFile(path=path, text="mine"))
        yield s.MakeFolder(path=f"{path}.d")
        yield from (s.Compare(old="monday", path=path), s.RestoreSnapshot(snapshot="monday", path=path))
        yield s.Glob(pattern=path)
    for name in ("research:ann", "lab/../research:ann", "kernel/tools", "ann"):
        yield s.MountRoot(path="/theirs", name=name, writable=True)
    yield s.WriteFile(path="/plan.md", text="mine", idempotency_key=KEY)
    yield from (s.Compare(old="monday"), s.RestoreSnapshot(snapshot="monday"))
    yield from (s.ListBin(), s.Restore(id=of.binned), s.Restore(id=of.binned, to="/mine"), s.Glob(pattern="**"))
    yield from (s.ListSnapshots(), s.TakeSnapshot(name="monday"), s.DropSnapshot(name="monday"))
    yield from (
        s.Find(query="plan canary"),
        s.Find(where=Files(tags=(PRIVATE,))),
        s.GroupFiles(),
        s.ListMounts(),
    )
    yield from (s.ListShares(), s.RevokeShare(id=of.share), s.StorageUsage())
    yield from (s.Purge(ids=(of.binned,)), s.Purge())


def _with_tools(of: Estate) -> Iterator[k.Call[Any]]:
    secret = {"expression": "{{secret:token}}"}
    yield from (t.CallTool(name="calculator", arguments=secret), t.CallTool(name="{{secret:token}}"))
    for id in of.entries.values():
        yield t.CallTool(name="read_memory", arguments={"id": id})
        yield t.CallTool(name="edit_memory", arguments={"block": id, "text": "mine", "replacing": PRIVATE[:9]})
    for path in PATHS:
        yield t.CallTool(name="read_file", arguments={"path": path})
        yield t.CallTool(name="move_file", arguments={"path": path, "to": "/mine"})
        yield t.CallTool(name="delete_file", arguments={"path": path})
    for name in ("recall", "find_files"):
        yield t.CallTool(name=name, arguments={"query": "plan canary Ann drinks"})
    yield from (t.CallTool(name="memory_blocks"), t.CallTool(name="list_files"))
    yield from (t.ListTools(), t.ListTools(name="{{secret:token}}"), t.RemoveTools(name="clock"))
    yield t.AddTools(source=t.ToolSource(name="mine", kind="package", path=str(of.folder)))


# -- what became of it ---------------------------------------------------------------------------------


def holds(answer: object, *marks: str) -> bool:
    """Whether one of the marks is in an answer: as it is, or in base64 from whichever byte."""
    raw = answer if isinstance(answer, bytes) else msgspec.msgpack.encode(answer)
    return any(each in raw for mark in marks for each in (mark.encode(), *_encoded(mark.encode())))


def _encoded(mark: bytes) -> Iterator[bytes]:
    for shift in range(3):
        yield base64.b64encode(b"\0" * shift + mark + b"\0" * 3)[4 if shift else 0 : 4 * (len(mark) // 3)]


async def photograph(of: Estate) -> dict[str, Any]:
    """All that the owner has, to be compared."""
    do = of.do
    entries = (await do(m.List(limit=1000))).entries
    files = [e async for e in _walk(of)]
    told = {
        "entries": [_placeless(e) for e in entries],
        "bodies": (await do(m.Export())).data,
        "talk": await do(m.ReadConversation(id=of.entries["talk"])),
        "blocks": await do(m.ListBlocks()),
        "versions": [await do(m.History(id=of.entries[each])) for each in ("note", "other", "block")],
        "files": files,
        "bin": await do(s.ListBin()),
        "snapshots": await do(s.ListSnapshots()),
        "snapshot": await do(s.Glob(pattern="**", snapshot="monday")),
        "shares": await do(s.ListShares()),
        "mounts": await do(s.ListMounts()),
        "room": await do(s.StorageUsage()),
        "processes": [_lasting(of.kernel.processes.info(pid)) for pid in (of.pid, of.child)],
        "work": {each.name: each.read_bytes() for each in of.folder.iterdir()},
        "secrets": of.kernel.guard.vault.list(),
        "grants": of.kernel.guard.grants.list(of.agent),
        "approvals": [a for a in of.kernel.guard.approvals.list() if a.agent == of.agent],
        "keys": [key for key in of.kernel.keys.list() if agent_id(key.group, key.name) == of.agent],
        "tools": await of.kernel.trap(1, t.ListTools()),
    }
    return {what: msgspec.to_builtins(value) for what, value in told.items()}


async def _walk(of: Estate) -> Any:
    for entry in (await of.do(s.Glob(pattern="**"))).entries:
        history = await of.do(s.FileHistory(path=entry.path))
        yield entry, history, (await of.do(s.ReadFile(path=entry.path))).data if entry.kind == "file" else b""


def _placeless(entry: Any) -> Any:
    """Where a body lies at the moment is no matter."""
    return msgspec.structs.replace(entry, place="disk")


def _lasting(info: k.ProcessInfo) -> k.ProcessInfo:
    usage = {"usage": k.ProcessUsage(), "last_active": 0.0, "waiting_s": 0.0, "attained": 0}
    return msgspec.structs.replace(info, **usage)
