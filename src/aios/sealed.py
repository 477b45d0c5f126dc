"""A sealed file: bytes that are written whole, once, behind their SHA-256, and are read whole and checked.

For what is large and would gain nothing from being cut into chunks. It is not flushed to the disk: a file that
a power cut left half written is found out like any other damage."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from aios.errors import StorageCorrupt

MAGIC = b"AIOSSEAL"
HEAD = len(MAGIC) + 32
"""Bytes before those that were given."""


def write_sealed(path: Path, data: bytes | memoryview) -> None:
    """Make the file `path`, readable by its owner only. On an error nothing is left. Raises OSError (also where
    it is there already)."""
    seal = hashlib.sha256(data).digest()
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        try:
            file.write(MAGIC + seal)
            file.write(data)
            file.flush()
        except OSError:
            path.unlink(missing_ok=True)
            raise


def read_sealed(path: Path) -> memoryview:
    """What was written. Raises StorageCorrupt (these are other bytes), OSError."""
    data = memoryview(path.read_bytes())
    body = data[HEAD:]
    if bytes(data[:HEAD]) != MAGIC + hashlib.sha256(body).digest():
        raise _corrupt(path, data[len(MAGIC) : HEAD])
    return body


def seal_of(path: Path) -> bytes:
    """The SHA-256 that the file says it has: it is not checked. Raises StorageCorrupt, OSError."""
    with path.open("rb") as file:
        head = file.read(HEAD)
    if len(head) < HEAD or not head.startswith(MAGIC):
        raise _corrupt(path, head[len(MAGIC) :])
    return head[len(MAGIC) :]


def _corrupt(path: Path, seal: bytes | memoryview) -> StorageCorrupt:
    return StorageCorrupt(
        f"{path.name} is corrupt: its bytes are not those that were written.",
        "It is a cache: what was in it is made again.",
        digest=bytes(seal).hex(),
    )
