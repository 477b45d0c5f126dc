"""How quickly KV comes back, learned from what it took."""

from __future__ import annotations

import math

RAM_BYTES_PER_S = 3e9
DISK_BYTES_PER_S = 300e6
"""Believed before anything was read. Only the order of magnitude matters: computing is 10 to 1000 times
slower."""
WINDOW = 64 * 2**20
"""After so many bytes an earlier observation weighs 1/e of what it did."""
MOST = 8.0
"""One observation counts as at most so many times slower than what was expected: a disk that hung once is not
a slow disk."""
FADING = 1 / 16
"""By so much of a byte read from RAM what is known of the disk is forgotten. A disk that is found slower than
computing is not used; without this it would never be tried again."""


class Rate:
    """Bytes over seconds, as an exponential average of the seconds of a byte, weighted by bytes. Starts at
    `first` bytes a second."""

    def __init__(self, first: float) -> None:
        self._first = self._per_byte = 1.0 / first

    def seconds(self, size: int) -> float:
        """What reading `size` bytes takes."""
        return size * self._per_byte

    def saw(self, size: int, seconds: float) -> None:
        """`size` bytes took so long."""
        if size > 0 and seconds > 0.0:
            self._move(min(seconds / size, MOST * self._per_byte), size)

    def fade(self, size: float) -> None:
        """Go back to what was believed at first, as if it had been seen with `size` bytes."""
        self._move(self._first, size)

    def _move(self, per_byte: float, weight: float) -> None:
        self._per_byte += -math.expm1(-weight / WINDOW) * (per_byte - self._per_byte)


class Rates:
    """Of the two places from which KV is read back. Saving is not looked at: what a decision weighs is the
    return."""

    def __init__(self) -> None:
        self.ram, self.disk = Rate(RAM_BYTES_PER_S), Rate(DISK_BYTES_PER_S)

    def saw(self, *, disk: bool, size: int, seconds: float) -> None:
        """`size` bytes came back from the one or the other."""
        if disk:
            self.disk.saw(size, seconds)
        else:
            self.ram.saw(size, seconds)
            self.disk.fade(size * FADING)
