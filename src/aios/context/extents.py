"""Who has which bytes of the parking memory."""

from __future__ import annotations

import bisect

from aios.cores.core import Extent

ALIGN = 64


class Extents:
    """First-fit allocator over `size` bytes (Knuth, The Art of Computer Programming 1, section 2.5, with the
    free list in address order so that neighbours merge). An extent's `serial` is never used twice."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.used = 0
        self._serial = 0
        self._free: list[tuple[int, int]] = [(0, size)] if size else []

    def allocate(self, size: int) -> Extent | None:
        """An extent of at least `size` bytes, or None when no gap is wide enough."""
        size = -(-size // ALIGN) * ALIGN
        for i, (offset, room) in enumerate(self._free):
            if room >= size:
                self._free[i : i + 1] = [(offset + size, room - size)] if room > size else []
                self.used += size
                self._serial += 1
                return Extent(offset, size, self._serial)
        return None

    def free(self, extent: Extent) -> None:
        """Give an extent back; it joins the gaps beside it."""
        offset, size = extent.offset, extent.size
        self.used -= size
        i = bisect.bisect(self._free, (offset, 0))
        if i < len(self._free) and self._free[i][0] == offset + size:
            size += self._free.pop(i)[1]
        if i > 0 and sum(self._free[i - 1]) == offset:
            i -= 1
            start, room = self._free.pop(i)
            offset, size = start, room + size
        self._free.insert(i, (offset, size))
