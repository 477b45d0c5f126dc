"""The storage manager: opens the store, keeps it tidy, and says when it can't be written."""

from __future__ import annotations

import asyncio
import fcntl
import logging
import os
import sqlite3
import time
from collections.abc import Callable
from contextlib import AsyncExitStack
from pathlib import Path
from types import TracebackType

import msgspec
import zstandard

from aios.errors import BadRequest, Conflict, StorageCorrupt, StorageUnavailable
from aios.storage import collect, contents
from aios.storage.bin import Bin
from aios.storage.blobs import Blobs
from aios.storage.change import Change
from aios.storage.database import Connect, Database, connect
from aios.storage.files import Files
from aios.storage.folders import Folders
from aios.storage.groups import Grouping
from aios.storage.indexer import Embedder, Indexer
from aios.storage.mounts import Mounts
from aios.storage.records import StorageLimits
from aios.storage.search import Search
from aios.storage.shares import Shares
from aios.storage.slabs import Slabs
from aios.storage.staging import Staging
from aios.storage.stakes import Stakes
from aios.storage.store import Store
from aios.storage.tree import Tree
from aios.storage.versions import Versions
from aios.syscalls.storage_records import Collected, Usage

log = logging.getLogger(__name__)


class StorageManager:
    """The store in `folder`: `files`, `bin`, `versions`, `mounts`, `shares`, `blobs`, `slabs`, `folders`,
    `search`, `grouping`, `stakes`.

    Their methods take the owner of a root first; who may do what is decided before. With an `embedder`,
    searches go by meaning too. `on_trouble(why)` is called when changes can't be written (reads go on), and
    with "" when they can again, `on_damage(digest, why)` when a chunk is found corrupt. `clock` gives Unix
    time. Open it with `async with`, and run `run`."""

    def __init__(
        self,
        folder: Path,
        limits: StorageLimits | None = None,
        *,
        embedder: Embedder | None = None,
        on_trouble: Callable[[str], None] | None = None,
        on_damage: Callable[[str, str], None] | None = None,
        clock: Callable[[], float] = time.time,
        connect: Connect = connect,
    ) -> None:
        self._folder = folder
        self._lock = -1
        self._limits = limits or StorageLimits()
        self._embedder = embedder
        self._life = AsyncExitStack()
        self._database = Database(
            folder / "storage.db", "storage.sql", on_trouble=on_trouble or _ignore, connect=connect
        )
        # It can be made again, so it need not be on disk at once.
        self._index = Database(
            folder / "index.db", "index.sql", on_trouble=_ignore, synchronous="NORMAL", derived=True
        )
        self._store = Store(self._database, self._limits, clock, on_damage or _ignore)
        self._indexer = Indexer(self._store, self._index, embedder)
        staging = Staging(self._store)
        self.files = Files(self._store, staging)
        self.bin = Bin(self._store)
        self.versions = Versions(self._store)
        self.mounts = Mounts(self._store)
        self.shares = Shares(self._store)
        self.blobs = Blobs(self._store, staging)
        self.slabs = Slabs(self._database, folder / "slabs", clock)
        self.folders = Folders(self.files, staging)
        self.stakes = Stakes(self._store)
        self.search = Search(self._store, self._index, self._indexer, embedder)
        self.grouping = Grouping(self._store, self._index)

    # -- life --------------------------------------------------------------------------------------

    @property
    def trouble(self) -> str:
        """Why changes can't be written; "" when they can."""
        return self._database.trouble

    async def __aenter__(self) -> StorageManager:
        """Raises Conflict (another kernel has the folder), StorageUnavailable."""
        async with AsyncExitStack() as life:
            self._take_lock()
            life.callback(self._release_lock)
            await self._database.open()
            life.push_async_callback(self._database.close)
            fresh = await self._index.open()
            life.push_async_callback(self._index.close)
            if fresh:
                await self._indexer.mark_all()
            elif self._embedder is not None:
                await self._indexer.mark_all(without_vectors=True)
            self._life = life.pop_all()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._life.aclose()

    async def run(self) -> None:
        """Index what changes and collect what nothing reaches, for ever."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._indexer.run())
            tasks.create_task(self._collect_often())

    async def _collect_often(self) -> None:
        while True:
            await asyncio.sleep(self._limits.collect_every_s)
            try:
                await self.collect()
            except StorageUnavailable as error:
                log.warning("nothing is collected: %s", error)

    def _take_lock(self) -> None:
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            (self._folder / "slabs").mkdir(mode=0o700, exist_ok=True)
            self._lock = os.open(self._folder / "storage.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            self._release_lock()
            raise Conflict(f"Another kernel uses {self._folder}.", "Give this one its own folder.") from error
        except OSError as error:
            raise StorageUnavailable(f"{self._folder} can't be used: {error}.", "Make it writable.") from error

    def _release_lock(self) -> None:
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    # -- care --------------------------------------------------------------------------------------

    async def usage(self, owner: str) -> Usage:
        """What the owner's root holds, and may hold."""

        def get(tree: Tree) -> Usage:
            used, quota = tree.db.execute(
                "SELECT used, coalesce(quota, ?) FROM roots WHERE id = ?", (self._limits.quota_bytes, tree.root)
            ).fetchone()
            files = tree.db.execute(
                "SELECT count(*) FROM nodes WHERE root = ? AND kind = 'file'", (tree.root,)
            ).fetchone()[0]
            return Usage(used=used, quota=quota, files=files, contexts=self.slabs.taken(owner))

        return await self._store.look(owner, get)

    async def set_quota(self, owner: str, quota: int | None) -> Usage:
        """Let the root hold `quota` bytes from now on; None: as the limits say. Raises BadRequest."""
        if quota is not None and quota < 0:
            raise BadRequest("A quota is not negative.", param="quota")

        def go(change: Change) -> None:
            change.db.execute("UPDATE roots SET quota = ? WHERE id = ?", (quota, change.root))

        await self._store.change(owner, type(None), go)
        return await self.usage(owner)

    async def collect(self) -> Collected:
        """Remove what nothing reaches, and give the room back to the disk. Safe at any time, works on a full
        disk as far as that lets it, and can be killed. Raises StorageUnavailable."""
        before = self._store.clock() - self._limits.key_ttl_s
        done = await collect.collect(self._database, versions=self._limits.versions, results_before=before)
        slabs, size = await self.slabs.collect()
        return msgspec.structs.replace(done, slabs=slabs, bytes=done.bytes + size)

    async def scrub(self) -> tuple[str, ...]:
        """Check every chunk and slab. Returns the digests (hex) of chunks that are corrupt: the next write of
        the same content mends them; and the names of slabs that were, which are gone."""
        bad: list[str] = []
        last = 0
        while True:
            step = await self._database.read(lambda db, last=last: _scrub_some(db, last))
            if step is None:
                return (*bad, *await self.slabs.scrub())
            last = step[0]
            for digest in step[1]:
                bad.append(digest)
                await self._store.mark(digest, f"Chunk {digest} is corrupt.")


def _scrub_some(db: sqlite3.Connection, last: int) -> tuple[int, list[str]] | None:
    rows = db.execute(
        "SELECT id, digest, size, data FROM chunks WHERE id > ? ORDER BY id LIMIT ?", (last, collect.STEP)
    ).fetchall()
    if not rows:
        return None
    unpacker = zstandard.ZstdDecompressor()
    bad: list[str] = []
    for _, digest, size, data in rows:
        try:
            contents.unpack(unpacker, digest, size, data)
        except StorageCorrupt as error:
            bad.append(error.digest)
    return rows[-1][0], bad


def _ignore(*_: str) -> None:
    """Nobody asked to be told."""
