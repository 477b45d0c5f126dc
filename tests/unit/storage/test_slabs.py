"""Slabs: sealed files beside the database. What is damaged is named and not returned, what nobody has is
collected."""

import random
import sqlite3
from contextlib import closing

import pytest

from aios.errors import StorageCorrupt
from aios.sealed import read_sealed, write_sealed
from aios.storage.manager import StorageManager

pytestmark = pytest.mark.anyio

BODY = random.Random(1).randbytes(100_000)


def rows(folder) -> list[tuple[str, str]]:
    with closing(sqlite3.connect(folder / "storage.db")) as db:
        return db.execute("SELECT name, space FROM slabs ORDER BY name").fetchall()


def files(folder) -> list[str]:
    return sorted(path.name for path in (folder / "slabs").iterdir())


async def keep(storage, space="core", owner="ann", body=BODY, label=b"label"):
    path = storage.slabs.reserve(len(body), owner)
    write_sealed(path, body)
    await storage.slabs.seal(space, {path: label})
    return path


async def test_a_slab_is_there_again_for_its_space_and_counted_for_its_owner(tmp_path):
    async with StorageManager(tmp_path) as storage:
        path = await keep(storage)
        other = await keep(storage, "other", "bob", b"small")
        assert (await storage.usage("ann")).contexts == len(BODY)
    async with StorageManager(tmp_path) as storage:
        assert await storage.slabs.find("core") == [(path, b"label")]
        assert read_sealed(path) == BODY
        assert path.stat().st_mode & 0o077 == 0
        assert (await storage.usage("ann")).contexts == len(BODY)
        assert await storage.slabs.find("other") == [(other, b"label")]
        storage.slabs.remove(path)
        assert (await storage.usage("ann")).contexts == 0
        assert storage.slabs.taken() == len(b"small")
    async with StorageManager(tmp_path) as storage:
        await storage.slabs.find("core")
        await storage.slabs.find("other")
        await storage.collect()
        assert rows(tmp_path) == [(other.name, "other")]


async def test_the_newest_label_counts_and_says_whose_it_is(tmp_path):
    async with StorageManager(tmp_path) as storage:
        path = await keep(storage)
        await storage.slabs.seal("other", {path: b"moved"})
    async with StorageManager(tmp_path) as storage:
        assert await storage.slabs.find("core") == []
        assert await storage.slabs.find("other") == [(path, b"moved")]


@pytest.mark.parametrize(
    "harm",
    [
        lambda data: data[:-1] + bytes([data[-1] ^ 1]),
        lambda data: data[:20] + bytes([data[20] ^ 1]) + data[21:],
        lambda data: data[: len(data) // 2],
        lambda data: b"",
    ],
    ids=["body", "seal", "cut", "empty"],
)
async def test_a_corrupt_slab_is_named_and_never_returned(tmp_path, harm):
    async with StorageManager(tmp_path) as storage:
        fine, path = await keep(storage), await keep(storage)
        path.write_bytes(harm(path.read_bytes()))
        with pytest.raises(StorageCorrupt, match=path.name):
            read_sealed(path)
        assert await storage.scrub() == (path.name,)
        assert files(tmp_path) == [fine.name]
        assert await storage.scrub() == ()
        assert read_sealed(fine) == BODY


async def test_what_a_killed_kernel_left_and_nobody_has_is_collected(tmp_path):
    async with StorageManager(tmp_path) as storage:
        kept = await keep(storage)
        await keep(storage, "a core that is no more")
        (await keep(storage)).unlink()  # let go of, and killed before its row went
        (tmp_path / "slabs" / "half.slab").write_bytes(b"x" * 10)  # being written
    async with StorageManager(tmp_path) as storage:
        assert await storage.slabs.find("core") == [(kept, b"label")]
        writing = storage.slabs.reserve(10, "ann")
        write_sealed(writing, b"0123456789")
        done = await storage.collect()
        assert (done.slabs, done.bytes) == (2, kept.stat().st_size + 10)
        assert files(tmp_path) == sorted([kept.name, writing.name])
        assert rows(tmp_path) == [(kept.name, "core")]
        assert (await storage.collect()).slabs == 0


async def test_what_is_removed_while_it_is_sealed_stays_removed(tmp_path):
    async with StorageManager(tmp_path) as storage:
        path = await keep(storage)
        missing = storage.slabs.reserve(10, "ann")
        await storage.slabs.seal("core", {missing: b"never written"})
        storage.slabs.remove(path)
        await storage.slabs.seal("core", {path: b"late"})
        assert rows(tmp_path) == []


async def test_half_a_file_is_no_file(tmp_path):
    path = tmp_path / "a.slab"
    write_sealed(path, BODY)
    with pytest.raises(FileExistsError):
        write_sealed(path, b"another")
    assert read_sealed(path) == BODY
