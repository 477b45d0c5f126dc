"""Shares, mounts and blobs: what others may see, and nothing more."""

from __future__ import annotations

import random

import pytest

from aios.errors import BadRequest, Conflict, Forbidden, InvalidPath, NotFound, QuotaExceeded
from aios.storage import shares

pytestmark = pytest.mark.anyio


@pytest.fixture(autouse=True)
def cheap_passwords(monkeypatch):
    monkeypatch.setitem(shares.COST, "n", 1 << 10)


async def test_a_share_opens_its_file_until_it_is_over_or_revoked(storage, clock):
    await storage.files.write("ann", "/a", b"1")
    share = await storage.shares.create("ann", "/a", expires=clock.now + 100)
    assert len(share.token) >= 32
    shared = await storage.shares.resolve(share.token)
    assert (shared.owner, shared.stat.path) == ("ann", "/a")
    (listed,) = await storage.shares.list("ann")
    assert (listed.id, listed.path, listed.token) == (share.id, "/a", "")
    await storage.files.move("ann", "/a", "/b")
    assert (await storage.shares.resolve(share.token)).stat.path == "/b"
    await storage.files.write("ann", "/a", b"another file of the old name")
    assert (await storage.shares.resolve(share.token)).stat.size == 1
    gone = await storage.files.delete("ann", "/b")
    for token in (share.token, "nonsense", ""):
        with pytest.raises(NotFound):
            await storage.shares.resolve(token)
    await storage.bin.restore("ann", gone.id)
    clock.now += 100
    with pytest.raises(NotFound):
        await storage.shares.resolve(share.token)
    other = await storage.shares.create("ann", "/a", expires=clock.now + 100)
    with pytest.raises(NotFound):
        await storage.shares.revoke("bob", other.id)
    await storage.shares.revoke("ann", other.id)
    with pytest.raises(NotFound):
        await storage.shares.resolve(other.token)
    assert await storage.shares.list("ann") == ()
    with pytest.raises(BadRequest):
        await storage.shares.create("ann", "/a", expires=clock.now)


async def test_a_password_is_asked_for_and_neither_it_nor_the_token_is_kept(storage, clock, tmp_path):
    await storage.files.write("ann", "/a", b"1")
    share = await storage.shares.create("ann", "/a", expires=clock.now + 100, password="swordfish")
    for wrong in ("", "Swordfish", "x" * 1_000):
        with pytest.raises(Forbidden):
            await storage.shares.resolve(share.token, password=wrong)
    assert (await storage.shares.resolve(share.token, password="swordfish")).stat.path == "/a"
    with pytest.raises(BadRequest):
        await storage.shares.resolve(share.token, password="x" * 2_000)
    stored = b"".join(path.read_bytes() for path in (tmp_path / "storage").iterdir() if path.is_file())
    assert b"swordfish" not in stored
    assert share.token.encode() not in stored


async def test_a_shared_folder_shows_nothing_outside_of_it(storage, clock):
    await storage.files.write("ann", "/pub/in/a", b"1")
    await storage.files.write("ann", "/private", b"2")
    await storage.files.link("ann", "/private", "/pub/out")
    await storage.files.link("ann", "/", "/pub/up")
    await storage.files.link("ann", "/pub/in", "/pub/inner")
    share = await storage.shares.create("ann", "/pub", expires=clock.now + 100)
    assert (await storage.shares.resolve(share.token, inner="in/a")).stat.path == "/pub/in/a"
    assert (await storage.shares.resolve(share.token, inner="/inner/a")).stat.path == "/pub/in/a"
    for inner in ("/out", "/up", "/up/private", "/nothing"):
        with pytest.raises(NotFound):
            await storage.shares.resolve(share.token, inner=inner)
    with pytest.raises(InvalidPath):
        await storage.shares.resolve(share.token, inner="../private")


async def test_a_mounted_root_is_seen_by_all_and_changed_by_those_who_may(storage, clock):
    await storage.files.write("team", "/plan", b"1")
    await storage.mounts.mount("ann", "/shared/team", "team", writable=True)
    await storage.mounts.mount("bob", "/team", "team")
    await storage.files.write("ann", "/shared/team/new", b"2")
    assert (await storage.files.read("bob", "/team/new")).data == b"2"
    stat = await storage.files.stat("bob", "/team/new")
    assert (stat.path, stat.writable, stat.author) == ("/team/new", False, "ann")
    for change in (
        storage.files.write("bob", "/team/new", b"3"),
        storage.files.write("bob", "/team/another", b"3"),
        storage.files.append("bob", "/team/new", b"3"),
        storage.files.delete("bob", "/team/new"),
        storage.files.move("bob", "/team/new", "/mine"),
        storage.files.mkdir("bob", "/team/dir"),
        storage.files.describe("bob", "/team/new", tags=("x",)),
        storage.versions.forget("bob", "/team/new"),
        storage.shares.create("bob", "/team/new", expires=clock.now + 9),
    ):
        with pytest.raises(Forbidden):
            await change
    await storage.files.copy("bob", "/team/new", "/mine")
    assert (await storage.files.read("bob", "/mine")).data == b"2"
    assert (await storage.usage("bob")).used == 1
    paths = [entry.path for entry in (await storage.files.glob("bob", "**")).entries]
    assert paths == ["/mine", "/team", "/team/new", "/team/plan"]


