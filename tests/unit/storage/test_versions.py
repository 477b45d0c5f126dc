"""Versions of files and snapshots of trees: what was is there, and comes back."""

from __future__ import annotations

import pytest
from tests import stores

from aios.errors import BadRequest, Conflict, LimitExceeded, NotFound, VersionConflict
from aios.storage.manager import StorageManager
from aios.storage.records import StorageLimits

pytestmark = pytest.mark.anyio


async def text(storage: StorageManager, path: str, **how) -> str:
    return (await storage.files.read("ann", path, **how)).data.decode()


async def tree(storage: StorageManager, **how) -> dict[str, str]:
    """Everything but folders."""
    found = (await storage.files.glob("ann", "**", **how)).entries
    return {
        stat.path: f"-> {stat.target}" if stat.kind == "link" else await text(storage, stat.path, **how)
        for stat in found
        if stat.kind != "dir"
    }


async def test_every_change_is_a_version_that_can_be_read(storage, clock):
    numbers = []
    for word in ("one", "two", "three"):
        clock.now += 10
        numbers.append((await storage.files.write("ann", "/a", word.encode(), author="editor")).version)
    clock.now += 10
    await storage.files.append("ann", "/a", b"!")
    history = await storage.versions.history("ann", "/a")
    assert [version.op for version in history] == ["append", "write", "write", "write"]
    assert [version.author for version in history] == ["ann", "editor", "editor", "editor"]
    assert [version.version for version in history][1:] == numbers[::-1]
    assert [await text(storage, "/a", version=v.version) for v in history] == ["three!", "three", "two", "one"]
    assert await storage.versions.history("ann", "/a", before=numbers[1], limit=5) == history[3:]
    with pytest.raises(NotFound, match="no version"):
        await storage.files.read("ann", "/a", version=99)


async def test_a_diff_is_unified_text_and_says_when_it_is_not_text(storage):
    one = await storage.files.write("ann", "/a", b"red\ngreen\nblue")
    two = await storage.files.write("ann", "/a", b"red\ngreener\nblue\n")
    diff = await storage.versions.diff("ann", "/a", one.version)
    assert (diff.kind, diff.old, diff.new) == ("text", one.version, two.version)
    assert diff.text == (
        f"--- /a@{one.version}\n+++ /a@{two.version}\n@@ -1,3 +1,3 @@\n red\n-green\n-blue\n"
        "\\ No newline at end of file\n+greener\n+blue\n"
    )
    assert (await storage.versions.diff("ann", "/a", one.version, one.version)).text == ""
    binary = await storage.files.write("ann", "/a", b"\x00\xff" * 50_000)
    diff = await storage.versions.diff("ann", "/a", two.version)
    assert (diff.kind, diff.text, diff.same_bytes, diff.size) == ("binary", "", 0, 100_000)
    await storage.files.append("ann", "/a", b"more")
    diff = await storage.versions.diff("ann", "/a", binary.version)
    assert diff.same_bytes > 30_000
    big = await storage.files.write("ann", "/a", b"line\n" * 300_000)
    assert (await storage.versions.diff("ann", "/a", two.version, big.version)).kind == "large"


async def test_rollback_goes_steps_back_or_to_a_version_or_a_time(storage, clock):
    numbers, times = [], []
    for word in ("one", "two", "three"):
        clock.now += 10
        times.append(clock.now)
        numbers.append((await storage.files.write("ann", "/a", word.encode())).version)
    back = await storage.versions.rollback("ann", "/a", steps=2)
    assert await text(storage, "/a") == "one"
    assert back.version > numbers[-1]
    await storage.versions.rollback("ann", "/a", steps=1)
    assert await text(storage, "/a") == "three"
    await storage.versions.rollback("ann", "/a", version=numbers[1])
    assert await text(storage, "/a") == "two"
    await storage.versions.rollback("ann", "/a", time=times[0] + 5)
    assert await text(storage, "/a") == "one"
    with pytest.raises(NotFound, match="that far"):
        await storage.versions.rollback("ann", "/a", steps=50)
    with pytest.raises(NotFound):
        await storage.versions.rollback("ann", "/a", time=times[0] - 1)
    with pytest.raises(VersionConflict):
        await storage.versions.rollback("ann", "/a", steps=1, expect=numbers[0])
    for wrong in ({}, {"steps": 1, "version": 1}, {"steps": 0}, {"steps": -1}):
        with pytest.raises(BadRequest):
            await storage.versions.rollback("ann", "/a", **wrong)


