"""One SQLite file with one writer thread (group commit) and one reader thread.

Changes are functions of a connection. The writer runs all that wait in one transaction, each in a savepoint of
its own, and syncs once (group commit: DeWitt et al. 1984, section 2): a change that fails takes nothing of the
others with it. What `write` returned from is on disk.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import queue
import sqlite3
import threading
from asyncio import Future
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any, TypeVar

from aios.errors import Conflict, StorageUnavailable

T = TypeVar("T")
Connection = sqlite3.Connection

VERSION = 3
"""Of the schema. memory.sql has a `migration_<n>` for each step to it."""
WAITING = 1024
"""Changes that may wait for the writer; further callers wait at the door."""
BUSY_S = 5.0

_MEND = "Free disk space or make the state folder writable."


@dataclass(slots=True)
class _Change:
    work: Callable[[Connection], Any]
    done: Future[Any]
    settled: Callable[[Any], object]
    result: Any = None
    error: Exception | None = None


class Database:
    """The file at `path`, locked for this process from `open` to `close`."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = -1
        self._closed = False
        self._queue: queue.SimpleQueue[_Change | None] = queue.SimpleQueue()
        self._door = asyncio.Semaphore(WAITING)
        self._reader = ThreadPoolExecutor(1, thread_name_prefix="memory-read")
        self._thread = threading.Thread(target=self._run, name="memory-write", daemon=True)

    # -- life --------------------------------------------------------------------------------------

    async def open(self) -> None:
        """Lock, open and migrate. Raises Conflict (another process has it), StorageUnavailable."""
        self._loop = asyncio.get_running_loop()
        try:
            self._db, self._read_db = await self._loop.run_in_executor(self._reader, self._open)
        except BaseException as error:
            self._unlock()
            self._reader.shutdown(wait=False)
            if isinstance(error, sqlite3.Error | OSError):
                raise StorageUnavailable(f"The memory {self._path} can't be opened: {error}.", _MEND) from error
            raise
        self._thread.start()

    async def close(self) -> None:
        """Write what waits, and let go of the file."""
        self._closed = True
        self._queue.put(None)
        await self._loop.run_in_executor(self._reader, self._thread.join)
        await self._loop.run_in_executor(self._reader, self._read_db.close)
        self._reader.shutdown()
        self._unlock()

    def _open(self) -> tuple[Connection, Connection]:
        self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._lock = os.open(self._path.with_suffix(".lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            mend = "Use that one, or give this one its own folder."
            raise Conflict(f"Another kernel keeps its memory in {self._path.parent}.", mend) from error
        # Its owner's alone. SQLite gives its side files the mode of the database.
        os.close(os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
        db = self._connect()
        try:
            db.execute("PRAGMA journal_mode = WAL")
            db.execute("PRAGMA synchronous = FULL")
            db.execute("PRAGMA foreign_keys = ON")
            self._migrate(db)
            return db, self._connect()
        except BaseException:
            db.close()
            raise

    def _connect(self) -> Connection:
        # Each connection is used by one thread at a time; isolation_level None: transactions are ours.
        return sqlite3.connect(self._path, timeout=BUSY_S, isolation_level=None, check_same_thread=False)

    def _migrate(self, db: Connection) -> None:
        version: int = db.execute("PRAGMA user_version").fetchone()[0]
        if version > VERSION:
            raise StorageUnavailable(
                f"The memory {self._path} is of version {version}, and this kernel knows {VERSION}.",
                "Install the version of aios that wrote it, or give this one another state folder.",
            )
        text = files("aios.memory").joinpath("memory.sql").read_text("utf-8")
        steps = {int(n): sql for n, _, sql in (p.partition("\n") for p in text.split("-- migration ")[1:])}
        for step in range(version + 1, VERSION + 1):
            db.executescript(f"BEGIN;\n{steps[step]}\nPRAGMA user_version = {step};\nCOMMIT;")

    def _unlock(self) -> None:
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    # -- use ---------------------------------------------------------------------------------------

    async def read(self, work: Callable[[Connection], T]) -> T:
        """`work(connection)` on the reader thread, in the order of the calls. It sees every `write` that
        returned. Raises StorageUnavailable, and what `work` raises."""
        try:
            return await self._later(work)
        except sqlite3.Error as error:
            raise StorageUnavailable(f"The memory can't be read: {error}.", _MEND, retry_after=5.0) from error

    async def write(
        self, work: Callable[[Connection], T], settled: Callable[[T], object] = lambda result: None
    ) -> T:
        """`work(connection)` on the writer thread; returns when its changes are on disk. It may be run in a
        transaction with others and must neither commit nor roll back. `settled` is called with its result at
        once when they are, so that RAM never contradicts the disk.

        Raises StorageUnavailable, and what `work` raises: then it changed nothing. A caller that is cancelled
        goes when that is known, so that what it locked is as the disk says."""
        async with self._door:
            self._check_open()
            change = _Change(work, self._loop.create_future(), settled)
            self._queue.put(change)
            cancelled: asyncio.CancelledError | None = None
            while not change.done.done():
                try:
                    await asyncio.wait([change.done])
                except asyncio.CancelledError as error:
                    cancelled = error
            if cancelled is not None:
                raise cancelled
            return change.done.result()

    def soon(self, work: Callable[[Connection], object]) -> None:
        """`work(connection)` on the reader thread, before every `read` that is called from now on."""
        self._later(work)

    def _later(self, work: Callable[[Connection], T]) -> Future[T]:
        self._check_open()
        return self._loop.run_in_executor(self._reader, work, self._read_db)

    def _check_open(self) -> None:
        if self._closed:
            raise StorageUnavailable("The memory is closed.", "Ask the kernel that runs.")

    def _run(self) -> None:
        stopping = False
        while not stopping:
            taken = self._take()
            stopping = taken[-1] is None
            changes = [change for change in taken if change is not None]
            try:
                self._commit(changes)
            except sqlite3.Error as error:
                for change in changes:
                    change.error = change.error or StorageUnavailable(
                        f"The memory can't be written: {error}.", _MEND, retry_after=5.0
                    )
            if changes:
                self._loop.call_soon_threadsafe(_settle, changes)
        self._db.close()

    def _take(self) -> Sequence[_Change | None]:
        taken = [self._queue.get()]
        while taken[-1] is not None:
            try:
                taken.append(self._queue.get_nowait())
            except queue.Empty:
                break
        return taken

    def _commit(self, changes: Sequence[_Change]) -> None:
        db = self._db
        if not changes:
            return
        db.execute("BEGIN IMMEDIATE")
        try:
            for change in changes:
                db.execute("SAVEPOINT change")
                try:
                    change.result = change.work(db)
                except sqlite3.Error:
                    raise
                except Exception as error:  # noqa: BLE001
                    # The supervisor of the changes: whatever one raises is its caller's, not the others'.
                    change.error = error
                    db.execute("ROLLBACK TO change")
                db.execute("RELEASE change")
            db.execute("COMMIT")
        finally:
            if db.in_transaction:
                db.execute("ROLLBACK")


def _settle(changes: Sequence[_Change]) -> None:
    for change in changes:
        if change.error is None:
            change.settled(change.result)
            change.done.set_result(change.result)
        else:
            change.done.set_exception(change.error)
            change.done.exception()  # its caller may have gone: then nobody asks, and that is no error
