"""The worker's view of the parking memory: where KV of contexts without a slot lies.

The memory belongs to the kernel process, which hands its file descriptor to every worker it starts: what is
parked survives a crash of the engine. An extent describes itself: a header, the token ids whose KV it holds,
the engine's state bytes. The header is written last, so a half-written extent is an empty one.
"""

from __future__ import annotations

import mmap
import struct
from array import array
from typing import Any, NamedTuple

from aios.cores.core import Extent

HEADER = struct.Struct("<8sQIIQ")
MAGIC = b"AIOSKV01"


class Content(NamedTuple):
    """What an extent holds: the KV of `tokens`, of which the first `prompt` were prefilled as one prompt, as
    `length` state bytes at `pointer`."""

    tokens: list[int]
    prompt: int
    pointer: Any
    length: int


class Arena:
    """Reads and writes extents of the memory behind `fd`, `size` bytes. `ffi` makes C pointers into it."""

    def __init__(self, fd: int, size: int, ffi: Any) -> None:
        self._map = mmap.mmap(fd, size) if size else None
        self._view = memoryview(self._map if self._map else b"")
        self._base: Any = ffi.from_buffer("uint8_t[]", self._map, require_writable=True) if self._map else None
        self._null: Any = ffi.NULL

    def room(self, extent: Extent, tokens: int) -> tuple[Any, int]:
        """Pointer to and size of the part of `extent` that is left for the state bytes of a context of that
        many tokens. What the extent held is forgotten."""
        skip = self._skip(tokens)
        if self._base is None or skip > extent.size or extent.offset + extent.size > len(self._view):
            return self._null, 0
        self._view[extent.offset : extent.offset + HEADER.size] = bytes(HEADER.size)
        return self._base + extent.offset + skip, extent.size - skip

    def commit(self, extent: Extent, tokens: list[int], prompt: int, length: int) -> None:
        """`length` state bytes are in place: `extent` now holds the KV of `tokens`."""
        ids = array("i", tokens).tobytes()
        start = extent.offset + HEADER.size
        self._view[start : start + len(ids)] = ids
        self._view[extent.offset : start] = HEADER.pack(MAGIC, extent.serial, len(tokens), prompt, length)

    def content(self, extent: Extent) -> Content | None:
        """What `extent` holds; None if nothing whole that was put there for this very extent."""
        if extent.offset + HEADER.size > len(self._view):
            return None
        magic, serial, count, prompt, length = HEADER.unpack_from(self._view, extent.offset)
        skip = self._skip(count)
        if magic != MAGIC or serial != extent.serial or skip + length > extent.size:
            return None
        start = extent.offset + HEADER.size
        ids = array("i")
        ids.frombytes(self._view[start : start + 4 * count])
        return Content(ids.tolist(), prompt, self._base + extent.offset + skip, length)

    @staticmethod
    def _skip(tokens: int) -> int:
        return (HEADER.size + 4 * tokens + 63) // 64 * 64
