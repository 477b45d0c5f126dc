"""The journal's writer: one thread, one SQLite connection, group commit.

It takes all that has gathered since its last commit and writes it in one transaction (group commit: DeWitt et
al. 1984, section 2), so that a disk that syncs 300 times a second takes thousands of rows. What it can't write
it keeps, within a bound, and tries again; what somebody waits for is refused instead.
"""

from __future__ import annotations

import logging
import queue
import sqlite3
import threading
from asyncio import Future
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec

from aios.access.audit import Audited
from aios.kernel.records import AccessRow, Entry, GroupRow, ProcessRow

log = logging.getLogger(__name__)

RETRY_S = 0.5
KEPT = 20_000
"""Entries, and decisions, kept for another try while the disk refuses; then the oldest are given up."""

Append = Callable[[sqlite3.Connection, Sequence[Audited]], None]
"""Writes decisions to the audit log, inside a transaction."""


@dataclass(slots=True)
class Batch:
    """Rows that go to disk together; of several for one call or process the last counts. `waiter`: somebody
    waits until they are there. `settle`: told whether they are. `seal`: the audit log is written to, without
    rows too. `expire`: statements that delete, with their parameters."""

    entries: dict[int, Entry] = field(default_factory=dict[int, Entry])
    rows: dict[int, ProcessRow] = field(default_factory=dict[int, ProcessRow])
    groups: dict[str, GroupRow] = field(default_factory=dict[str, GroupRow])
    access: dict[tuple[str, str], AccessRow] = field(default_factory=dict[tuple[str, str], AccessRow])
    audit: list[Audited] = field(default_factory=list[Audited])
    waiter: Future[None] | None = None
    settle: Callable[[bool], None] | None = None
    seal: bool = False
    expire: Mapping[str, Any] = field(default_factory=dict[str, Any])


class Writer:
    """Writes batches in the order in which they are `put`. `report(batches, trouble)` is called on the
    writer's thread after each try: `trouble` is empty, or why nothing could be written. `clean`: takes secrets
    out of what is written."""

    def __init__(
        self,
        db: sqlite3.Connection,
        sql: Mapping[str, str],
        report: Callable[[list[Batch], str], None],
        append: Append,
        clean: Callable[[str], str],
    ) -> None:
        self._db, self._sql, self._report, self._append, self._clean = db, sql, report, append, clean
        self._queue: queue.SimpleQueue[Batch | None] = queue.SimpleQueue()
        self._kept = Batch()
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name="journal", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def put(self, batch: Batch) -> None:
        self._queue.put(batch)

    def stop(self) -> None:
        """Write what is there and end. Blocks."""
        self._queue.put(None)
        self._thread.join()
        self._db.close()

    def _run(self) -> None:
        while not self._stopping:
            taken = self._take()
            trouble = ""
            try:
                self._write([self._kept, *taken])
                self._kept = Batch()
            except sqlite3.Error as error:
                trouble = str(error)
                self._keep(taken)
            except Exception as error:
                # The supervisor of the writing: nobody may wait for ever, and the thread goes on. Rows that
                # can't be written whatever the disk says are not kept.
                log.exception("the journal can't write %d batches", len(taken))
                trouble = repr(error)
                self._kept = Batch()
            self._report(taken, trouble)

    def _take(self) -> list[Batch]:
        """All that is in the queue; waits for something, or for the time to try again."""
        taken: list[Batch] = []
        try:
            retry = self._kept.entries or self._kept.rows or self._kept.audit or self._kept.access
            item = self._queue.get(timeout=RETRY_S if retry else None)
            while True:
                if item is None:
                    self._stopping = True
                else:
                    taken.append(item)
                item = self._queue.get_nowait()
        except queue.Empty:
            return taken

    def _write(self, batches: list[Batch]) -> None:
        whole = Batch()
        for batch in batches:
            _add(whole, batch)
        db = self._db
        db.execute("BEGIN IMMEDIATE")
        try:
            # In the order of their numbers: of two tries under one key the later one stays.
            self._put("put_syscalls", [whole.entries[id] for id in sorted(whole.entries)])
            self._put("put_processes", list(whole.rows.values()))
            self._put("put_groups", list(whole.groups.values()))
            self._put("put_access", list(whole.access.values()))
            if whole.access:
                db.execute(self._sql["drop_access"])
            if whole.audit or whole.seal:
                self._append(db, whole.audit)
            for batch in batches:
                for name, parameters in batch.expire.items():
                    db.execute(self._sql[name], parameters)
            db.execute("COMMIT")
        finally:
            if db.in_transaction:
                db.execute("ROLLBACK")

    def _put(self, statement: str, rows: Sequence[object]) -> None:
        if rows:
            self._db.execute(self._sql[statement], (self._clean(msgspec.json.encode(rows).decode()),))

    def _keep(self, batches: list[Batch]) -> None:
        """Keep what nobody waits for; whoever waits is told that it failed."""
        kept = self._kept
        for batch in batches:
            if batch.waiter is None:
                _add(kept, batch)
        for id in list(kept.entries)[: max(0, len(kept.entries) - KEPT)]:
            del kept.entries[id]
        if (lost := len(kept.audit) - KEPT) > 0:
            kept.audit[: lost + 1] = gap(kept.audit[: lost + 1])


def gap(lost: Sequence[Audited]) -> list[Audited]:
    """What stands in the log for decisions that could not be written, for the chain would hide that."""
    of = [decided.at for decided in lost]
    why = f"{len(lost)} decisions could not be written."
    return (
        [
            Audited(
                at=min(of), pid=0, agent="", action="audit.lost", resource="", effect="deny", rule="", why=why
            )
        ]
        if of
        else []
    )


def _add(to: Batch, batch: Batch) -> None:
    to.entries.update(batch.entries)
    to.rows.update(batch.rows)
    to.groups.update(batch.groups)
    to.access.update(batch.access)
    to.audit.extend(batch.audit)
    to.seal |= batch.seal
