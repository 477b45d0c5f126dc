"""Entries with their bodies: the database holds them, RAM holds copies, the backing store what was swapped out.

A body is on disk, in the transaction of its entry, before a change is acknowledged. RAM is a cache of bodies
under budgets (paging.py); one that is pushed out moves to the backing store and comes back from there, checked
against the digest it was written with.
"""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import Callable, Generator, Mapping
from contextlib import AsyncExitStack, contextmanager, suppress
from contextvars import ContextVar
from dataclasses import dataclass

import numpy as np

from aios.access.grants import Grants
from aios.errors import Conflict, LimitExceeded, StorageCorrupt, StorageUnavailable
from aios.memory import entries
from aios.memory.backing import Backing, checked
from aios.memory.database import Connection, Database
from aios.memory.embed import Embedder, Vectors
from aios.memory.entries import Access, Body, Place, Row, Text
from aios.memory.paging import LruK, Pages
from aios.memory.records import Identity, MemoryLimits
from aios.memory.sharing import resource
from aios.memory.vectors import VectorCache
from aios.storage.stakes import Outdated
from aios.syscalls.flow import current
from aios.syscalls.memory_records import EntryInfo, Kind


@dataclass(frozen=True, slots=True)
class Draft:
    """What an entry shall be. `words` None: not to be found. `meaning`: what is embedded, by default `words`.
    `name`, `tags` None: as they are."""

    data: bytes
    meta: str = "{}"
    words: str | None = None
    about: str = ""
    meaning: str = ""
    name: str | None = None
    tags: tuple[str, ...] | None = None
    why: str = "write"


