"""Where content is cut: FastCDC (Xia et al. 2016, USENIX ATC, section 3) over whole arrays.

A cut depends only on the bytes since the last one, so an edit moves the cuts around it and leaves the others,
and what was cut before an append is cut the same after it. The gear hash of a byte has no memory beyond its
width, 32 bytes; it is less than the smallest chunk, so the hashes of all positions can be computed at once:
after doubling five times, each sums 32 shifted table entries. Cutting is thus faster than compressing.
"""

from __future__ import annotations

import bisect
from typing import Any

import numpy as np
from numpy.typing import NDArray

SMALLEST = 2_048
AVERAGE = 8_192
LARGEST = 65_536
"""Bytes, the paper's; the last chunk of a content may be smaller."""

_BLOCK = 1 << 16
_WINDOW = 32
# Normalised chunking, level 2: harder to cut before the average size, easier after it. The high bits decide,
# for only they have seen the whole window.
_HARD = np.uint32(_WINDOW - (AVERAGE.bit_length() - 1) - 2)
_EASY = np.uint32(_WINDOW - (AVERAGE.bit_length() - 1) + 2)

Gear = NDArray[np.uint32]


def gear_table() -> Gear:
    """256 random numbers, the same for ever: stored chunks were cut with them."""
    table = np.random.Generator(np.random.PCG64(0x41494F53)).integers(0, 2**32, 256, dtype=np.uint64)
    return table.astype(np.uint32)


def cuts(data: bytes | memoryview, gear: Gear) -> list[int]:
    """Where the chunks of `data` end, ascending; the last is its length, and nothing has none."""
    hard, easy = _candidates(np.frombuffer(data, np.uint8), gear)
    ends: list[int] = []
    start, length = 0, len(data)
    while length - start > SMALLEST:
        end = _next(hard, start + SMALLEST, length)
        if end > start + AVERAGE:
            end = _next(easy, start + AVERAGE, length)
        start = min(end, start + LARGEST)
        ends.append(start)
    if start < length:
        ends.append(length)
    return ends


def _next(candidates: list[int], least: int, length: int) -> int:
    found = bisect.bisect_left(candidates, least)
    return candidates[found] if found < len(candidates) else length


def _candidates(data: NDArray[Any], gear: Gear) -> tuple[list[int], list[int]]:
    """Where a chunk may end, by the hard and by the easy rule."""
    hard: list[int] = []
    easy: list[int] = []
    for block in range(0, len(data), _BLOCK):
        first = max(0, block - _WINDOW + 1)
        hashes = gear[data[first : block + _BLOCK]]
        for shift in (1, 2, 4, 8, 16):
            hashes[shift:] += hashes[:-shift] << np.uint32(shift)
        hashes = hashes[block - first :]
        found = np.flatnonzero(hashes >> _EASY == 0)
        easy.extend((found + block + 1).tolist())
        hard.extend((found[hashes[found] >> _HARD == 0] + block + 1).tolist())
    return hard, easy
