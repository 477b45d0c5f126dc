"""Full disks and corrupt chunks: nothing half-written, nothing wrong returned, and it heals."""

from __future__ import annotations

import asyncio
import random
import sqlite3
import threading

import pytest
from tests import stores

from aios.errors import StorageCorrupt, StorageUnavailable
from aios.storage import database
from aios.storage.manager import StorageManager

pytestmark = pytest.mark.anyio


@pytest.fixture(autouse=True)
def patience(monkeypatch):
    monkeypatch.setattr(database, "RETRY_S", 0.01)


async def until_healthy(storage: StorageManager) -> None:
    async with asyncio.timeout(10):
        while storage.trouble:
            await asyncio.sleep(0.01)


@pytest.mark.parametrize("size", [1_000, 20_000_000], ids=["small", "large"])
async def test_on_a_full_disk_nothing_is_half_written_reads_go_on_and_it_heals(tmp_path, size):
    told = []
    data = random.Random(1).randbytes(size)
    async with StorageManager(tmp_path, on_trouble=told.append) as storage:
        await storage.files.write("ann", "/old", b"old")
        with stores.full_disk(1 if size < 10_000 else 6_000_000):  # the large one gets half of its way
            with pytest.raises(StorageUnavailable) as caught:
                await storage.files.write("ann", "/new", data)
            assert caught.value.retry_after is not None
            assert storage.trouble
            assert "disk" in storage.trouble or "full" in storage.trouble
            with pytest.raises(StorageUnavailable):
                await storage.files.write("ann", "/old", b"new")
            assert (await storage.files.read("ann", "/old")).data == b"old"
            assert [entry.path for entry in (await storage.files.list("ann")).entries] == ["/old"]
        await until_healthy(storage)
        assert told[0]
        assert told[-1] == ""
        await storage.files.write("ann", "/new", data)
        assert (await storage.files.read("ann", "/new")).data == data
        await storage.collect()
    stores.check(tmp_path, tidy=True)


async def test_a_change_too_big_for_the_disk_does_not_take_those_beside_it(tmp_path):
    def too_big(db):
        raise sqlite3.OperationalError("database or disk is full")

    async with StorageManager(tmp_path) as storage:
        await storage.files.write("ann", "/a", b"1")
        store, busy = storage._database, threading.Event()
        first = asyncio.create_task(store.change(lambda db: busy.wait(10)))
        set_quota = "UPDATE roots SET quota = coalesce(quota, 0) + 1"
        small = [store.change(lambda db: db.execute(set_quota).rowcount) for _ in range(5)]
        together = asyncio.gather(*small[:2], store.change(too_big), *small[2:], return_exceptions=True)
        await asyncio.sleep(0)  # all are in the queue, and the writer is busy
        busy.set()
        results = await together
        assert await first
        assert isinstance(results.pop(2), StorageUnavailable)
        assert results == [1] * 5
        await until_healthy(storage)
        assert (await storage.usage("ann")).quota == 5


async def test_whatever_statement_fails_the_change_is_whole_or_not_there(tmp_path):
    disk = stores.BreakingDisk()
    data = random.Random(2).randbytes(30_000)
    async with StorageManager(tmp_path, connect=disk) as storage:
        await storage.files.write("ann", "/dir/a", b"old")
        for statements in range(200):
            disk.break_after(statements)
            try:
                await storage.files.write("ann", "/dir/a", data, expect=None)
            except StorageUnavailable:
                disk.mend()
                await until_healthy(storage)
                assert (await storage.files.read("ann", "/dir/a")).data == b"old"
            else:
                disk.mend()
                break
        assert statements > 10
        assert (await storage.files.read("ann", "/dir/a")).data == data
    stores.check(tmp_path)


@pytest.mark.parametrize(
    "change",
    [
        lambda data: data[:-1] + bytes([data[-1] ^ 1]),
        lambda data: data[: len(data) // 2],
        lambda data: b"",
        lambda data: b"not zstd at all",
    ],
    ids=["bit", "cut", "empty", "garbage"],
)
async def test_a_corrupt_chunk_is_named_and_never_returned_and_writing_it_again_mends_it(tmp_path, change):
    data = random.Random(3).randbytes(100_000)
    async with StorageManager(tmp_path) as storage:
        await storage.files.write("ann", "/a", data)
        await storage.files.write("ann", "/fine", b"fine")
    (digest,) = stores.tamper(tmp_path, change, "id = 2")
    async with StorageManager(tmp_path) as storage:
        with pytest.raises(StorageCorrupt, match=digest) as caught:
            await storage.files.read("ann", "/a")
        assert "/a" in str(caught.value)
        assert caught.value.digest == digest
        assert (await storage.files.read("ann", "/a", length=100)).data == data[:100]  # of a whole chunk
        assert (await storage.files.read("ann", "/fine")).data == b"fine"
        assert await storage.scrub() == (digest,)
        await storage.files.write("bob", "/b", data)
        assert (await storage.files.read("ann", "/a")).data == data
        assert await storage.scrub() == ()
    stores.tamper(tmp_path, change, "id = 2")
    async with StorageManager(tmp_path) as storage:
        await storage.files.write("bob", "/c", data)  # it does not count on a chunk that nobody looked at
        assert (await storage.files.read("bob", "/c")).data == data


async def test_blobs_and_diffs_are_checked_like_files(tmp_path):
    async with StorageManager(tmp_path) as storage:
        blob = await storage.blobs.put("ann", b"x" * 5_000)
        old = await storage.files.write("ann", "/a", b"y" * 100)
        await storage.files.write("ann", "/a", b"z" * 100)
    stores.tamper(tmp_path, lambda data: data[::-1])
    async with StorageManager(tmp_path) as storage:
        for attempt in (
            storage.blobs.get("ann", blob.digest),
            storage.versions.diff("ann", "/a", old.version),
            storage.files.append("ann", "/a", b"more"),  # it would cut the last chunk again
        ):
            with pytest.raises(StorageCorrupt):
                await attempt
        assert len(await storage.scrub()) == 3


async def test_a_store_of_another_time_is_not_touched(tmp_path):
    with sqlite3.connect(tmp_path / "storage.db") as db:
        db.execute("PRAGMA user_version = 99")
    db.close()
    with pytest.raises(StorageUnavailable, match="version 99"):
        async with StorageManager(tmp_path):
            raise AssertionError
    with sqlite3.connect(tmp_path / "storage.db") as db:
        db.execute("PRAGMA user_version = 0")
    db.close()
    async with StorageManager(tmp_path) as storage:
        await storage.files.write("ann", "/a", b"1")
