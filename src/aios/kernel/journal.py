"""The write-ahead record of syscalls and processes, in SQLite (WAL, full sync).

Calls without an effect are recorded as they go (`record`), without waiting for the disk. A call with an effect
is on disk, with its effect and its result, before the effect happens (`commit`). While the disk refuses,
`commit` raises JournalUnavailable and `trouble` says why; records are kept and written when it works again.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import sqlite3
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from importlib.resources import files
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from aios.access.audit import Audited
from aios.errors import Conflict, JournalUnavailable
from aios.kernel.records import AccessRow, Entry, GroupRow, ProcessRow, Recovered, Stored
from aios.kernel.writer import Append, Batch, Writer, gap
from aios.syscalls import ProcessInfo, Result

T = TypeVar("T")

VERSION = 4
"""Of the schema. journal.sql has a `migration_<n>` for each step to it."""
LINGER_S = 0.02
"""How long a record that nobody waits for may wait for company."""
PENDING = 50_000
"""Records that may wait for a slow disk; beyond that they are dropped, and `trouble` says so."""
FINISHED_KEPT = 100_000
"""Finished calls without a key that are kept."""

_MEND = "Free disk space or make the state folder writable."


def _no_log(db: sqlite3.Connection, decisions: Sequence[Audited]) -> None:
    return None


class Journal:
    """One kernel's journal at `path`. `on_trouble(why)` is called when writing fails (`why` says how) and when
    it works again (`why` is empty). `append` writes decisions to the audit log; `clean` takes secrets out of
    what is written. Both are called on the writer's thread."""

    def __init__(
        self,
        path: Path,
        on_trouble: Callable[[str], None],
        *,
        append: Append = _no_log,
        clean: Callable[[str], str] = str,
    ) -> None:
        self.trouble = ""
        self._append, self._clean = append, clean
        self._path, self._on_trouble = path, on_trouble
        self._fresh = Batch()
        self._touched: dict[int, Callable[[], ProcessRow]] = {}
        self._spent: dict[str, Callable[[], GroupRow]] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._pending = 0
        self._lock = -1
        self._reader = ThreadPoolExecutor(1, thread_name_prefix="journal-read")

    # -- life --------------------------------------------------------------------------------------

    async def open(self) -> Recovered:
        """Lock, open, migrate and read it. Raises Conflict (another kernel has it), JournalUnavailable."""
        self._loop = asyncio.get_running_loop()
        try:
            db, self._read_db, recovered = await self._loop.run_in_executor(self._reader, self._open)
        except BaseException as error:
            self._unlock()
            self._reader.shutdown(wait=False)
            if isinstance(error, sqlite3.Error | OSError):
                what = f"The journal {self._path} can't be opened: {error}."
                raise JournalUnavailable(what, _MEND) from error
            raise
        self._writer = Writer(db, self._sql, self._report, self._append, self._clean)
        self._writer.start()
        return recovered

    async def close(self) -> None:
        """Write what is there, as far as the disk takes it."""
        self._flush()
        await self._loop.run_in_executor(self._reader, self._writer.stop)
        await self._loop.run_in_executor(self._reader, self._read_db.close)
        self._reader.shutdown()
        self._unlock()

    def _open(self) -> tuple[sqlite3.Connection, sqlite3.Connection, Recovered]:
        self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._lock = os.open(self._path.with_suffix(".lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            mend = "Use that one, or give this one its own folder ([state] dir)."
            raise Conflict(f"Another kernel runs on {self._path.parent}.", mend) from error
        # Conversations are in it: its owner's alone. SQLite gives its side files the mode of the database.
        os.close(os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
        self._sql = _statements()
        db = self._connect()
        try:
            db.execute("PRAGMA journal_mode = WAL")
            db.execute("PRAGMA synchronous = FULL")
            self._migrate(db)
            return db, self._connect(), _recover(db, self._sql)
        except BaseException:
            db.close()
            raise

    def _connect(self) -> sqlite3.Connection:
        # Each connection is used by one thread at a time; isolation_level None: transactions are ours.
        return sqlite3.connect(self._path, timeout=5.0, isolation_level=None, check_same_thread=False)

    def _migrate(self, db: sqlite3.Connection) -> None:
        version: int = db.execute("PRAGMA user_version").fetchone()[0]
        if version > VERSION:
            raise JournalUnavailable(
                f"The journal {self._path} is of version {version}, and this kernel knows {VERSION}.",
                "Install the version of aios that wrote it, or give this one another [state] dir.",
            )
        for step in range(version + 1, VERSION + 1):
            db.executescript(self._sql[f"migration_{step}"])

    def _unlock(self) -> None:
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    # -- writing -----------------------------------------------------------------------------------

    def record(self, entry: Entry, decided: Audited | None = None) -> None:
        """Write `entry`, and the decision that let it in, soon."""
        self._fresh.entries[entry.id] = entry
        if decided is not None:
            self._fresh.audit.append(decided)
        if entry.key is not None:
            self._flush()  # somebody may ask for it again: no lingering
        else:
            self._soon()

    def decided(self, decided: Audited, rows: Iterable[AccessRow] = ()) -> None:
        """Write a decision that belongs to no entry, and what it changed, soon."""
        self._fresh.audit.append(decided)
        self.access(rows)

    def access(self, rows: Iterable[AccessRow]) -> None:
        """Write what access control keeps, soon."""
        self._fresh.access.update({(row.kind, row.name): row for row in rows})
        self._soon()

    def touch(self, pid: int, row: Callable[[], ProcessRow]) -> None:
        """Process `pid` changed: write what `row()` says soon, in one transaction with what is recorded now."""
        self._touched[pid] = row
        self._soon()

    def spend(self, group: str, row: Callable[[], GroupRow]) -> None:
        """A group spent something: write what `row()` says soon, with what is recorded now."""
        self._spent[group] = row

    async def commit(
        self,
        entry: Entry,
        rows: Iterable[ProcessRow],
        settle: Callable[[bool], None],
        decided: Audited | None = None,
    ) -> None:
        """Write these in one transaction and return when they are on disk. Raises JournalUnavailable: then
        none of them is. `settle` is told which, before anybody else can act, even if the caller went away."""
        audit = [] if decided is None else [decided]
        processes = {row.info.pid: row for row in rows}
        await self._put_and_wait(Batch({entry.id: entry}, processes, audit=audit, settle=settle))

    async def commit_access(
        self, rows: Iterable[AccessRow], decided: Sequence[Audited] = (), entry: Entry | None = None
    ) -> None:
        """Write what access control keeps, and what was decided of it, in one transaction, and return when it
        is on disk. Raises JournalUnavailable: then none of it is."""
        entries = {} if entry is None else {entry.id: entry}
        access = {(row.kind, row.name): row for row in rows}
        await self._put_and_wait(Batch(entries, access=access, audit=list(decided)))

    async def prune_audit(self, last: int, base: AccessRow, decided: Audited) -> None:
        """Take rows of the audit log up to `last` out of it, and write where it begins, in one transaction.
        Raises JournalUnavailable."""
        access = {(base.kind, base.name): base}
        await self._put_and_wait(Batch(access=access, audit=[decided], expire={"prune_audit": (last,)}))

    async def seal(self) -> None:
        """Have the end of the audit log say which checkpoints there are. Raises JournalUnavailable."""
        await self._put_and_wait(Batch(seal=True))

    async def settled(self) -> None:
        """Return when all that was recorded so far is on disk. Raises JournalUnavailable."""
        await self._put_and_wait(Batch())

    def expire(self, before: float, pids: Iterable[int]) -> None:
        """Delete old calls that are over (`before`: Unix time, seconds), and gone processes but `pids`."""
        syscalls = {"before": before, "keep": FINISHED_KEPT}
        kept = (msgspec.json.encode(list(pids)).decode(),)
        self._put(Batch(expire={"expire_syscalls": syscalls, "expire_processes": kept}))

    async def _put_and_wait(self, batch: Batch) -> None:
        batch.waiter = self._loop.create_future()
        self._put(batch)
        await batch.waiter

    def _put(self, batch: Batch) -> None:
        self._flush()
        self._pending += len(batch.entries)
        self._writer.put(batch)

    def _soon(self) -> None:
        if self._timer is None:
            self._timer = self._loop.call_later(LINGER_S, self._flush)

    def _flush(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        batch, self._fresh = self._fresh, Batch()
        batch.rows = {pid: row() for pid, row in self._touched.items()}
        batch.groups = {name: row() for name, row in self._spent.items()}
        self._touched.clear()
        self._spent.clear()
        if self._pending > PENDING:
            self._change("The disk is too slow: records of calls are dropped.")
            self._writer.put(Batch(access=batch.access, audit=gap(batch.audit)))
        elif batch.entries or batch.rows or batch.audit or batch.access:
            self._pending += len(batch.entries)
            self._writer.put(batch)

    def _report(self, batches: list[Batch], trouble: str) -> None:
        """On the writer's thread."""
        self._loop.call_soon_threadsafe(self._written, batches, trouble)

    def _written(self, batches: list[Batch], trouble: str) -> None:
        for batch in batches:
            self._pending -= len(batch.entries)
            if batch.waiter is not None and not batch.waiter.done():
                if trouble:
                    what = f"The journal can't be written: {trouble}."
                    batch.waiter.set_exception(JournalUnavailable(what, _MEND, retry_after=5.0))
                else:
                    batch.waiter.set_result(None)
            if batch.settle is not None:
                batch.settle(not trouble)
        self._change(trouble)

    def _change(self, trouble: str) -> None:
        if trouble != self.trouble:
            self.trouble = trouble
            self._on_trouble(trouble)

    # -- reading -----------------------------------------------------------------------------------

    async def find(self, agent: str, key: str, since: float, kind: Any = Result) -> Stored | None:
        """The result (of type `kind`) of the call of `agent` under `key` that was done since (Unix time,
        seconds), or that it is in doubt.

        What was recorded after the last `settled` may not be found yet. Raises JournalUnavailable."""

        def read() -> tuple[str, str | None] | None:
            return self._read_db.execute(self._sql["find"], (agent, key, since)).fetchone()

        try:
            row = await self._loop.run_in_executor(self._reader, read)
        except sqlite3.Error as error:
            raise JournalUnavailable(f"The journal can't be read: {error}.", _MEND, retry_after=5.0) from error
        return (
            None
            if row is None
            else Stored(digest=row[0], result=msgspec.json.decode(row[1], type=kind) if row[1] else None)
        )

    async def examine(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """What `work` finds through a connection of its own, on a thread of its own. Raises
        JournalUnavailable."""

        def examined() -> T:
            with closing(self._connect()) as db:
                db.execute("PRAGMA query_only = 1")
                return work(db)

        try:
            return await asyncio.to_thread(examined)
        except sqlite3.Error as error:
            raise JournalUnavailable(f"The journal can't be read: {error}.", _MEND, retry_after=5.0) from error


def _recover(db: sqlite3.Connection, sql: dict[str, str]) -> Recovered:
    processes = [
        ProcessRow(
            info=msgspec.json.decode(info, type=ProcessInfo),
            attached=bool(attached),
            charged_calls=calls,
            charged_tokens=tokens,
        )
        for info, attached, calls, tokens in db.execute(sql["processes"])
    ]
    open_calls = [
        Entry(
            id=id, pid=pid, agent=agent, kind=kind, effect=effect, key=key, digest=digest,
            request=None if request is None else msgspec.Raw(request.encode()), started=started,
        )
        for id, pid, agent, kind, effect, key, digest, request, started in db.execute(sql["open_calls"])
    ]  # fmt: skip
    groups = [GroupRow(name=name, spent=spent, began=began) for name, spent, began in db.execute(sql["groups"])]
    access = [
        AccessRow(kind=kind, name=name, value=msgspec.Raw(value.encode()))
        for kind, name, value in db.execute(sql["access"])
    ]
    last_id, last_pid = db.execute(sql["last_numbers"]).fetchone()
    return Recovered(processes, open_calls, groups, access, last_id + 1, last_pid + 1)


def _statements() -> dict[str, str]:
    """journal.sql by the names in it."""
    text = files("aios.kernel").joinpath("journal.sql").read_text("utf-8")
    parts = [part.partition("\n") for part in text.split("-- name: ")[1:]]
    return {name.strip(): statement for name, _, statement in parts}
