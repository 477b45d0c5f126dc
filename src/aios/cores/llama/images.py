"""Swap files that are read before they are wanted, and how many at a time."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from aios.cores.llama.swapfile import Image, read_swapfile
from aios.errors import StorageCorrupt


class Images:
    """At most `room` bytes of them are in memory at a time, or one that is larger. Any thread may read; what is
    let go of makes room."""

    def __init__(self, room: int) -> None:
        self._room, self._held = room, 0
        self._lock = threading.RLock()  # a finalizer can run in the midst of anything

    def read(self, paths: Iterable[Path]) -> dict[Path, Image]:
        """Those of them that are there, whole, and find room. Of the others the engine finds out why."""
        images: dict[Path, Image] = {}
        for path in paths:
            with suppress(OSError, StorageCorrupt):
                if self._take(size := path.stat().st_size):
                    try:
                        images[path] = image = read_swapfile(path)
                    except BaseException:
                        self._give_back(size)
                        raise
                    weakref.finalize(image.view, self._give_back, size)
        return images

    @property
    def held(self) -> int:
        """Bytes that are in memory."""
        return self._held

    def _take(self, size: int) -> bool:
        with self._lock:
            if self._held and self._held + size > self._room:
                return False
            self._held += size
            return True

    def _give_back(self, size: int) -> None:
        with self._lock:
            self._held -= size
