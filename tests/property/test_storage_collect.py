"""Collecting garbage never takes what something reaches, wherever it is interrupted, and in the end takes the
rest."""

from __future__ import annotations

import asyncio
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests import stores

from aios.errors import AiosError, StorageUnavailable
from aios.storage import database
from aios.storage.manager import StorageManager
from aios.storage.records import StorageLimits

OWNERS = ("ann", "bob")
BODIES = [random.Random(n).randbytes(size) for n, size in enumerate((0, 10, 3_000, 12_000, 40_000))]
BODIES.append(BODIES[4][:20_000] + b"edit" + BODIES[4][20_000:])  # shares most of its chunks

paths = st.sampled_from(["/a", "/b", "/d/a", "/d/e/b"])
operations = st.lists(
    st.tuples(
        st.sampled_from(OWNERS),
        st.one_of(
            st.tuples(st.just("write"), paths, st.integers(0, len(BODIES) - 1)),
            st.tuples(st.just("append"), paths, st.integers(0, len(BODIES) - 1)),
            st.tuples(st.just("delete"), st.sampled_from(["/a", "/b", "/d", "/d/e"])),
            st.tuples(st.just("move"), st.sampled_from(["/a", "/d", "/d/e"]), st.sampled_from(["/b", "/c"])),
            st.tuples(st.just("copy"), st.sampled_from(["/a", "/d"]), st.sampled_from(["/c", "/d/copy"])),
            st.tuples(st.just("forget"), paths),
            st.tuples(st.just("purge")),
            st.tuples(st.just("unbin")),
            st.tuples(st.just("snapshot"), st.sampled_from("xy")),
            st.tuples(st.just("drop"), st.sampled_from("xy")),
            st.tuples(st.just("restore"), st.sampled_from("xy")),
            st.tuples(st.just("blob"), st.sampled_from("pq"), st.integers(0, len(BODIES) - 1)),
            st.tuples(st.just("release"), st.sampled_from("pq")),
        ),
    ),
    min_size=3,
    max_size=25,
)


async def do(storage: StorageManager, owner: str, operation: tuple[Any, ...]) -> None:
    """The operation, if it is possible."""
    match operation:
        case "write", path, body:
            await storage.files.write(owner, path, BODIES[body])
        case "append", path, body:
            await storage.files.append(owner, path, BODIES[body])
        case "delete", path:
            await storage.files.delete(owner, path, recursive=True)
        case "move", path, to:
            await storage.files.move(owner, path, to, replace=True)
        case "copy", path, to:
            await storage.files.copy(owner, path, to, replace=True)
        case "forget", path:
            await storage.versions.forget(owner, path)
        case "purge", *_:
            await storage.bin.purge(owner)
        case "unbin", *_:
            for binned in (await storage.bin.list(owner))[-1:]:
                await storage.bin.restore(owner, binned.id)
        case "snapshot", name:
            await storage.versions.snapshot(owner, name)
        case "drop", name:
            await storage.versions.drop(owner, name)
        case "restore", name:
            await storage.versions.restore(owner, name)
        case "blob", name, body:
            await storage.blobs.put(owner, BODIES[body], name=name)
        case "release", name:
            await storage.blobs.release(owner, name)


async def reachable(storage: StorageManager) -> dict[tuple[str, ...], bytes]:
    """Everything that anybody can read: files now and in snapshots, their versions, and blobs."""
    found: dict[tuple[str, ...], bytes] = {}
    for owner in OWNERS:
        for snapshot in ("", *(s.name for s in await storage.versions.snapshots(owner))):
            for stat in (await storage.files.glob(owner, "**", snapshot=snapshot)).entries:
                if stat.kind == "file":
                    content = await storage.files.read(owner, stat.path, snapshot=snapshot)
                    found[owner, snapshot, stat.path] = content.data
        for stat in (await storage.files.glob(owner, "**")).entries:
            for version in await storage.versions.history(owner, stat.path) if stat.kind == "file" else ():
                content = await storage.files.read(owner, stat.path, version=version.version)
                found[owner, stat.path, str(version.version)] = content.data
        for blob in await storage.blobs.list(owner):
            found[owner, "blob", blob.name] = await storage.blobs.get(owner, blob.digest)
        for binned in await storage.bin.list(owner):
            found[owner, "bin", str(binned.id), binned.path] = b""
    return found


