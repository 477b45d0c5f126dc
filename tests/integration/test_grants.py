"""One table of grants: what an owner gives by `memory.share`, by glob or for a group is one thing."""

from __future__ import annotations

import sqlite3
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
from tests.kernels import settings

from aios.access.grants import Granted, Grants
from aios.errors import Forbidden, NotFound
from aios.kernel.kernel import Kernel
from aios.memory.manager import MemoryManager
from aios.memory.records import Identity
from aios.syscalls import memory
from aios.syscalls.memory_records import Grant

pytestmark = pytest.mark.anyio

GROUPS = '[groups]\nstaff = ["research"]\n'


def configured(folder: Path) -> Any:
    (folder / "rules.toml").write_text(GROUPS)
    return settings(folder / "state", access={"rules": [str(folder / "rules.toml")], "ask": ["irreversible"]})


async def test_a_grant_by_glob_lets_read_find_and_list_until_it_is_taken_back(tmp_path: Path) -> None:
    async with Kernel(configured(tmp_path)) as kernel:
        ann, bob = kernel.processes.attach("ann"), kernel.processes.attach("bob", group="research")
        owner = kernel.processes.get(ann)
        text = await kernel.trap(ann, memory.Alloc(text="tea at four"))
        note = await kernel.trap(ann, memory.AddNote(content="tea is green"))
        assert (await kernel.trap(bob, memory.Search(query="tea"))).hits == ()
        grant = Grant(whom="group", name="staff", write=True)  # research is in it
        await kernel.guard.grant(owner, Granted(owner=owner.agent, resource="memory:t_*", grant=grant))
        hits = (await kernel.trap(bob, memory.Search(query="tea"))).hits
        assert [hit.id for hit in hits] == [text.id]
        assert [each.access for each in (await kernel.trap(bob, memory.List())).entries] == ["write"]
        await kernel.trap(bob, memory.Write(id=text.id, text="tea at five"))
        with pytest.raises(NotFound):
            await kernel.trap(bob, memory.Read(id=note.id))
        assert (await kernel.trap(ann, memory.Stat(id=text.id))).grants == (grant,)
    async with Kernel(configured(tmp_path)) as kernel:
        bob, owner = kernel.processes.attach("bob", group="research"), kernel.processes.get(ann)
        assert (await kernel.trap(bob, memory.Read(id=text.id))).data == b"tea at five"
        await kernel.guard.revoke(owner, owner.agent, "memory:t_*", "group", "staff")
        with pytest.raises(NotFound):
            await kernel.trap(bob, memory.Read(id=text.id))
        assert (await kernel.trap(bob, memory.List())).entries == ()


async def test_what_is_shared_is_listed_revoked_and_ends_with_its_entry(tmp_path: Path) -> None:
    async with Kernel(configured(tmp_path)) as kernel:
        ann, bob = kernel.processes.attach("ann"), kernel.processes.attach("bob")
        owner, admin = kernel.processes.get(ann), kernel.processes.attach("boss", group="admin")
        call = memory.Alloc(text="x", idempotency_key="k")
        made = await kernel.trap(ann, call)
        await kernel.trap(ann, memory.Share(id=made.id, name="bob"))
        (listed,) = kernel.guard.grants.list(owner.agent)
        assert (listed.resource, listed.grant.name) == (f"memory:{made.id}", "default:bob")
        await kernel.guard.revoke(
            kernel.processes.get(admin), owner.agent, listed.resource, "agent", "default:bob"
        )
        with pytest.raises(NotFound):
            await kernel.trap(bob, memory.Read(id=made.id))
        await kernel.trap(ann, memory.Share(id=made.id, name="bob"))
        await kernel.managers.memory.delete(Identity(agent=owner.agent), made.id)
        assert kernel.guard.grants.list() == ()
        again = await kernel.trap(ann, call)  # the same key, so the same id
        assert again.id == made.id
        with pytest.raises(NotFound):
            await kernel.trap(bob, memory.Read(id=made.id))
    async with Kernel(configured(tmp_path)) as kernel:
        assert kernel.guard.grants.list() == ()


async def test_what_expired_is_forgotten_on_disk_too(tmp_path: Path) -> None:
    async with Kernel(configured(tmp_path)) as kernel:
        ann = kernel.processes.get(kernel.processes.attach("ann"))
        over = Grant(whom="agent", name="default:bob", expires=1.0)
        await kernel.guard.grant(ann, Granted(owner=ann.agent, resource="memory:*", grant=over))
        await kernel.guard.keep_house()
    with sqlite3.connect(tmp_path / "state" / "journal.db") as db:
        assert db.execute("SELECT count(*) FROM access WHERE kind = 'grant'").fetchone() == (0,)


async def test_grants_that_memory_kept_itself_are_handed_over(tmp_path: Path) -> None:
    text = files("aios.memory").joinpath("memory.sql").read_text()
    first = text.split("-- migration ")[1].partition("\n")[2]
    with sqlite3.connect(tmp_path / "memory.db") as db:
        db.executescript(f"{first} PRAGMA user_version = 1;")
        db.execute("INSERT INTO owners (number, name) VALUES (1, 'default:ann')")
        db.execute(
            "INSERT INTO entries (row, id, owner, kind, name, tags, size, version, pinned, created, changed,"
            " meta, digest, body) VALUES (1, 't_1', 1, 'text', '', '[]', 0, 1, 0, 0, 0, '{}', x'', x'')"
        )
        db.execute("INSERT INTO grants VALUES (1, 'agent', 'default:bob', 1, NULL)")
    for _ in range(2):
        grants = Grants()
        async with MemoryManager(tmp_path, grants=grants) as manager:
            info = grants.list() and await manager.stat(Identity(agent="default:bob"), "t_1")
        assert bool(info) is (_ == 0)  # once: who took them keeps them
        assert not info or info.access == "write"


async def test_a_bracket_in_a_glob_is_a_bracket(tmp_path: Path) -> None:
    async with MemoryManager(tmp_path) as manager:
        ann, bob = Identity(agent="default:ann"), Identity(agent="default:bob")
        await manager.alloc(ann, memory.Alloc(text="x"))
        grant = Grant(whom="agent", name=bob.agent)
        await manager._grants.give(Granted(owner=ann.agent, resource="memory:[a-z]*", grant=grant))
        assert (await manager.list(bob)).entries == ()
        with pytest.raises(Forbidden):
            await manager._grants.give(Granted(owner=ann.agent, resource="memory:*", grant=grant))
            (shown,) = (await manager.list(bob)).entries
            await manager.delete(bob, shown.id)
