"""A context in a file: a magic word, a checksum, and the bytes of an extent as `arena.py` lays them out."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import NamedTuple

from aios.cores.core import Extent
from aios.cores.llama.arena import Arena, Content, read_content
from aios.errors import CorruptState

MAGIC = b"AIOSSW01"
DIGEST = 16


class Image(NamedTuple):
    """A swap file in memory, whole and checked."""

    view: memoryview
    content: Content


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
    try:
        with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(MAGIC + _digest(data))
            file.write(data)
    except OSError:
        path.unlink(missing_ok=True)
        raise
    return True


def read_swapfile(path: Path) -> Image:
    """Raises CorruptState (it is not what was written), OSError."""
    data = path.read_bytes()
    head = len(MAGIC) + DIGEST
    body = memoryview(data)[head:]
    content = read_content(body, 0, len(body))
    if data[:head] != MAGIC + _digest(body) or content is None:
        raise CorruptState(f"The swap file {path.name} is damaged.", "Its context is computed again.")
    return Image(body, content)


def _digest(data: bytes | memoryview) -> bytes:
    return hashlib.blake2b(data, digest_size=DIGEST).digest()
