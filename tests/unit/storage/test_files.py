"""Files and folders: what is written is read, and what can't be done says why."""

from __future__ import annotations

import asyncio
import random

import pytest

from aios.errors import (
    BadRequest,
    Conflict,
    InvalidPath,
    NotFound,
    PayloadTooLarge,
    QuotaExceeded,
    VersionConflict,
)
from aios.storage.manager import StorageManager
from aios.storage.records import StorageLimits

pytestmark = pytest.mark.anyio


async def names(storage: StorageManager, path: str = "/", **how) -> list[str]:
    return [entry.path for entry in (await storage.files.list("ann", path, **how)).entries]


async def test_what_is_written_is_read_whole_or_in_ranges(storage):
    data = random.Random(1).randbytes(300_000)
    stat = await storage.files.write("ann", "/a/b.bin", data)
    assert (stat.path, stat.kind, stat.size) == ("/a/b.bin", "file", len(data))
    content = await storage.files.read("ann", "a/b.bin")
    assert content.data == data
    assert content.stat == stat
    for offset, length in [(0, 0), (0, 1), (70_000, 100_000), (299_999, 10), (300_000, 5), (400_000, 5)]:
        part = await storage.files.read("ann", "/a/b.bin", offset=offset, length=length)
        assert part.data == data[offset : offset + length]
    with pytest.raises(BadRequest):
        await storage.files.read("ann", "/a/b.bin", offset=-1)


async def test_an_empty_file_is_a_file(storage):
    stat = await storage.files.create("ann", "/empty")
    assert stat.size == 0
    assert (await storage.files.read("ann", "/empty")).data == b""


async def test_append_and_truncate_give_the_content_that_writing_it_whole_gives(storage):
    draw = random.Random(2)
    whole = b""
    for size in (0, 10, 5_000, 100_000, 3, 70_000):
        more = draw.randbytes(size)
        whole += more
        stat = await storage.files.append("ann", "/log", more)
        same = await storage.files.write("ann", "/whole", whole)
        assert (stat.size, stat.digest) == (len(whole), same.digest)
    for size in (len(whole), 150_000, 5_010, 1, 0):
        stat = await storage.files.truncate("ann", "/log", size)
        same = await storage.files.write("ann", "/whole", whole[:size])
        assert stat.digest == same.digest
        assert (await storage.files.read("ann", "/log")).data == whole[:size]
    with pytest.raises(BadRequest, match="Append"):
        await storage.files.truncate("ann", "/log", 1)
    with pytest.raises(NotFound):
        await storage.files.truncate("ann", "/nothing", 0)


async def test_a_folder_is_listed_page_by_page_in_order(storage):
    for name in ("b", "a", "é", "c/d", "B", "\U0001f600"):
        await storage.files.write("ann", f"/in/{name}", b"x")
    assert await names(storage, "/in") == ["/in/B", "/in/a", "/in/b", "/in/c", "/in/é", "/in/\U0001f600"]
    paged, cursor = [], ""
    while True:
        page = await storage.files.list("ann", "/in", cursor=cursor, limit=2)
        paged += [entry.path for entry in page.entries]
        cursor = page.cursor
        if not cursor:
            break
    assert paged == await names(storage, "/in")
    with pytest.raises(BadRequest):
        await storage.files.list("ann", "/in", limit=0)
    with pytest.raises(Conflict):
        await storage.files.list("ann", "/in/a")


async def test_many_tiny_files_are_paged_through_an_index(storage):
    made = [f"/many/{number:05}" for number in range(1_000)]
    for start in range(0, len(made), 250):
        await asyncio.gather(*(storage.files.write("ann", path, b"x") for path in made[start : start + 250]))
    for path in made[::3]:
        await storage.files.delete("ann", path)
    seen, cursor = [], ""
    while True:
        page = await storage.files.list("ann", "/many", cursor=cursor)
        seen += [entry.path for entry in page.entries]
        cursor = page.cursor
        if not cursor:
            break
    assert seen == [path for number, path in enumerate(made) if number % 3]
    from aios.storage.tree import _CHILD, _NOW  # the statement that pages are made of

    def plan(db):
        query = f"EXPLAIN QUERY PLAN {_CHILD}{_NOW} e.name > 'x' ORDER BY e.name LIMIT 5".replace(
            ":parent", "7"
        )
        return [row[3] for row in db.execute(query)]

    steps = await storage._database.read(plan)
    assert any("SEARCH e USING PRIMARY KEY (parent=? AND died=? AND name>?)" in step for step in steps)
    assert not any("SCAN" in step or "TEMP B-TREE" in step for step in steps)


