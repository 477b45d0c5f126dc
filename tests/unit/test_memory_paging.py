"""Bodies under a RAM budget: swapped out, paged in, checked, and gone when they are deleted."""

import sqlite3

import pytest

from aios.errors import LimitExceeded, StorageCorrupt, StorageUnavailable
from aios.memory.manager import MemoryManager
from aios.memory.records import Identity, MemoryLimits
from aios.syscalls.memory import Alloc, Write

pytestmark = pytest.mark.anyio

ANN, BOB = Identity(agent="ann"), Identity(agent="bob")
LIMITS = MemoryLimits(ram_bytes=10_000, ram_agent_bytes=5_000)


class Shelf:
    """A backing store that shows what is in it."""

    def __init__(self):
        self.data: dict[str, bytes] = {}
        self.puts = 0
        self.full = False

    async def put(self, key, data):
        if self.full:
            raise StorageUnavailable("The disk is full.")
        self.puts += 1
        self.data[key] = data

    async def get(self, key):
        return self.data[key]

    async def delete(self, key):
        self.data.pop(key, None)


def body(i: int) -> bytes:
    return bytes([i]) * 1000


async def fill(memory, who, count):
    return [(await memory.alloc(who, Alloc(kind="data", data=body(i)))).id for i in range(count)]


async def places(memory, who):
    return [entry.place for entry in (await memory.list(who)).entries]


async def test_above_the_high_mark_the_oldest_are_swapped_out_and_come_back_the_same(tmp_path):
    shelf = Shelf()
    async with MemoryManager(tmp_path, LIMITS, backing=shelf) as memory:
        ids = await fill(memory, ANN, 5)
        assert await places(memory, ANN) == ["swapped", "swapped", "ram", "ram", "ram"]  # 100 % -> 60 %
        assert sorted(shelf.data) == sorted(f"{id}.1" for id in ids[:2])
        assert [(await memory.read(ANN, id)).data for id in ids] == [body(i) for i in range(5)]
        assert (await memory.usage(ANN)).ram_bytes <= 4_000
        puts = shelf.puts
        for id in ids * 2:
            await memory.read(ANN, id)
        assert shelf.puts <= puts + 3  # what lies there unchanged is not put there again


async def test_a_swapped_body_survives_a_restart_and_its_old_copy_a_write_does_not(tmp_path):
    shelf = Shelf()
    async with MemoryManager(tmp_path, LIMITS, backing=shelf) as memory:
        ids = await fill(memory, ANN, 6)
    async with MemoryManager(tmp_path, LIMITS, backing=shelf) as memory:
        assert [(await memory.read(ANN, id)).data for id in ids] == [body(i) for i in range(6)]
        for id in ids:
            await memory.write(ANN, Write(id=id, data=b"new" + id.encode()))
        assert [(await memory.read(ANN, id)).data for id in ids] == [b"new" + id.encode() for id in ids]
        assert shelf.data == {}


async def test_what_is_deleted_is_deleted_from_the_backing_store_too(tmp_path):
    shelf = Shelf()
    async with MemoryManager(tmp_path, LIMITS, backing=shelf) as memory:
        ids = await fill(memory, ANN, 6)
        assert shelf.data
        await memory.delete(ANN, ids[0])
        assert f"{ids[0]}.1" not in shelf.data
        await memory.clear(ANN)
        assert shelf.data == {}


async def test_one_agents_needs_do_not_push_out_anothers_within_its_budget(tmp_path):
    async with MemoryManager(tmp_path, LIMITS) as memory:
        await fill(memory, BOB, 3)
        await fill(memory, ANN, 20)
        assert await places(memory, BOB) == ["ram"] * 3


async def test_pinned_entries_stay_and_only_so_much_can_be_pinned(tmp_path):
    async with MemoryManager(tmp_path, LIMITS) as memory:
        first = await memory.alloc(ANN, Alloc(kind="data", data=body(0), pinned=True))
        ids = await fill(memory, ANN, 9)
        assert (await memory.stat(ANN, first.id)).place == "ram"
        await memory.pin(ANN, ids[0])  # it was swapped, and comes back to stay
        await memory.pin(ANN, ids[8])
        with pytest.raises(LimitExceeded):
            await memory.pin(ANN, ids[7])
        with pytest.raises(LimitExceeded):
            await memory.write(ANN, Write(id=first.id, data=bytes(2000)))
        await memory.unpin(ANN, first.id)
        await memory.pin(ANN, ids[7])
        for id in ids[1:7]:
            await memory.read(ANN, id)
        assert [(await memory.stat(ANN, ids[i])).place for i in (0, 7, 8)] == ["ram"] * 3
        assert (await memory.stat(ANN, first.id)).place == "swapped"


async def test_a_full_disk_loses_nothing(tmp_path):
    shelf = Shelf()
    async with MemoryManager(tmp_path, LIMITS, backing=shelf) as memory:
        shelf.full = True
        ids = await fill(memory, ANN, 8)
        assert "disk" in await places(memory, ANN)  # out of RAM, in the database still
        assert [(await memory.read(ANN, id)).data for id in ids] == [body(i) for i in range(8)]
        assert (await memory.usage(ANN)).ram_bytes <= 4_000
        shelf.full = False
        assert [(await memory.read(ANN, id)).data for id in ids] == [body(i) for i in range(8)]


@pytest.mark.parametrize("harm", [b"other bytes", None])
async def test_damaged_or_missing_bytes_are_named_and_not_given_out(tmp_path, harm):
    shelf = Shelf()
    async with MemoryManager(tmp_path, LIMITS, backing=shelf) as memory:
        ids = await fill(memory, ANN, 6)
        key = f"{ids[0]}.1"
        if harm is None:
            del shelf.data[key]
        else:
            shelf.data[key] = harm
        with pytest.raises(StorageCorrupt, match=ids[0]):
            await memory.read(ANN, ids[0])
        assert (await memory.read(ANN, ids[1])).data == body(1)


async def test_the_default_backing_store_notices_a_changed_byte(tmp_path):
    async with MemoryManager(tmp_path, LIMITS) as memory:
        ids = await fill(memory, ANN, 6)
    with sqlite3.connect(tmp_path / "memory.db") as db:
        db.execute("UPDATE swapped SET data = zeroblob(1000) WHERE key = ?", (f"{ids[1]}.1",))
    db.close()
    async with MemoryManager(tmp_path, LIMITS) as memory:
        assert (await memory.read(ANN, ids[0])).data == body(0)
        with pytest.raises(StorageCorrupt):
            await memory.read(ANN, ids[1])
