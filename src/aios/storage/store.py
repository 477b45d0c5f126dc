"""What all parts of the manager stand on: owners' roots, looks and changes, and results kept for their keys."""

from __future__ import annotations

import asyncio
import hashlib
import sqlite3
from collections.abc import Callable, Generator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, TypeVar

import msgspec

from aios.errors import BadRequest, Conflict, NotFound, StorageCorrupt, StorageUnavailable
from aios.storage.change import Change
from aios.storage.database import Database
from aios.storage.paths import check
from aios.storage.records import StorageLimits
from aios.storage.tree import LIVE, Tree
from aios.syscalls.flow import current

T = TypeVar("T")

KEY_BYTES = 255


class Store:
    """`database` as owners see it. `clock` gives Unix time, seconds; `on_damage(digest, why)` hears of corrupt
    chunks."""

    def __init__(
        self, database: Database, limits: StorageLimits, clock: Callable[[], float],
        on_damage: Callable[[str, str], None],
    ) -> None:  # fmt: skip
        self.database, self.limits, self.clock = database, limits, clock
        self._on_damage = on_damage
        self.changed = asyncio.Event()
        """Set by each change; whoever follows the store clears it."""
        self._roots: dict[str, int] = {}
        self._fence: ContextVar[Callable[[Tree], None] | None] = ContextVar("fence", default=None)

    @contextmanager
    def fenced(self, check: Callable[[Tree], None]) -> Generator[None]:
        """A change in here is made only if `check` raises nothing in its transaction. A result that is kept for
        a key is no change."""
        token = self._fence.set(check)
        try:
            yield
        finally:
            self._fence.reset(token)

    async def root(self, owner: str) -> int:
        """Number of `owner`'s root, which is made when it is first asked for. Raises InvalidPath."""
        if owner not in self._roots:
            check(owner.replace("/", "_"))
            now = self.clock()
            self._roots[owner] = await self.database.change(lambda db: _make_root(db, owner, now))
        return self._roots[owner]

    async def look(self, owner: str, work: Callable[[Tree], T], *, snapshot: str = "") -> T:
        """What `work` makes of the owner's tree: all it reads is of one moment; `snapshot` names another one.

        Raises NotFound (no such snapshot), StorageUnavailable, StorageCorrupt, and what `work` raises."""
        root = await self.root(owner)

        seen: set[str] = set()

        def run(db: sqlite3.Connection) -> T:
            tree = Tree(db, root, self.clock(), moment(db, root, snapshot))
            result = work(tree)
            seen.update(tree.seen)
            return result

        try:
            result = await self.database.read(run)
            current().seen.update(seen)
            return result
        except StorageCorrupt as error:
            await self.mark(error.digest, str(error))
            raise

    async def change(
        self, owner: str, kind: type[T], work: Callable[[Change], T], *,
        author: str = "", key: str = "", request: Any = None, frees: bool = False,
    ) -> T:  # fmt: skip
        """What `work` returns when its change is on disk. With a `key` it is done once: who asks again with the
        same `request` gets the stored result, of type `kind`. `frees`: see `Database.change`.

        Raises Conflict (the key was used for another request), StorageUnavailable, and what `work` raises, and
        then nothing is changed."""
        root, fence = await self.root(owner), self._fence.get()
        if len(key.encode()) > KEY_BYTES:
            raise BadRequest(
                f"The idempotency key is longer than {KEY_BYTES} bytes.", "Use a UUID.", param="key"
            )

        flow, seen = current(), set[str]()

        def run(db: sqlite3.Connection) -> T:
            now = self.clock()
            make = Change(db, root, now, author or owner, self.limits, flow.given)
            make.seen = seen
            done = self._recall(db, root, kind, key, request) if key else None
            if done is not None:
                return done[0]
            if fence is not None:
                fence(make)
            result = work(make)
            if not key:
                return result
            db.execute(
                "INSERT OR REPLACE INTO results (root, key, digest, at, result) VALUES (?, ?, ?, ?, ?)",
                (root, key, _digest(request), now, msgspec.msgpack.encode(result)),
            )
            return result

        result = await self.database.change(run, frees=frees)
        flow.seen.update(seen)
        self.changed.set()
        return result

    async def recall(self, owner: str, kind: type[T], key: str, request: Any) -> T | None:
        """The stored result of the change of that key, if there is one. Raises as `change`."""
        if not key:
            return None
        root = await self.root(owner)
        done = await self.database.read(lambda db: self._recall(db, root, kind, key, request))
        return None if done is None else done[0]

    async def settled(self, owner: str, key: str) -> bool:
        """Whether a change of that key was made, and its result is kept."""
        if not key:
            return False
        find = "SELECT 1 FROM results WHERE root = ? AND key = ? AND at > ?"
        values = (await self.root(owner), key, self.clock() - self.limits.key_ttl_s)
        return await self.database.read(lambda db: db.execute(find, values).fetchone() is not None)

    def _recall(
        self, db: sqlite3.Connection, root: int, kind: type[T], key: str, request: Any
    ) -> tuple[T] | None:
        find = "SELECT digest, result FROM results WHERE root = ? AND key = ? AND at > ?"
        found = db.execute(find, (root, key, self.clock() - self.limits.key_ttl_s)).fetchone()
        if found is None:
            return None
        if found[0] != _digest(request):
            mend = "Use a new key for a new request."
            raise Conflict(f"The key {key!r} was used for another request.", mend, param="key")
        return (msgspec.msgpack.decode(found[1], type=kind),)

    async def mark(self, digest: str, why: str) -> None:
        """Tell that a chunk is corrupt, and remember it, so that the next write of its content mends it."""
        self._on_damage(digest, why)
        mark = "UPDATE chunks SET bad = 1 WHERE digest = ?"
        try:
            await self.database.change(lambda db: db.execute(mark, (bytes.fromhex(digest),)).rowcount)
        except StorageUnavailable:
            return  # it will be found again


def _digest(request: Any) -> bytes:
    return hashlib.sha256(msgspec.msgpack.encode(request)).digest()


def moment(db: sqlite3.Connection, root: int, snapshot: str) -> int:
    """The change that `snapshot` was taken after; without one, now. Raises NotFound."""
    if not snapshot:
        return LIVE
    find = "SELECT seq FROM snapshots WHERE root = ? AND name = ?"
    row = db.execute(find, (root, snapshot)).fetchone()
    if row is None:
        raise NotFound(f"There is no snapshot {snapshot!r}.", "List the snapshots.", param="snapshot")
    return row[0]


def _make_root(db: sqlite3.Connection, owner: str, now: float) -> int:
    row = db.execute("SELECT id FROM roots WHERE name = ?", (owner,)).fetchone()
    if row is not None:
        return row[0]
    root: int = db.execute("INSERT INTO roots (name) VALUES (?) RETURNING id", (owner,)).fetchone()[0]
    top: int = db.execute(
        "INSERT INTO nodes (root, kind, head, created) VALUES (?, 'dir', 0, ?) RETURNING id", (root, now)
    ).fetchone()[0]
    db.execute("UPDATE roots SET top = ? WHERE id = ?", (top, root))
    db.execute(
        "INSERT INTO versions (node, seq, root, size, at, author, op) VALUES (?, 0, ?, 0, ?, ?, 'mkdir')",
        (top, root, now, owner),
    )
    return root
