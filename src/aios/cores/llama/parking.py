"""The parking memory: RAM for KV without a slot, owned by the kernel process and lent to workers."""

from __future__ import annotations

import os
import sys
import tempfile

from aios.errors import ConfigError


class ParkingMemory:
    """`size` bytes behind a file descriptor that a worker process can inherit and map. Pages are real only
    once they are written, so an unused budget costs nothing: whether the machine has it is asked beforehand
    (`fit`)."""

    def __init__(self, size: int) -> None:
        self.size = size
        if sys.platform == "linux":
            self.fd = os.memfd_create("aios-parking", os.MFD_CLOEXEC)
        else:
            with tempfile.TemporaryFile(prefix="aios-parking") as file:
                self.fd = os.dup(file.fileno())
        os.ftruncate(self.fd, size)

    def fit(self, room: int, *, asked: bool) -> None:
        """Hold it against the `room` bytes that there are for it. Where somebody `asked` for its size, that is
        what it must be: raises ConfigError. Else it takes at most half of the room: `size` is less then, and
        what is behind it is never touched."""
        if asked and self.size > room:
            raise ConfigError(
                f"`kv_ram_mb` asks for {self.size / 2**20:,.0f} MB; beside the model and its slots "
                f"{max(0, room) / 2**20:,.0f} MB are free.",
                "Lower it, or leave it out: then it takes what there is; or lower `slots` or `context`.",
            )
        if not asked and self.size > max(0, room // 2):
            self.size = max(0, room // 2)
            os.ftruncate(self.fd, self.size)

    def close(self) -> None:
        os.close(self.fd)


def untouched(fd: int) -> int:
    """Bytes of the parking memory behind `fd` that nothing was written to: its owner may at any time."""
    status = os.fstat(fd)
    return max(0, status.st_size - 512 * status.st_blocks)