class EntryStore:
    """All entries of one kernel. `clock`: Unix time. `grants`: who lets whom at what."""

    def __init__(
        self, database: Database, backing: Backing, limits: MemoryLimits, embedder: Embedder | None,
        clock: Callable[[], float], grants: Grants,
    ) -> None:  # fmt: skip
        self.database, self.limits, self.embedder, self.clock = database, limits, embedder, clock
        self.grants = grants
        self.vectors = None
        if embedder is not None:
            self.vectors = VectorCache(embedder.name, embedder.width, limits.vector_bytes)
        self._backing = backing
        self.pages = Pages(
            LruK(limits.k), total=limits.ram_bytes, per_owner=limits.ram_agent_bytes, high=limits.high,
            low=limits.low,
        )  # fmt: skip
        self._in_backing: set[str] = set()  # of those in RAM: no need to put them there again
        self._locks: weakref.WeakValueDictionary[str, asyncio.Lock] = weakref.WeakValueDictionary()
        self._swapping = asyncio.Lock()
        self._fence: ContextVar[Mapping[str, int] | None] = ContextVar("fence", default=None)

    @contextmanager
    def fenced(self, seen: Mapping[str, int]) -> Generator[None]:
        """Entries are changed or deleted in here only while they are at these versions, else Outdated is
        raised."""
        token = self._fence.set(seen)
        try:
            yield
        finally:
            self._fence.reset(token)

    def _check_fence(self, row: Row) -> None:
        seen = self._fence.get()
        if seen is not None and seen.get(row.id) != row.version:
            raise Outdated

    async def close(self) -> None:
        if self.vectors is not None:
            await asyncio.to_thread(self.vectors.close)

    # -- reading -----------------------------------------------------------------------------------

    async def find(self, who: Identity, id: str, need: Access = "read") -> Row:
        """Raises NotFound, Forbidden."""
        row = await self.database.read(lambda db: entries.find(db, who, id, self.grants, need))
        current().seen.update(row.labels)
        return row

    async def read(self, who: Identity, id: str, need: Access = "read") -> tuple[Row, bytes]:
        """Raises NotFound, Forbidden, StorageCorrupt, StorageUnavailable."""
        async with self.lock(id):
            row = await self.find(who, id, need)
            return row, await self._body(row)

    def info(self, row: Row) -> EntryInfo:
        return entries.info(row, self.place(row), self.grants)

    def place(self, row: Row) -> Place:
        return "ram" if row.id in self.pages else "swapped" if row.swapped else "disk"

    def lock(self, id: str) -> asyncio.Lock:
        """Held while an entry's body is read or changed."""
        lock = self._locks.get(id)
        if lock is None:
            lock = self._locks[id] = asyncio.Lock()
        return lock

    async def _body(self, row: Row) -> bytes:
        data = self.pages.get(row.id)
        if data is not None:
            return data
        statement = "SELECT body FROM entries WHERE row = ?"
        (data,) = await self.database.read(lambda db: db.execute(statement, (row.row,)).fetchone())
        swapped = data is None
        if data is None:
            try:
                data = await self._backing.get(row.swap_key)
            except KeyError as error:
                mend = "Restore the backing store, or delete the entry."
                raise StorageCorrupt(f"The swapped body of {row.id} is missing.", mend) from error
        self._page_in(row, checked(row.id, data, row.digest), swapped=swapped)
        await self._swap_out(row.owner_name)
        return data

    # -- changes -----------------------------------------------------------------------------------

    async def create(
        self, who: Identity, kind: Kind, name: str, draft: Draft, *, pinned: bool = False, id: str = "",
        also: Callable[[Connection, Row], None] = lambda db, row: None,
    ) -> Row:  # fmt: skip
        """A new entry of `who` (`id`: from `entries.new_id`); `also` is done in its transaction.

        Raises LimitExceeded, Conflict."""
        self._check_size(draft.data)
        body, now, id = await self._embedded(draft), self.clock(), id or entries.new_id(kind)
        labels = given()

        def work(db: Connection) -> Row:
            row = entries.insert(
                db, id, who.agent, kind, name, draft.tags or (), pinned, body, limits=self.limits, by=who.agent,
                now=now, labels=labels,
            )  # fmt: skip
            also(db, row)
            return row

        row = await self.database.write(work, lambda row: self._changed(row, body))
        await self._swap_out(row.owner_name)
        return row

    async def change(
        self, who: Identity, id: str, compute: Callable[[Row, bytes], Draft], *, expect: int | None = None,
        also: Callable[[Connection, Row], None] = lambda db, row: None,
    ) -> Row:  # fmt: skip
        """The next version of an entry, made from the present one; nobody else changes it meanwhile.

        Raises NotFound, Forbidden, Conflict (it is not at version `expect`), LimitExceeded."""
        async with self.lock(id):
            before = await self.find(who, id, "write")
            self._check_fence(before)
            if expect not in (None, before.version):
                raise Conflict(
                    f"{id!r} is at version {before.version}, not {expect}.", "Read it again, then write."
                )
            draft = compute(before, await self._body(before))
            self._check_size(draft.data)
            body, now, labels = await self._embedded(draft), self.clock(), given()

            def work(db: Connection) -> Row:
                # Looked up again: while the text was embedded the grant may have ended, the body been swapped.
                row = entries.find(db, who, id, self.grants, "write")
                new = entries.replace(
                    db, row, body, name=draft.name, tags=draft.tags, limits=self.limits, by=who.agent, now=now,
                    labels=labels,
                )  # fmt: skip
                also(db, new)
                return new

            row = await self.database.write(work, lambda row: self._changed(row, body))
        await self._swap_out(row.owner_name)
        await self.reap()
        return row

    async def delete(self, rows: list[Row], also: Callable[[Connection], None] = lambda db: None) -> None:
        """These for good, also from the backing store; `also` is done in the same transaction. Their grants end
        first: a death in between leaves an entry that nobody else sees, and never a grant on the next one that
        is made under its key."""

        def work(db: Connection) -> None:
            # Again, for how they are by now: a change or a swap may have come between.
            fresh = [entries.by_row(db, row.row) for row in rows]
            also(db)
            entries.delete(db, [row for row in fresh if row is not None])

        async with AsyncExitStack() as stack:
            for id in sorted(row.id for row in rows):
                await stack.enter_async_context(self.lock(id))
            if self._fence.get() is not None:
                there = await self.database.read(lambda db: [entries.by_row(db, row.row) for row in rows])
                for row in filter(None, there):
                    self._check_fence(row)
            for owner in {row.owner_name for row in rows}:
                await self.grants.gone(owner, {resource(row.id) for row in rows})
            await self.database.write(work, lambda _: self._gone(rows))
        await self.reap()

    async def pin(self, who: Identity, id: str, pinned: bool) -> Row:
        """Keep an entry in RAM, or let it go. Raises NotFound, Forbidden, LimitExceeded."""
        async with self.lock(id):

            def work(db: Connection) -> Row:
                row = entries.find(db, who, id, self.grants, "own")
                db.execute("UPDATE entries SET pinned = ? WHERE row = ?", (pinned, row.row))
                if pinned:
                    entries.check_pins(db, row.owner, self.limits)
                return entries.find(db, who, id, self.grants, "own")

            row = await self.database.write(work)
            await self._body(row)
            if row.id in self.pages:
                self.pages.pin(row.id, pinned)
        await self._swap_out(row.owner_name)
        return row

    def _check_size(self, data: bytes) -> None:
        most = self.limits.entry_bytes
        if len(data) > most:
            raise LimitExceeded(f"{len(data)} bytes are more than one memory may have ({most}).", "Split it.")

    async def _embedded(self, draft: Draft) -> Body:
        text: Text | None = None
        if draft.words is not None:
            text = Text(draft.words, draft.about)
            if self.embedder is not None and draft.words.strip():
                (vector,) = await self.embedder.embed([draft.meaning or draft.words])
                text = Text(draft.words, draft.about, self.embedder.name, vector.tobytes())
        return Body(draft.data, draft.meta, text, draft.why)

    def _changed(self, row: Row, body: Body) -> None:
        """What is true on disk by now becomes true in RAM."""
        vectors = self.vectors
        if vectors is not None:
            vector = None if body.text is None else body.text.vector
            self.database.soon(lambda db: _tell(vectors, row, vector))
        self._page_in(row, body.data, swapped=False)

    def _gone(self, rows: list[Row]) -> None:
        for row in rows:
            self.pages.remove(row.id, gone=True)
            self._in_backing.discard(row.id)
        vectors = self.vectors
        if vectors is not None:
            self.database.soon(lambda db: [vectors.drop(row.owner, row.row) for row in rows])

    # -- paging ------------------------------------------------------------------------------------

    def _page_in(self, row: Row, data: bytes, *, swapped: bool) -> None:
        self.pages.put(row.id, row.owner_name, data, pinned=row.pinned)
        (self._in_backing.add if swapped and row.id in self.pages else self._in_backing.discard)(row.id)

    async def _swap_out(self, owner: str) -> None:
        """Bring the budgets in order, now that `owner` put something."""
        if not self.pages.crowded(owner):
            return
        async with self._swapping:
            victims = dict(self.pages.crowded(owner))
            moving = {id: data for id, data in victims.items() if id not in self._in_backing}
            # Nothing is lost if it fails: what did not move is in the database still, and may leave RAM.
            with suppress(StorageUnavailable):
                await self._move(moving)
            for id, data in victims.items():
                # Unless it was written meanwhile: then its page is a new one, and the next call looks again.
                if self.pages.holds(id, data):
                    self.pages.remove(id)
                    self._in_backing.discard(id)

    async def _move(self, moving: dict[str, bytes]) -> None:
        """Bodies to the backing store. Their keys are doomed first and spared in the transaction that counts on
        them, so that no death leaves a copy that nobody knows of."""
        if not moving:
            return

        def intend(db: Connection) -> dict[str, Row]:
            rows = [row for id in moving if (row := entries.by_id(db, id)) is not None and not row.swapped]
            db.executemany("INSERT OR IGNORE INTO doomed (key) VALUES (?)", [(row.swap_key,) for row in rows])
            return {row.swap_key: row for row in rows}

        rows = await self.database.write(intend)
        # What was written since its page was chosen has another digest.
        sound = {key: row for key, row in rows.items() if entries.digest(moving[row.id]) == row.digest}
        await asyncio.gather(*(self._backing.put(key, moving[row.id]) for key, row in sound.items()))

        def settle(db: Connection) -> None:
            for key, row in sound.items():
                statement = "UPDATE entries SET body = NULL WHERE row = ? AND version = ?"
                if db.execute(statement, (row.row, row.version)).rowcount:
                    db.execute("DELETE FROM doomed WHERE key = ?", (key,))

        await self.database.write(settle)

    async def reap(self) -> None:
        """Delete from the backing store what nothing needs any more."""
        doomed = await self.database.read(lambda db: db.execute("SELECT key FROM doomed LIMIT 1").fetchone())
        if doomed is None:
            return
        async with self._swapping:
            found = await self.database.read(lambda db: db.execute("SELECT key FROM doomed").fetchall())
            for (key,) in found:
                await self._backing.delete(key)
            await self.database.write(
                lambda db: db.executemany("DELETE FROM doomed WHERE key = ?", found).rowcount
            )


def given() -> frozenset[str]:
    """Labels of what the call under way writes: its maker's, and of all that it has looked at so far."""
    flow = current()
    return flow.given.union(flow.seen)


def _tell(vectors: VectorCache, row: Row, vector: bytes | None) -> None:
    if vector is None:
        vectors.drop(row.owner, row.row)
    else:
        values: Vectors = np.frombuffer(vector, np.float32)
        vectors.put(row.owner, row.row, values)
