"""A context in a sealed file: the bytes of an extent as `arena.py` lays them out."""

from __future__ import annotations

import time
from pathlib import Path
from typing import NamedTuple

from aios.cores.core import Extent
from aios.cores.llama.arena import Arena, Content, read_content
from aios.errors import StorageCorrupt
from aios.sealed import read_sealed, write_sealed


class Image(NamedTuple):
    """A swap file in memory, whole and checked; reading it took so many seconds."""

    view: memoryview
    content: Content
    seconds: float


def write_swapfile(arena: Arena, extent: Extent, path: Path) -> bool:
    """Copy what `extent` holds to `path`; False, and no file, if nothing whole is there. Raises OSError.

    The extent may be given to another context while this reads it: then its header is not the same any more
    when all was read, and what was read is thrown away (as under a sequence lock)."""
    before = arena.content(extent)
    if before is None:
        return False
    data = bytes(arena.view[extent.offset : before.start + before.length])
    if arena.content(extent) != before:
        return False
    write_sealed(path, data)
    return True


def read_swapfile(path: Path) -> Image:
    """Raises StorageCorrupt (it is not what was written), OSError."""
    began = time.perf_counter()
    body = read_sealed(path)
    content = read_content(body, 0, len(body))
    if content is None:
        raise StorageCorrupt(f"{path.name} holds no context.", "Its context is computed again.")
    return Image(body, content, time.perf_counter() - began)