async def test_a_mount_stays_where_it_is_until_it_is_unmounted_or_over(storage, clock):
    await storage.files.write("team", "/plan", b"1")
    mount = await storage.mounts.mount("ann", "/s/team", "team", writable=True, expires=clock.now + 50)
    assert await storage.mounts.list("ann") == (mount,)
    for change in (
        storage.files.delete("ann", "/s/team", recursive=True),
        storage.files.delete("ann", "/s", recursive=True),
        storage.files.move("ann", "/s", "/t"),
        storage.mounts.mount("ann", "/s/team", "other"),
        storage.mounts.mount("ann", "/s/team/in", "other"),
        storage.mounts.mount("bob", "/x", "ann"),
        storage.mounts.mount("team", "/x", "other"),
        storage.mounts.mount("ann", "/x", "ann"),
    ):
        with pytest.raises(Conflict):
            await change
    clock.now += 50
    assert await storage.mounts.list("ann") == ()
    assert (await storage.files.list("ann", "/s/team")).entries == ()
    await storage.mounts.unmount("ann", "/s/team")
    with pytest.raises(NotFound):
        await storage.mounts.unmount("ann", "/s/team")
    await storage.files.delete("ann", "/s", recursive=True)
    assert (await storage.files.read("team", "/plan")).data == b"1"


async def test_what_moves_between_roots_is_charged_where_it_goes(storage):
    await storage.mounts.mount("ann", "/team", "team", writable=True)
    await storage.files.write("ann", "/dir/a", b"x" * 1_000)
    await storage.files.move("ann", "/dir", "/team/dir")
    assert (await storage.files.read("team", "/dir/a")).data == b"x" * 1_000
    assert (await storage.usage("team")).used == 1_000
    gone = await storage.files.delete("ann", "/team/dir/a")
    assert gone.path == "/dir/a"
    assert [entry.path for entry in await storage.bin.list("team")] == ["/dir/a"]
    await storage.bin.restore("team", gone.id)
    await storage.set_quota("team", 1_500)
    await storage.files.write("ann", "/big", b"y" * 1_000)
    with pytest.raises(QuotaExceeded):
        await storage.files.move("ann", "/big", "/team/big")
    assert (await storage.files.stat("ann", "/big")).size == 1_000


async def test_a_root_mounted_twice_is_one_place(storage):
    await storage.files.write("team", "/dir/a", b"1")
    for path in ("/one", "/two"):
        await storage.mounts.mount("ann", path, "team", writable=True)
    with pytest.raises(InvalidPath, match="into itself"):
        await storage.files.move("ann", "/one/dir", "/two/dir/in")
    for move in (("/one/dir", "/two/dir"), ("/one/dir/a", "/two/dir")):
        with pytest.raises(Conflict, match="or the same"):
            await storage.files.move("ann", *move, replace=True)
    assert (await storage.files.read("ann", "/two/dir/a")).data == b"1"


async def test_links_in_a_shared_root_stay_in_it(storage):
    await storage.files.write("ann", "/secret", b"ann's")
    await storage.files.write("team", "/a", b"1")
    await storage.files.link("team", "/secret", "/l")
    await storage.files.link("team", "/a", "/m")
    await storage.mounts.mount("ann", "/team", "team", writable=True)
    with pytest.raises(NotFound):
        await storage.files.read("ann", "/team/l")
    assert (await storage.files.stat("ann", "/team/m")).path == "/team/a"
    await storage.files.link("ann", "/team/a", "/l")
    assert (await storage.files.read("ann", "/l")).data == b"1"


async def test_a_blob_is_there_as_long_as_a_name_holds_it(storage):
    data = random.Random(1).randbytes(100_000)
    blob = await storage.blobs.put("ann", data)
    assert blob.name == blob.digest
    assert await storage.blobs.get("ann", blob.digest) == data
    assert await storage.blobs.get("ann", blob.digest, offset=50_000, length=10) == data[50_000:50_010]
    await storage.files.write("ann", "/same", data)
    assert (await storage.files.stat("ann", "/same")).digest == blob.digest
    assert (await storage.usage("ann")).used == len(data)
    await storage.blobs.pin("ann", "context/7", blob.digest)
    await storage.blobs.release("ann", blob.name)
    assert await storage.blobs.get("ann", blob.digest) == data
    assert (await storage.blobs.find("ann", "context/7")).digest == blob.digest
    await storage.blobs.put("ann", b"new", name="context/7")
    await storage.blobs.put("ann", b"other", name="page/1")
    assert [found.name for found in await storage.blobs.list("ann", prefix="context/")] == ["context/7"]
    assert len(await storage.blobs.list("ann")) == 2
    assert (await storage.usage("ann")).used == len(data) + 8
    for unknown in (
        storage.blobs.get("ann", blob.digest),  # a file has it, but no name holds it
        storage.blobs.get("ann", "zz"),
        storage.blobs.pin("ann", "x", blob.digest),
        storage.blobs.release("ann", "x"),
        storage.blobs.find("ann", "context"),
    ):
        with pytest.raises(NotFound):
            await unknown


async def test_a_blob_and_a_file_of_one_content_are_charged_once_until_both_are_gone(storage):
    data = random.Random(1).randbytes(9_000)
    for first in ("file", "blob"):
        await storage.files.write("ann", "/a", data)
        await storage.blobs.put("ann", data, name="b")
        for gone in (first, "blob" if first == "file" else "file"):
            assert (await storage.usage("ann")).used == len(data)
            if gone == "blob":
                await storage.blobs.release("ann", "b")
            else:
                await storage.files.delete("ann", "/a")
                await storage.bin.purge("ann")
        assert (await storage.usage("ann")).used == 0


async def test_a_digest_opens_no_blob_of_another(storage):
    blob = await storage.blobs.put("bob", b"secret")
    for attempt in (storage.blobs.get("ann", blob.digest), storage.blobs.pin("ann", "mine", blob.digest)):
        with pytest.raises(NotFound):
            await attempt
