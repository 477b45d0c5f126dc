"""The parking memory: RAM for KV without a slot, owned by the kernel process and lent to workers."""

from __future__ import annotations

import os
import sys
import tempfile


class ParkingMemory:
    """`size` bytes behind a file descriptor that a worker process can inherit and map. Pages are real only
    once they are written, so an unused budget costs nothing."""

    def __init__(self, size: int) -> None:
        self.size = size
        if sys.platform == "linux":
            self.fd = os.memfd_create("aios-parking", os.MFD_CLOEXEC)
        else:
            with tempfile.TemporaryFile(prefix="aios-parking") as file:
                self.fd = os.dup(file.fileno())
        os.ftruncate(self.fd, size)

    def close(self) -> None:
        os.close(self.fd)