async def test_a_snapshot_shows_the_whole_tree_as_it_was_and_brings_it_back(storage):
    await storage.files.write("ann", "/kept", b"same")
    await storage.files.write("ann", "/dir/changed", b"old")
    await storage.files.write("ann", "/dir/deleted", b"deleted")
    await storage.files.write("ann", "/moved", b"moved")
    await storage.files.link("ann", "/kept", "/link")
    before = await tree(storage)
    await storage.versions.snapshot("ann", "first")
    await storage.files.write("ann", "/dir/changed", b"new")
    await storage.files.delete("ann", "/dir/deleted")
    await storage.files.move("ann", "/moved", "/dir/here")
    await storage.files.delete("ann", "/link")
    await storage.files.write("ann", "/added/file", b"added")
    await storage.files.write("ann", "/link/now/a/folder", b"x")
    after = await tree(storage)
    assert await tree(storage, snapshot="first") == before
    listed = (await storage.files.list("ann", "/dir", snapshot="first")).entries
    assert [entry.path for entry in listed] == ["/dir/changed", "/dir/deleted"]

    await storage.versions.snapshot("ann", "second")
    changes = await storage.versions.compare("ann", "first", "second")
    assert {(change.path, change.change) for change in changes} == {
        ("/added", "added"), ("/dir/changed", "changed"), ("/dir/deleted", "removed"), ("/dir/here", "added"),
        ("/moved", "removed"), ("/link", "changed"),
    }  # fmt: skip
    assert await storage.versions.compare("ann", "second") == ()
    done = await storage.versions.restore("ann", "first")
    assert {change.path for change in done} == {change.path for change in changes}
    assert await tree(storage) == before
    assert await storage.versions.compare("ann", "first") == ()
    await storage.versions.restore("ann", "second")
    assert await tree(storage) == after
    assert [snapshot.name for snapshot in await storage.versions.snapshots("ann")] == ["first", "second"]


async def test_a_part_of_a_tree_is_restored_and_what_a_snapshot_lacks_is_an_error(storage):
    await storage.files.write("ann", "/a/x", b"1")
    await storage.files.write("ann", "/b/x", b"1")
    await storage.versions.snapshot("ann", "s")
    await storage.files.write("ann", "/b/x", b"2")
    await storage.files.delete("ann", "/a", recursive=True)
    done = await storage.versions.restore("ann", "s", path="/a/x")
    assert [(change.path, change.change) for change in done] == [("/a/x", "added")]
    assert await tree(storage) == {"/a/x": "1", "/b/x": "2"}
    await storage.files.copy("ann", "/b/x", "/b/old", snapshot="s")
    assert await text(storage, "/b/old") == "1"
    with pytest.raises(NotFound):
        await storage.versions.restore("ann", "s", path="/never")
    with pytest.raises(NotFound, match="no snapshot"):
        await storage.versions.restore("bob", "s")
    with pytest.raises(Conflict):
        await storage.versions.snapshot("ann", "s")


async def test_too_big_a_tree_is_restored_in_parts_or_not_at_all(tmp_path):
    async with StorageManager(tmp_path, StorageLimits(entries=5)) as storage:
        await storage.versions.snapshot("ann", "s")
        for n in range(8):
            await storage.files.write("ann", f"/{n}", b"")
        with pytest.raises(LimitExceeded):
            await storage.versions.restore("ann", "s")
        assert len(await tree(storage)) == 8


async def test_forgetting_versions_frees_what_only_they_held_and_snapshots_keep_theirs(tmp_path):
    async with StorageManager(tmp_path) as storage:
        for n in range(4):
            await storage.files.write("ann", "/a", bytes([n]) * 1_000)
            if n == 1:
                await storage.versions.snapshot("ann", "s")
        assert (await storage.usage("ann")).used == 4_000
        done = await storage.versions.forget("ann", "/a", keep=1)
        assert done.versions == 2
        assert (await storage.usage("ann")).used == 2_000
        assert (await storage.files.read("ann", "/a", snapshot="s")).data == b"\x01" * 1_000
        await storage.versions.drop("ann", "s")
        assert (await storage.versions.forget("ann", "/a")).versions == 1
        collected = await storage.collect()
        assert (collected.manifests, collected.chunks) == (3, 3)
        with pytest.raises(BadRequest):
            await storage.versions.forget("ann", "/a", keep=0)
    stores.check(tmp_path, tidy=True)


async def test_purging_spares_what_a_snapshot_shows_until_that_is_dropped(tmp_path):
    async with StorageManager(tmp_path) as storage:
        await storage.files.write("ann", "/dir/a", b"1" * 1_000)
        await storage.versions.snapshot("ann", "s")
        await storage.files.write("ann", "/dir/b", b"2" * 1_000)
        await storage.files.delete("ann", "/dir", recursive=True)
        await storage.versions.snapshot("ann", "later")
        await storage.bin.purge("ann")
        assert await storage.bin.list("ann") == ()
        assert (await storage.files.read("ann", "/dir/a", snapshot="s")).data == b"1" * 1_000
        await storage.collect()
        assert (await storage.files.read("ann", "/dir/a", snapshot="s")).data == b"1" * 1_000
        await storage.versions.drop("ann", "s")
        assert (await storage.collect()).files == 3
        assert (await storage.usage("ann")).used == 0
    stores.check(tmp_path, tidy=True)


async def test_collecting_keeps_the_newest_versions_of_each_file(tmp_path):
    async with StorageManager(tmp_path, StorageLimits(versions=3)) as storage:
        for n in range(10):
            await storage.files.write("ann", "/a", b"%d" % n)
        await storage.collect()
        history = await storage.versions.history("ann", "/a")
        assert [await text(storage, "/a", version=v.version) for v in history] == ["9", "8", "7"]
    stores.check(tmp_path, tidy=True)
