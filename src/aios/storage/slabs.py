"""Slabs: large contents that are written and read whole, each a sealed file beside the database.

A slab is of no use to anybody but the part of the kernel that made it (a *space*), under a label of its own.
It is there when its row is: files are made first, and one without a row is what a killed kernel was writing.
Cutting and compressing them as files of agents are would cost more than it saves: KV of a model is random to
zstd."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from secrets import token_hex

from aios.errors import StorageCorrupt
from aios.sealed import read_sealed, seal_of
from aios.storage.database import Database


@dataclass(slots=True)
class _Held:
    """A slab that somebody has: for whom, and how big."""

    owner: str
    size: int


class Slabs:
    """All slabs of one store; their files are in `folder`, which is there. `clock` gives Unix time."""

    def __init__(self, database: Database, folder: Path, clock: Callable[[], float]) -> None:
        self._database, self._folder, self._clock = database, folder, clock
        self._held: dict[Path, _Held] = {}
        self._gone: set[str] = set()
        """Names whose rows go with the next change."""

    def reserve(self, size: int, owner: str) -> Path:
        """A name for a new slab of `size` bytes for `owner`. Write a sealed file there, then `seal` it."""
        path = self._folder / f"{token_hex(8)}.slab"
        self._held[path] = _Held(owner, size)
        return path

    async def seal(self, space: str, labels: Mapping[Path, bytes]) -> None:
        """Those of these files that are there are `space`'s from now on, under these labels, also after a
        restart. What was removed meanwhile stays so. Raises StorageUnavailable."""
        seals = await asyncio.to_thread(_seals, labels)
        rows = [
            (path.name, space, held.owner, seals[path], held.size, self._clock(), label)
            for path, label in labels.items()
            if (held := self._held.get(path)) and path in seals
        ]
        gone = set(self._gone)

        def put(db: sqlite3.Connection) -> None:
            _drop(db, gone)
            db.executemany(
                "INSERT OR REPLACE INTO slabs (name, space, owner, digest, size, at, label)"
                " VALUES (?, ?, ?, ?, ?, ?, ?)",
                rows,
            )

        await self._database.change(put)
        self._gone -= gone
        self._gone |= {path.name for path in labels if path not in self._held}

    def remove(self, path: Path) -> None:
        """Nobody needs it any more. Harmless if it is gone. Raises OSError."""
        if self._held.pop(path, None) is not None:
            self._gone.add(path.name)
            path.unlink(missing_ok=True)

    async def find(self, space: str) -> list[tuple[Path, bytes]]:
        """The slabs of `space` and their labels, oldest first: what an earlier kernel left, which is held from
        now on. Raises StorageUnavailable."""
        find = "SELECT name, owner, size, label FROM slabs WHERE space = ? ORDER BY at, name"
        rows = await self._database.read(lambda db: db.execute(find, (space,)).fetchall())
        files = await asyncio.to_thread(self._files)
        left: list[tuple[Path, bytes]] = []
        for name, owner, size, label in rows:
            if name in files:
                self._held[path := self._folder / name] = _Held(owner, size)
                left.append((path, label))
        return left

    def taken(self, owner: str | None = None) -> int:
        """Bytes of the slabs of `owner`; None: of all."""
        return sum(held.size for held in self._held.values() if owner in (None, held.owner))

    # -- care --------------------------------------------------------------------------------------

    async def collect(self) -> tuple[int, int]:
        """Remove what nobody has: what a killed kernel was writing or had let go of, slabs of spaces that
        nobody asked for since the start. How many, and their bytes. Raises StorageUnavailable."""
        files = await asyncio.to_thread(self._files)
        rows = await self._database.read(lambda db: db.execute("SELECT name FROM slabs").fetchall())
        # Looked up after the files: one that was made since then is held, and one that is held has a holder.
        held = {path.name for path in self._held}
        lost = {name: size for name, size in files.items() if name not in held}
        gone = {name for (name,) in rows if name not in held} | self._gone
        await asyncio.to_thread(self._unlink, lost)
        if gone:
            await self._database.change(lambda db: _drop(db, gone), frees=True)
            self._gone -= gone
        return len(lost), sum(lost.values())

    async def scrub(self) -> tuple[str, ...]:
        """Read and check every slab. The names of those that are corrupt, which are gone then: whoever has one
        finds that it is not there."""
        bad: list[str] = []
        for path in tuple(self._held):
            try:
                await asyncio.to_thread(read_sealed, path)
            except FileNotFoundError:
                continue  # not written yet, or removed meanwhile
            except StorageCorrupt:
                bad.append(path.name)
                path.unlink(missing_ok=True)
        return tuple(bad)

    def _files(self) -> dict[str, int]:
        found: dict[str, int] = {}
        for path in self._folder.glob("*.slab"):
            with contextlib.suppress(FileNotFoundError):
                found[path.name] = path.stat().st_size
        return found

    def _unlink(self, names: Mapping[str, int]) -> None:
        for name in names:
            (self._folder / name).unlink(missing_ok=True)


def _seals(paths: Iterable[Path]) -> dict[Path, bytes]:
    found: dict[Path, bytes] = {}
    for path in paths:
        with contextlib.suppress(OSError, StorageCorrupt):
            found[path] = seal_of(path)
    return found


def _drop(db: sqlite3.Connection, names: Iterable[str]) -> None:
    db.executemany("DELETE FROM slabs WHERE name = ?", ((name,) for name in names))