async def test_globs_match_names_and_folders(storage):
    for path in ("/a/x.md", "/a/b/y.md", "/a/b/c/z.md", "/a/b/z.txt", "/top.md", "/a/[odd].md"):
        await storage.files.write("ann", path, b"x")

    async def found(pattern: str, **how) -> list[str]:
        return [entry.path for entry in (await storage.files.glob("ann", pattern, **how)).entries]

    assert await found("/*.md") == ["/top.md"]
    assert await found("**/*.md") == ["/a/[odd].md", "/a/b/c/z.md", "/a/b/y.md", "/a/x.md", "/top.md"]
    assert await found("/a/b/**") == ["/a/b/c", "/a/b/c/z.md", "/a/b/y.md", "/a/b/z.txt"]
    assert await found("/a/**/z.*") == ["/a/b/c/z.md", "/a/b/z.txt"]
    assert await found("/a/?/[yz].*") == ["/a/b/y.md", "/a/b/z.txt"]
    assert await found("/a/[[]odd].md") == ["/a/[odd].md"]
    assert await found("/nowhere/*") == []
    paged, cursor = [], ""
    while True:
        page = await storage.files.glob("ann", "**/*.md", cursor=cursor, limit=2)
        paged += [entry.path for entry in page.entries]
        cursor = page.cursor
        if not cursor:
            break
    assert paged == await found("**/*.md")


async def test_move_keeps_the_file_and_copy_makes_another(storage):
    first = await storage.files.write("ann", "/a", b"1")
    moved = await storage.files.move("ann", "/a", "/b")
    assert (moved.path, moved.version) == ("/b", first.version)
    await storage.files.copy("ann", "/b", "/c")
    await storage.files.write("ann", "/b", b"2")
    assert (await storage.files.read("ann", "/c")).data == b"1"
    with pytest.raises(NotFound):
        await storage.files.stat("ann", "/a")
    with pytest.raises(Conflict, match="there already"):
        await storage.files.move("ann", "/b", "/c")
    await storage.files.move("ann", "/b", "/c", replace=True)
    assert (await storage.files.read("ann", "/c")).data == b"2"
    assert [entry.path for entry in await storage.bin.list("ann")] == ["/c"]


async def test_folders_move_and_copy_with_all_that_is_in_them(storage):
    await storage.files.write("ann", "/a/b/c", b"1")
    await storage.files.link("ann", "/a/b/c", "/a/link")
    await storage.files.copy("ann", "/a", "/a/b/copy")  # into itself: a copy of what was there
    copied = [entry.path for entry in (await storage.files.glob("ann", "/a/b/copy/**")).entries]
    assert copied == ["/a/b/copy/b", "/a/b/copy/b/c", "/a/b/copy/link"]
    await storage.files.move("ann", "/a/b", "/x")
    assert (await storage.files.read("ann", "/x/copy/b/c")).data == b"1"
    with pytest.raises(InvalidPath, match="into itself"):
        await storage.files.move("ann", "/x", "/x/copy/x")
    with pytest.raises(Conflict, match="or the same"):
        await storage.files.move("ann", "/x/copy", "/x", replace=True)
    with pytest.raises(NotFound):
        await storage.files.move("ann", "/x", "/no/such/folder/x")


async def test_links_are_followed_and_never_lead_out(storage):
    await storage.files.write("ann", "/docs/real", b"1")
    await storage.files.link("ann", "/docs", "/l")
    await storage.files.link("ann", "/l/real", "/m")
    assert (await storage.files.read("ann", "/m")).data == b"1"
    assert (await storage.files.stat("ann", "/m")).path == "/docs/real"
    link = await storage.files.stat("ann", "/m", follow=False)
    assert (link.kind, link.target) == ("link", "/l/real")
    await storage.files.write("ann", "/m", b"2")
    assert (await storage.files.read("ann", "/docs/real")).data == b"2"
    await storage.files.delete("ann", "/m")
    assert (await storage.files.read("ann", "/docs/real")).data == b"2"
    with pytest.raises(InvalidPath):
        await storage.files.link("ann", "../../etc/passwd", "/out")
    await storage.files.link("ann", "/y", "/x")
    await storage.files.link("ann", "/x", "/y")
    with pytest.raises(InvalidPath, match="links"):
        await storage.files.read("ann", "/x")
    with pytest.raises(Conflict):
        await storage.files.link("ann", "/docs", "/l")


