"""A root that follows a real folder: the folder is the truth, and nothing outside of it is read."""

from __future__ import annotations

import asyncio
import os

import pytest

from aios.errors import NotFound
from aios.storage import folders
from aios.storage.manager import StorageManager
from aios.storage.records import StorageLimits

pytestmark = pytest.mark.anyio


@pytest.fixture
def real(tmp_path):
    folder = tmp_path / "real"
    (folder / "sub" / "empty").mkdir(parents=True)
    (folder / "a.txt").write_bytes(b"one")
    (folder / "sub" / "b.txt").write_bytes(b"two")
    return folder


async def tree(storage: StorageManager, owner: str = "docs") -> dict[str, bytes | None]:
    found = (await storage.files.glob(owner, "**")).entries
    return {
        stat.path: None if stat.kind == "dir" else (await storage.files.read(owner, stat.path)).data
        for stat in found
    }


async def test_a_root_becomes_like_the_folder_and_changes_are_versions(storage, real):
    seen = {}
    done = await storage.folders.sync("docs", real, seen)
    assert (done.written, done.removed, done.skipped) == (2, 0, {})
    assert await tree(storage) == {"/a.txt": b"one", "/sub": None, "/sub/b.txt": b"two", "/sub/empty": None}
    assert (await storage.folders.sync("docs", real, seen)).written == 0
    os.utime(real / "a.txt", (1, 1))
    assert (await storage.folders.sync("docs", real)).written == 0  # looked at again, and the same
    (real / "a.txt").write_bytes(b"changed")
    (real / "sub" / "b.txt").rename(real / "c.txt")
    (real / "sub" / "empty").rmdir()
    (real / "sub" / "empty").write_bytes(b"now a file")
    done = await storage.folders.sync("docs", real, seen)
    assert (done.written, done.removed) == (3, 2)
    assert await tree(storage) == {
        "/a.txt": b"changed", "/c.txt": b"two", "/sub": None, "/sub/empty": b"now a file"
    }  # fmt: skip
    history = await storage.versions.history("docs", "/a.txt")
    assert [(version.op, version.author) for version in history] == [("write", "folder")] * 2
    await storage.versions.rollback("docs", "/a.txt", steps=1)
    await storage.folders.sync("docs", real)
    assert (await storage.files.read("docs", "/a.txt")).data == b"changed"  # the folder is the truth
    await storage.mounts.mount("ann", "/docs", "docs")
    assert (await storage.files.read("ann", "/docs/c.txt")).data == b"two"


async def test_links_special_files_and_odd_names_are_left_out_and_named(storage, real, tmp_path):
    (tmp_path / "secret").write_bytes(b"secret")
    (real / "link").symlink_to(tmp_path / "secret")
    (real / "up").symlink_to(tmp_path)
    os.mkfifo(real / "pipe")
    (real / "back\\slash").write_bytes(b"x")
    os.mkdir(os.fsencode(real) + b"/latin-\xe9")
    done = await storage.folders.sync("docs", real)
    assert set(done.skipped) == {"/link", "/up", "/pipe", "/back\\slash", "/latin-\\udce9"}
    assert set(await tree(storage)) == {"/a.txt", "/sub", "/sub/b.txt", "/sub/empty"}


async def test_a_link_that_appears_after_the_look_is_not_followed(storage, real, tmp_path, monkeypatch):
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "b.txt").write_bytes(b"secret")
    scan = folders._scan

    def scan_then_swap(folder):
        found = scan(folder)
        (real / "sub").rename(real / "was")
        (real / "sub").symlink_to(tmp_path / "outside")
        return found

    monkeypatch.setattr(folders, "_scan", scan_then_swap)
    done = await storage.folders.sync("docs", real)
    assert "/sub/b.txt" in done.skipped
    assert b"secret" not in (await tree(storage)).values()


async def test_a_folder_that_is_gone_empties_nothing_and_big_files_are_skipped(tmp_path, real):
    async with StorageManager(tmp_path / "store", StorageLimits(file_bytes=10)) as storage:
        (real / "big").write_bytes(b"x" * 11)
        done = await storage.folders.sync("docs", real)
        assert "limit" in done.skipped["/big"]
        before = await tree(storage)
        real.rename(tmp_path / "elsewhere")
        with pytest.raises(NotFound):
            await storage.folders.sync("docs", real)
        assert await tree(storage) == before


async def test_what_changes_while_it_is_followed_arrives(storage, real):
    async def follow() -> None:
        async for _ in storage.folders.follow("docs", real):
            taken.set()

    taken = asyncio.Event()
    async with asyncio.timeout(20), asyncio.TaskGroup() as tasks:
        following = tasks.create_task(follow())
        await taken.wait()
        (real / "new.txt").write_bytes(b"new")
        while "/new.txt" not in await tree(storage):
            await asyncio.sleep(0.02)
        (real / "new.txt").unlink()
        while "/new.txt" in await tree(storage):
            await asyncio.sleep(0.02)
        following.cancel()
