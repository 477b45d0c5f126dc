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
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec

from aios.kernel.records import Entry, GroupRow, ProcessRow

log = logging.getLogger(__name__)

RETRY_S = 0.5
KEPT = 20_000
"""Entries kept for another try while the disk refuses; then the oldest are given up."""


@dataclass(slots=True)
class Batch:
    """Rows that go to disk together; of several for one call or process the last counts. `waiter`: somebody
    waits until they are there. `settle`: told whether they are. `expire`: statements that delete, with their
    parameters."""

    entries: dict[int, Entry] = field(default_factory=dict[int, Entry])
    rows: dict[int, ProcessRow] = field(default_factory=dict[int, ProcessRow])
    groups: dict[str, GroupRow] = field(default_factory=dict[str, GroupRow])
    waiter: Future[None] | None = None
    settle: Callable[[bool], None] | None = None
    expire: Mapping[str, Any] = field(default_factory=dict[str, Any])


class Writer:
    """Writes batches in the order in which they are `put`. `report(batches, trouble)` is called on the writer's
    thread after each try: `trouble` is empty, or why nothing could be written."""

    def __init__(
        self, db: sqlite3.Connection, sql: Mapping[str, str], report: Callable[[list[Batch], str], None]
    ) -> None:
        self._db, self._sql, self._report = db, sql, report
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
            retry = self._kept.entries or self._kept.rows
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
        entries: dict[int, Entry] = {}
        rows: dict[int, ProcessRow] = {}
        groups: dict[str, GroupRow] = {}
        for batch in batches:
            entries.update(batch.entries)
            rows.update(batch.rows)
            groups.update(batch.groups)
        db = self._db
        db.execute("BEGIN IMMEDIATE")
        try:
            if entries:
                # In the order of their numbers: of two tries under one key the later one stays.
                ordered = [entries[id] for id in sorted(entries)]
                db.execute(self._sql["put_syscalls"], (msgspec.json.encode(ordered).decode(),))
            if rows:
                db.execute(self._sql["put_processes"], (msgspec.json.encode(list(rows.values())).decode(),))
            if groups:
                db.execute(self._sql["put_groups"], (msgspec.json.encode(list(groups.values())).decode(),))
            for batch in batches:
                for name, parameters in batch.expire.items():
                    db.execute(self._sql[name], parameters)
            db.execute("COMMIT")
        finally:
            if db.in_transaction:
                db.execute("ROLLBACK")

    def _keep(self, batches: list[Batch]) -> None:
        """Keep what nobody waits for; whoever waits is told that it failed."""
        for batch in batches:
            if batch.waiter is None:
                self._kept.entries.update(batch.entries)
                self._kept.rows.update(batch.rows)
                self._kept.groups.update(batch.groups)
        for id in list(self._kept.entries)[: max(0, len(self._kept.entries) - KEPT)]:
            del self._kept.entries[id]
