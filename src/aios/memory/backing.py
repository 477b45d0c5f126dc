"""Where swapped bodies lie. What comes back is what was put, or an error: never other bytes."""

from __future__ import annotations

import hashlib
from typing import Protocol

from aios.errors import StorageCorrupt
from aios.memory.database import Connection, Database


class Backing(Protocol):
    """A durable map from keys to bytes. `put` returns when they are on disk."""

    async def put(self, key: str, data: bytes) -> None:
        """Raises StorageUnavailable."""
        ...

    async def get(self, key: str) -> bytes:
        """Raises KeyError (there is none), StorageCorrupt, StorageUnavailable."""
        ...

    async def delete(self, key: str) -> None:
        """No error if it is not there. Raises StorageUnavailable."""
        ...


class SqliteBacking:
    """The default: blobs in the memory's own database, each with its SHA-256."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def put(self, key: str, data: bytes) -> None:
        statement = "INSERT OR REPLACE INTO swapped (key, digest, data) VALUES (?, ?, ?)"
        await self._database.write(lambda db: db.execute(statement, (key, digest(data), data)).rowcount)

    async def get(self, key: str) -> bytes:
        def read(db: Connection) -> tuple[bytes, bytes] | None:
            return db.execute("SELECT digest, data FROM swapped WHERE key = ?", (key,)).fetchone()

        found = await self._database.read(read)
        if found is None:
            raise KeyError(key)
        return checked(key, found[1], found[0])

    async def delete(self, key: str) -> None:
        await self._database.write(lambda db: db.execute("DELETE FROM swapped WHERE key = ?", (key,)).rowcount)


def digest(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()


def checked(name: str, data: bytes, expected: bytes) -> bytes:
    """`data` if its SHA-256 is `expected`. Raises StorageCorrupt."""
    if digest(data) != expected:
        raise StorageCorrupt(
            f"The stored bytes of {name} are damaged: their SHA-256 is not the one they were written with.",
            "Restore the state folder from a backup, or delete this entry.",
        )
    return data
