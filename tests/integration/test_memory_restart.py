"""What memory said it keeps is there after the process that kept it was killed."""

import asyncio
import os
import signal
import sys

import pytest

from aios.errors import Conflict, StorageUnavailable
from aios.memory.manager import MemoryManager
from aios.memory.records import Identity, MemoryLimits
from aios.syscalls import Message
from aios.syscalls.memory import Alloc, Search

pytestmark = pytest.mark.anyio

ANN = Identity(agent="ann")
LIMITS = MemoryLimits(ram_bytes=20_000, ram_agent_bytes=20_000)

WRITER = """
import asyncio, sys
from pathlib import Path
from aios.memory.manager import MemoryManager
from aios.memory.records import Alloc, Identity, MemoryLimits, Write
from aios.syscalls import Message

async def work(memory, lane):
    who = Identity(agent="ann")
    talk, said = None, []
    for i in range(100000):
        data = f"lane {lane} entry {i} ".encode() * 40
        made = await memory.alloc(who, Alloc(data=data))
        print("entry", made.id, 1, lane, i, flush=True)
        if i % 3 == 0:
            made = await memory.write(who, Write(id=made.id, data=b"again " + data))
            print("entry", made.id, 2, lane, i, flush=True)
        if i % 4 == 1:
            await memory.delete(who, made.id)
            print("gone", made.id, flush=True)
        said.append(Message(role="user", content=f"lane {lane} says {i}"))
        talk = await memory.conversations.record(who, said, tokens=range(i), id=talk.id if talk else "")
        print("talk", talk.id, lane, i, flush=True)

async def main():
    limits = MemoryLimits(ram_bytes=20000, ram_agent_bytes=20000)
    async with MemoryManager(Path(sys.argv[1]), limits) as memory, asyncio.TaskGroup() as group:
        for lane in range(4):
            group.create_task(work(memory, lane))

asyncio.run(main())
"""


def body(version: str, lane: str, i: str) -> bytes:
    data = f"lane {lane} entry {i} ".encode() * 40
    return data if version == "1" else b"again " + data


async def run_and_kill(folder, lines: int) -> list[list[str]]:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", WRITER, str(folder), stdout=asyncio.subprocess.PIPE, process_group=0
    )
    said = [(await process.stdout.readline()).decode().split() for _ in range(lines)]
    os.kill(process.pid, signal.SIGKILL)
    rest = (await process.stdout.read()).decode().splitlines(keepends=True)
    await process.wait()
    return [line for line in said + [r.split() for r in rest if r.endswith("\n")] if line]


@pytest.mark.parametrize("lines", [30, 150])
async def test_after_a_kill_all_that_was_acknowledged_is_there(tmp_path, lines):
    said = await run_and_kill(tmp_path, lines)
    entries = {id: rest for kind, id, *rest in said if kind == "entry"}
    gone = {id for kind, id, *_ in said if kind == "gone"}
    talks = {id: rest for kind, id, *rest in said if kind == "talk"}
    async with MemoryManager(tmp_path, LIMITS) as memory:
        listed = set()
        after = ""
        while True:
            page = await memory.list(ANN, after=after)
            listed |= {entry.id for entry in page.entries}
            after = page.next
            if not after:
                break
        assert not listed & gone
        for id, (version, lane, i) in entries.items():
            if id in listed:
                content = await memory.read(ANN, id)
                assert content.data in (body(version, lane, i), body("2", lane, i))
                assert content.info.version >= int(version)
            else:
                assert int(i) % 4 == 1  # its deletion was done, and not yet acknowledged
        for id, (lane, i) in talks.items():
            messages = await memory.conversations.messages(ANN, id)
            assert len(messages) - int(i) in (1, 2)
            assert all(
                m == Message(role="user", content=f"lane {lane} says {n}") for n, m in enumerate(messages)
            )
            assert await memory.conversations.tokens(ANN, id) == list(range(len(messages) - 1))
        hits = (await memory.search(ANN, Search(query="entry", limit=1000))).hits
        assert {hit.id for hit in hits} == {id for id in listed if id.startswith("t_")}
        usage = await memory.usage(ANN)
        assert usage.entries == len(listed)
        await memory.clear(ANN)
        assert (await memory.usage(ANN)).bytes == 0


async def test_a_folder_has_one_manager_at_a_time(tmp_path):
    async with MemoryManager(tmp_path):
        with pytest.raises(Conflict, match="Another kernel"):
            await MemoryManager(tmp_path).__aenter__()
    async with MemoryManager(tmp_path):
        pass


async def test_a_folder_that_cannot_be_used_is_named(tmp_path):
    (tmp_path / "memory").write_text("a file")
    with pytest.raises(StorageUnavailable, match="can't be opened"):
        await MemoryManager(tmp_path / "memory").__aenter__()


async def test_many_writers_share_the_disks_syncs(tmp_path):
    async with MemoryManager(tmp_path) as memory:
        commits: list[int] = []
        inner = memory._database._commit
        memory._database._commit = lambda changes: (commits.append(len(changes)), inner(changes))[1]
        async with asyncio.TaskGroup() as group:
            for i in range(200):
                group.create_task(memory.alloc(ANN, Alloc(data=str(i).encode())))
        assert sum(commits) == 200
        assert len(commits) < 100