async def test_what_belongs_to_another_looks_like_nothing(storage):
    await storage.files.write("bob", "/secret", b"1")
    await storage.files.link("ann", "/secret", "/l")
    for path in ("/secret", "/l", "/bob/secret"):
        with pytest.raises(NotFound):
            await storage.files.read("ann", path)
    gone = await storage.files.delete("bob", "/secret")
    with pytest.raises(NotFound):
        await storage.bin.restore("ann", gone.id)
    with pytest.raises(NotFound):
        await storage.bin.purge("ann", [gone.id])
    assert await storage.bin.list("ann") == ()


async def test_a_write_that_stands_on_an_old_version_is_refused(storage):
    first = await storage.files.write("ann", "/a", b"1")
    second = await storage.files.write("ann", "/a", b"2", expect=first.version)
    for change in (
        storage.files.write("ann", "/a", b"3", expect=first.version),
        storage.files.append("ann", "/a", b"3", expect=first.version),
        storage.files.truncate("ann", "/a", 0, expect=first.version),
        storage.files.delete("ann", "/a", expect=first.version),
        storage.files.create("ann", "/a", b"3"),
    ):
        with pytest.raises(VersionConflict):
            await change
    assert (await storage.files.stat("ann", "/a")) == second
    await storage.files.delete("ann", "/a", expect=second.version)
    await storage.files.create("ann", "/a", b"new")
    with pytest.raises(VersionConflict):  # numbers are not used again by a new file of the old name
        await storage.files.write("ann", "/a", b"3", expect=first.version)


async def test_of_many_writers_on_one_version_one_wins_and_appends_all_arrive(storage):
    base = await storage.files.write("ann", "/a", b"")
    tries = [storage.files.write("ann", "/a", b"%d" % n, expect=base.version) for n in range(20)]
    done = await asyncio.gather(*tries, return_exceptions=True)
    assert sum(not isinstance(result, VersionConflict) for result in done) == 1
    await asyncio.gather(*(storage.files.append("ann", "/log", b"%02d\n" % n) for n in range(20)))
    lines = (await storage.files.read("ann", "/log")).data.split()
    assert sorted(lines) == [b"%02d" % n for n in range(20)]


async def test_a_repeat_with_the_same_key_gives_the_first_result_and_does_nothing(storage, clock):
    first = await storage.files.append("ann", "/log", b"x", key="k")
    again = await storage.files.append("ann", "/log", b"x", key="k")
    assert again == first
    assert (await storage.files.read("ann", "/log")).data == b"x"
    with pytest.raises(Conflict, match="another request"):
        await storage.files.append("ann", "/log", b"y", key="k")
    assert (await storage.files.append("bob", "/log", b"y", key="k")).size == 1  # keys are an owner's own
    short = await storage.files.truncate("ann", "/log", 1, key="t")
    await storage.files.delete("ann", "/log")
    assert await storage.files.truncate("ann", "/log", 1, key="t") == short
    clock.now += 90_000
    assert (await storage.files.append("ann", "/log", b"z", key="k")).size == 1  # too old to be kept
    with pytest.raises(NotFound):
        await storage.files.delete("ann", "/nothing", key="failed")
    await storage.files.write("ann", "/nothing", b"")
    assert (await storage.files.delete("ann", "/nothing", key="failed")).path == "/nothing"


async def test_tags_and_metadata_are_versions_too(storage):
    await storage.files.write("ann", "/a", b"1")
    stat = await storage.files.describe("ann", "/a", tags=("b", "a", "a"), about={"from": "web"})
    assert (stat.tags, stat.about) == (("a", "b"), {"from": "web"})
    stat = await storage.files.write("ann", "/a", b"2")
    assert stat.tags == ("a", "b")  # a write keeps them
    stat = await storage.files.describe("ann", "/a", tags=())
    assert (stat.tags, stat.about) == ((), {"from": "web"})
    back = await storage.versions.rollback("ann", "/a", steps=1)
    assert back.tags == ("a", "b")
    folder = await storage.files.mkdir("ann", "/f")
    assert (await storage.files.describe("ann", "/f", tags=("t",))).version > folder.version
    with pytest.raises(BadRequest):
        await storage.files.describe("ann", "/a", tags=("",))
    with pytest.raises(BadRequest):
        await storage.files.describe("ann", "/a", about={"k": "x" * 70_000})


