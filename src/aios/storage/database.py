"""One SQLite file with one writer and some readers, off the event loop.

The writer takes all changes that wait and commits them in one transaction (group commit: DeWitt et al. 1984,
section 2), each under a savepoint of its own: a change that is refused leaves nothing, and the others stay. A
reader sees one moment of the store for as long as it reads (WAL).

While the disk refuses, changes raise StorageUnavailable at once, reads go on, and the writer tries by itself
until there is room again.
"""

from __future__ import annotations

import asyncio
import logging
import queue
import sqlite3
import threading
from asyncio import Future
from collections.abc import Callable, Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any, TypeVar

from aios.errors import AiosError, StorageUnavailable

log = logging.getLogger(__name__)

T = TypeVar("T")
Connect = Callable[[Path], sqlite3.Connection]

RETRY_S = 0.25
"""How often a disk that refused is tried again, seconds."""
PROBE_BYTES = 1 << 20
"""What must fit before changes are taken again."""
COMPANY = 64
"""Most changes in one transaction."""
WAITING = 4_096
"""Most changes that wait for the writer; further callers wait at the door."""

_DEFECTS = (sqlite3.IntegrityError, sqlite3.ProgrammingError, sqlite3.InterfaceError)

_MEND = "Free disk space or make the state folder writable; changes are taken again by themselves."


def connect(path: Path) -> sqlite3.Connection:
    """A connection that one thread at a time may use. isolation_level None: transactions are ours."""
    return sqlite3.connect(path, timeout=10.0, isolation_level=None, check_same_thread=False)


@dataclass(slots=True)
class _Change:
    work: Callable[[sqlite3.Connection], Any]
    done: Future[Any]
    result: Any = None
    error: Exception | None = None


