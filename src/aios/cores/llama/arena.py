"""A view of the parking memory: where KV of contexts without a slot lies.

The memory belongs to the kernel process, which hands its file descriptor to every worker it starts: what is
parked survives a crash of the engine. An extent describes itself: a header, the token ids whose KV it holds,
the engine's state bytes. The header is written last, so a half-written extent is an empty one.
"""

from __future__ import annotations

import mmap
import struct
from array import array
from typing import NamedTuple

from aios.cores.core import Extent

HEADER = struct.Struct("<8sQIIQ")
MAGIC = b"AIOSKV01"


class Content(NamedTuple):
    """What an extent holds: the KV of `tokens`, of which the first `prompt` were prefilled as one prompt, as
    `length` state bytes from `start` on."""

    tokens: list[int]
    prompt: int
    start: int
    length: int
    serial: int


def read_content(view: memoryview, offset: int, size: int) -> Content | None:
    """What the `size` bytes of `view` at `offset` hold; None if it is nothing whole."""
    if offset + max(size, HEADER.size) > len(view):
        return None
    magic, serial, count, prompt, length = HEADER.unpack_from(view, offset)
    skip = _skip(count)
    if magic != MAGIC or skip + length > size:
        return None
    start = offset + HEADER.size
    ids = array("i")
    ids.frombytes(view[start : start + 4 * count])
    return Content(ids.tolist(), prompt, offset + skip, length, serial)


def _skip(tokens: int) -> int:
    return (HEADER.size + 4 * tokens + 63) // 64 * 64


class Arena:
    """Reads and writes extents of the memory behind `fd`, `size` bytes."""

    def __init__(self, fd: int, size: int) -> None:
        self._map = mmap.mmap(fd, size) if size else None
        self.view = memoryview(self._map if self._map else bytearray())

    def room(self, extent: Extent, tokens: int) -> memoryview:
        """The part of `extent` that is left for the state bytes of a context of that many tokens; empty if
        there is none. What the extent held is forgotten."""
        skip = _skip(tokens)
        if skip > extent.size or extent.offset + extent.size > len(self.view):
            return self.view[:0]
        self.view[extent.offset : extent.offset + HEADER.size] = bytes(HEADER.size)
        return self.view[extent.offset + skip : extent.offset + extent.size]

    def commit(self, extent: Extent, tokens: list[int], prompt: int, length: int) -> None:
        """`length` state bytes are in place: `extent` now holds the KV of `tokens`."""
        ids = array("i", tokens).tobytes()
        start = extent.offset + HEADER.size
        self.view[start : start + len(ids)] = ids
        self.view[extent.offset : start] = HEADER.pack(MAGIC, extent.serial, len(tokens), prompt, length)

    def content(self, extent: Extent) -> Content | None:
        """What `extent` holds; None if nothing whole that was put there for this very extent."""
        content = read_content(self.view, extent.offset, extent.size)
        return content if content and content.serial == extent.serial else None

    def close(self) -> None:
        self.view.release()
        if self._map:
            self._map.close()
