"""Swap files in memory: never more than there is room for."""

from __future__ import annotations

import gc
from pathlib import Path

from aios.cores.core import Extent
from aios.cores.llama.arena import Arena
from aios.cores.llama.images import Images
from aios.cores.llama.parking import ParkingMemory
from aios.cores.llama.swapfile import write_swapfile

STATE = 10_000


def files(folder: Path, count: int) -> list[Path]:
    """So many swap files of about `STATE` bytes."""
    parking = ParkingMemory(2**20)
    arena, extent = Arena(parking.fd, parking.size), Extent(0, 2 * STATE, 1)
    paths = [folder / f"{number}.slab" for number in range(count)]
    for number, path in enumerate(paths):
        room = arena.room(extent, 3)
        room[:STATE] = bytes([number]) * STATE
        arena.commit(extent, [number, 1, 2], 3, STATE)
        assert write_swapfile(arena, extent, path)
        room.release()
    arena.close()
    parking.close()
    return paths


def test_as_many_are_read_as_there_is_room_for_and_the_next_when_one_is_let_go_of(tmp_path: Path) -> None:
    paths, images = files(tmp_path, 4), Images(2 * STATE + 1000)
    found = images.read(paths)
    assert list(found) == paths[:2]
    assert [image.content.tokens[0] for image in found.values()] == [0, 1]
    assert 2 * STATE < images.held <= 2 * STATE + 1000
    assert images.read(paths[2:]) == {}
    del found[paths[0]]
    gc.collect()
    again = images.read(paths[2:])
    assert list(again) == [paths[2]]
    found.clear()
    again.clear()
    gc.collect()
    assert images.held == 0


def test_one_that_is_larger_than_the_room_is_read_alone(tmp_path: Path) -> None:
    paths, images = files(tmp_path, 2), Images(10)
    found = images.read(paths)
    assert list(found) == paths[:1]


def test_what_is_damaged_or_gone_takes_no_room(tmp_path: Path) -> None:
    paths, images = files(tmp_path, 2), Images(STATE + 1000)
    paths[0].write_bytes(paths[0].read_bytes()[:-1] + b"x")
    assert list(images.read([paths[0], tmp_path / "gone", paths[1]])) == [paths[1]]