async def test_deleting_puts_into_the_bin_and_purging_is_another_matter(storage):
    await storage.files.write("ann", "/a/b", b"1" * 5_000)
    with pytest.raises(Conflict, match="not empty"):
        await storage.files.delete("ann", "/a")
    gone = await storage.files.delete("ann", "/a", recursive=True)
    assert await names(storage) == []
    assert (await storage.usage("ann")).used == 5_000
    back = await storage.bin.restore("ann", gone.id)
    assert back.path == "/a"
    assert (await storage.files.read("ann", "/a/b")).data == b"1" * 5_000
    gone = await storage.files.delete("ann", "/a/b")
    await storage.files.write("ann", "/a/b", b"2")
    with pytest.raises(Conflict):
        await storage.bin.restore("ann", gone.id)
    assert (await storage.bin.restore("ann", gone.id, to="/new/place")).path == "/new/place"
    gone = await storage.files.delete("ann", "/new", recursive=True)
    done = await storage.bin.purge("ann")
    assert (done.files, done.versions) == (2, 2)
    assert (await storage.usage("ann")).used == 1
    with pytest.raises(NotFound):
        await storage.bin.restore("ann", gone.id)


async def test_the_quota_counts_what_is_held_once_and_is_refused_whole(storage):
    await storage.set_quota("ann", 10_000)
    await storage.files.write("ann", "/a", random.Random(1).randbytes(8_000))
    await storage.files.copy("ann", "/a", "/b")
    assert (await storage.usage("ann")).used == 8_000
    with pytest.raises(QuotaExceeded):
        await storage.files.write("ann", "/c", random.Random(2).randbytes(3_000))
    assert await names(storage) == ["/a", "/b"]
    assert (await storage.usage("ann")).used == 8_000
    for path in ("/a", "/b"):
        await storage.files.delete("ann", path)
    await storage.bin.purge("ann")
    assert (await storage.usage("ann")).used == 0
    await storage.files.write("ann", "/c", random.Random(2).randbytes(3_000))


async def test_limits_of_size(tmp_path):
    limits = StorageLimits(file_bytes=100, entries=5, read_bytes=50)
    async with StorageManager(tmp_path, limits) as storage:
        with pytest.raises(PayloadTooLarge):
            await storage.files.write("ann", "/a", b"x" * 101)
        await storage.files.write("ann", "/a", b"x" * 100)
        with pytest.raises(PayloadTooLarge):
            await storage.files.append("ann", "/a", b"x")
        with pytest.raises(PayloadTooLarge):
            await storage.files.read("ann", "/a")
        assert len((await storage.files.read("ann", "/a", length=50)).data) == 50
        for n in range(6):
            await storage.files.write("ann", f"/f/{n}", b"")
        with pytest.raises(Exception, match="more than 5"):
            await storage.files.copy("ann", "/f", "/g")
        assert await names(storage) == ["/a", "/f"]


async def test_a_hundred_megabytes_go_in_and_come_out(tmp_path):
    block = random.Random(3).randbytes(1 << 20)
    data = block * 100  # the same hundred times: stored about once
    async with StorageManager(tmp_path) as storage:
        small = asyncio.create_task(storage.files.write("bob", "/small", b"1"))
        stat = await storage.files.write("ann", "/big", data)
        await small
        assert stat.size == len(data)
        assert (await storage.files.read("ann", "/big", offset=50 << 20, length=1 << 20)).data == block
        assert (await storage.files.read("ann", "/big")).data == data
        assert (await storage.usage("ann")).used < 3 << 20


async def test_the_store_is_there_again_after_closing_and_has_one_user(tmp_path):
    async with StorageManager(tmp_path) as storage:
        stat = await storage.files.write("ann", "/a", b"1")
        with pytest.raises(Conflict, match="Another kernel"):
            async with StorageManager(tmp_path):
                raise AssertionError
    async with StorageManager(tmp_path) as storage:
        assert (await storage.files.read("ann", "/a")).stat == stat
    assert (tmp_path / "storage.db").stat().st_mode & 0o777 == 0o600