@settings(max_examples=40, deadline=None)
@given(operations=operations, statements=st.integers(0, 120))
def test_what_is_reachable_stays_and_the_rest_goes_wherever_collecting_is_interrupted(operations, statements):
    async def run(folder: Path) -> None:
        disk = stores.BreakingDisk()
        async with StorageManager(folder, connect=disk) as storage:
            for owner, operation in operations:
                try:
                    await do(storage, owner, operation)
                except StorageUnavailable:
                    raise
                except AiosError:
                    pass  # not possible in this state
            before = await reachable(storage)
            disk.break_after(statements)
            try:
                await storage.collect()
            except StorageUnavailable:
                assert disk.broken
            assert await reachable(storage) == before
        stores.check(folder)
        async with StorageManager(folder) as storage:
            assert await reachable(storage) == before
            await storage.collect()
            assert await reachable(storage) == before
        stores.check(folder, tidy=True)

    with tempfile.TemporaryDirectory() as name:
        asyncio.run(run(Path(name)))


@settings(max_examples=8, deadline=None)
@given(seed=st.integers(0, 2**32))
def test_collecting_while_others_write_takes_nothing_from_them(seed):
    async def writer(storage: StorageManager, owner: str, draw: random.Random) -> dict[str, bytes]:
        held: dict[str, bytes] = {}
        for _ in range(15):
            path, body = f"/{draw.randrange(3)}", draw.choice(BODIES)
            await storage.files.write(owner, path, body)
            held[path] = body
            if draw.random() < 0.4:  # so that shared chunks become garbage again and again
                await storage.files.delete(owner, path)
                await storage.bin.purge(owner)
                del held[path]
        return held

    async def run(folder: Path) -> None:
        async with StorageManager(folder, StorageLimits(versions=1)) as storage:
            done = asyncio.Event()

            async def collector() -> None:
                while not done.is_set():
                    await storage.collect()

            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(collector())
                async with asyncio.TaskGroup() as writers:
                    running = {
                        owner: writers.create_task(writer(storage, owner, random.Random(seed + n)))
                        for n, owner in enumerate(("ann", "bob", "cyd"))
                    }
                done.set()
            for owner, task in running.items():
                for path, body in task.result().items():
                    assert (await storage.files.read(owner, path)).data == body
            await storage.collect()
        stores.check(folder, tidy=True)

    with tempfile.TemporaryDirectory() as name:
        asyncio.run(run(Path(name)))


WORK = """
import asyncio, random, sys
from pathlib import Path
from aios.storage.manager import StorageManager
from aios.storage.records import StorageLimits

async def main():
    async with StorageManager(Path(sys.argv[1]), StorageLimits(versions=2)) as storage:
        async def write(owner):
            n = 0
            while True:
                n += 1
                body = random.Random(n % 7).randbytes(30_000) + b"%d" % n
                await storage.files.write(owner, f"/{n % 5}", body)
                print(owner, n % 5, n, flush=True)
                if n % 9 == 0:
                    await storage.files.delete(owner, f"/{n % 5}")
                    print(owner, n % 5, 0, flush=True)
                    await storage.bin.purge(owner)
        async def collect():
            while True:
                await storage.collect()
        await asyncio.gather(write("ann"), write("bob"), collect())

asyncio.run(main())
"""


@pytest.mark.parametrize("seed", range(3))
def test_after_a_kill_all_that_was_promised_is_there(tmp_path, seed):
    with subprocess.Popen(
        [sys.executable, "-c", WORK, str(tmp_path)], stdout=subprocess.PIPE, text=True
    ) as work:
        assert work.stdout is not None
        lines = [work.stdout.readline()]  # it runs
        time.sleep(random.Random(seed).uniform(0.05, 0.4))
        work.send_signal(signal.SIGKILL)
        lines += work.stdout.readlines()
    promised: dict[tuple[str, str], int] = {}
    for line in lines:
        if line.endswith("\n"):
            owner, path, number = line.split()
            promised[owner, path] = int(number)

    async def verify() -> None:
        async with StorageManager(tmp_path) as storage:
            for (owner, path), number in promised.items():
                if number:  # it, or what came after it and was not told any more
                    try:
                        data = (await storage.files.read(owner, f"/{path}")).data
                    except AiosError:
                        assert (number + 5) % 9 == 0 or number % 9 == 0  # the next thing was to delete it
                        continue
                    found = int(data[30_000:])
                    assert found in (number, number + 5)
                    assert data[:30_000] == random.Random(found % 7).randbytes(30_000)
            await storage.collect()
            assert await storage.scrub() == ()

    asyncio.run(verify())
    stores.check(tmp_path, tidy=True)


@pytest.fixture(autouse=True)
def patience(monkeypatch):
    monkeypatch.setattr(database, "RETRY_S", 0.01)