class Database:
    """The SQLite file `path`, with the schema of `schema` (a .sql file of this package: `migration_1`, …).

    `on_trouble(why)` is called on the loop when changes can't be written, and with "" when they can again.
    `derived`: what is in it can be made again, so a damaged file gives way to a new one."""

    def __init__(
        self,
        path: Path,
        schema: str,
        *,
        on_trouble: Callable[[str], None],
        synchronous: str = "FULL",
        derived: bool = False,
        readers: int = 4,
        connect: Connect = connect,
    ) -> None:
        self.trouble = ""
        self._path, self._schema, self._on_trouble, self._connect = path, schema, on_trouble, connect
        self._settings = (
            "PRAGMA auto_vacuum = INCREMENTAL",
            "PRAGMA journal_mode = WAL",
            f"PRAGMA synchronous = {synchronous}",
            "PRAGMA journal_size_limit = 67108864",
        )
        self._queue: queue.SimpleQueue[_Change | None] = queue.SimpleQueue()
        self._room = asyncio.Semaphore(WAITING)
        self._closed = False
        self._stopping = False
        self._failing = ""  # `trouble` as the writer's thread knows it
        self._thread = threading.Thread(target=self._run, name=f"{path.stem}-writer", daemon=True)
        self._pool = ThreadPoolExecutor(readers, thread_name_prefix=f"{path.stem}-read")
        self._readers: queue.SimpleQueue[sqlite3.Connection] = queue.SimpleQueue()
        self._count, self._derived = readers, derived

    # -- life --------------------------------------------------------------------------------------

    async def open(self) -> bool:
        """Open, or make, the file. True if it is new, or was of an earlier version. Raises
        StorageUnavailable."""
        self._loop = asyncio.get_running_loop()
        try:
            fresh = await self._loop.run_in_executor(self._pool, self._open)
        except (sqlite3.Error, OSError) as error:
            self._pool.shutdown(wait=False)
            raise StorageUnavailable(f"The store {self._path} can't be opened: {error}.", _MEND) from error
        self._thread.start()
        return fresh

    async def close(self) -> None:
        """Finish the changes that wait, and close."""
        self._closed = True
        self._queue.put(None)
        await self._loop.run_in_executor(self._pool, self._thread.join)
        for _ in range(self._count):
            self._readers.get().close()
        self._pool.shutdown()

    def _open(self) -> bool:
        try:
            return self._open_file()
        except sqlite3.DatabaseError as error:
            if not self._derived or isinstance(error, sqlite3.OperationalError):
                raise
            for path in self._path.parent.glob(f"{self._path.name}*"):
                path.unlink()
            return self._open_file()

    def _open_file(self) -> bool:
        self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._path.touch(mode=0o600, exist_ok=True)
        db = self._connect(self._path)
        try:
            for setting in self._settings:
                db.execute(setting)
            db.execute("PRAGMA foreign_keys = ON")
            fresh = _migrate(db, self._schema)
            for _ in range(self._count):
                reader = self._connect(self._path)
                reader.execute("PRAGMA query_only = ON")
                self._readers.put(reader)
        except BaseException:
            db.close()
            raise
        self._db = db
        return fresh

    # -- use ---------------------------------------------------------------------------------------

    async def change(self, work: Callable[[sqlite3.Connection], T], *, frees: bool = False) -> T:
        """Run `work` on the writer and return its result when it is on disk. It may be run again from the
        start, so it must touch nothing but the store.

        What it raises leaves no trace in the store. Raises StorageUnavailable if it can't be written; a change
        that `frees` space is tried even when others are refused at once."""
        if self._closed:
            raise StorageUnavailable("The store is closed.", "Start the kernel again.")
        if self.trouble and not frees:
            raise self._unavailable(self.trouble)
        async with self._room:
            change = _Change(work, self._loop.create_future())
            self._queue.put(change)
            return await change.done

    async def read(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Run `work` on a reader: all it reads is of one moment. Raises StorageUnavailable."""

        def run() -> T:
            db = self._readers.get()
            try:
                db.execute("BEGIN")
                try:
                    return work(db)
                finally:
                    db.execute("ROLLBACK")
            finally:
                self._readers.put(db)

        try:
            return await self._loop.run_in_executor(self._pool, run)
        except sqlite3.Error as error:
            raise StorageUnavailable(f"The store can't be read: {error}.", _MEND) from error

    def _unavailable(self, why: str) -> StorageUnavailable:
        return StorageUnavailable(f"The store takes no changes: {why}.", _MEND, retry_after=RETRY_S)

    # -- the writer --------------------------------------------------------------------------------

    def _run(self) -> None:
        while not self._stopping:
            taken = self._take()
            before, self._failing = self._failing, self._attempt(taken)
            if taken or self._failing != before:
                self._loop.call_soon_threadsafe(self._tell, taken, self._failing)
        self._db.close()

    def _take(self) -> list[_Change]:
        """What waits, up to a transaction's worth; waits for something, or for the time to try again."""
        taken: list[_Change] = []
        try:
            change = self._queue.get(timeout=RETRY_S if self._failing else None)
            while True:
                if change is None:
                    self._stopping = True
                    return taken
                if not change.done.cancelled():
                    taken.append(change)
                if len(taken) == COMPANY:
                    return taken
                change = self._queue.get_nowait()
        except queue.Empty:
            return taken

    def _attempt(self, changes: list[_Change]) -> str:
        """Commit `changes` together, or without anything to do see whether the disk works. Returns the
        trouble."""
        try:
            if changes:
                self._commit(changes)
            elif self._failing:
                self._probe()
        except sqlite3.Error as error:
            if len(changes) > 1:
                # One that is too big for the disk should not take the others with it.
                return next(filter(None, [self._attempt([change]) for change in changes]), "")
            for change in changes:
                change.error = self._unavailable(str(error))
            return str(error)
        return ""

    def _commit(self, changes: list[_Change]) -> None:
        db = self._db
        with _transaction(db):
            for change in changes:
                change.error = None
                db.execute("SAVEPOINT change")
                try:
                    change.result = change.work(db)
                except Exception as error:
                    # The supervisor of the changes: who asked is told, the others go on. But where the disk
                    # fails, SQLite may have ended the transaction.
                    if isinstance(error, sqlite3.Error) and not isinstance(error, _DEFECTS):
                        raise
                    if not isinstance(error, AiosError | Retry):
                        log.exception("a change failed")
                    change.error = error
                    db.execute("ROLLBACK TO change")
                db.execute("RELEASE change")

    def _probe(self) -> None:
        # Two transactions: pages that one both fills and frees are never written.
        with _transaction(self._db):
            self._db.execute("CREATE TABLE IF NOT EXISTS probe AS SELECT zeroblob(?) AS filler", (PROBE_BYTES,))
        with _transaction(self._db):
            self._db.execute("DROP TABLE probe")

    def _tell(self, changes: list[_Change], trouble: str) -> None:
        for change in changes:
            if change.done.done():
                continue
            if change.error is None:
                change.done.set_result(change.result)
            else:
                change.done.set_exception(change.error)
        if trouble != self.trouble:
            self.trouble = trouble
            self._on_trouble(trouble)


@contextmanager
def _transaction(db: sqlite3.Connection) -> Generator[None]:
    db.rollback()  # of one that could not be ended when the disk failed
    db.execute("BEGIN IMMEDIATE")
    try:
        yield
        db.execute("COMMIT")
    finally:
        db.rollback()


class Retry(Exception):
    """A change found that what it was made from is gone: its maker makes it again."""


def _migrate(db: sqlite3.Connection, schema: str) -> bool:
    text = files("aios.storage").joinpath(schema).read_text("utf-8")
    steps = [part.partition("\n")[2] for part in text.split("-- name: ")[1:]]
    version: int = db.execute("PRAGMA user_version").fetchone()[0]
    if version > len(steps):
        raise StorageUnavailable(
            f"The store is of version {version}, and this aios knows {len(steps)}.",
            "Install the version of aios that wrote it, or give this one another state folder.",
        )
    for number, step in enumerate(steps[version:], version + 1):
        db.executescript(f"BEGIN IMMEDIATE;{step};PRAGMA user_version = {number};COMMIT;")
    return version < len(steps)
