"""One change of one or more roots, inside a transaction: every write of names and versions goes through it."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable

import msgspec

from aios.errors import (
    Conflict,
    Forbidden,
    InvalidPath,
    LimitExceeded,
    NotFound,
    QuotaExceeded,
    VersionConflict,
)
from aios.storage.paths import Parts, show
from aios.storage.records import Meta, StorageLimits
from aios.storage.tree import LIVE, Place, Tree, decode_meta
from aios.syscalls.storage_records import Kind, Stat


class Change(Tree):
    """A change by `author`, who has seen what `labels` say, in the view of `root`. All that one change does to
    a root bears one number."""

    def __init__(
        self, db: sqlite3.Connection, root: int, now: float, author: str, limits: StorageLimits,
        labels: Iterable[str] = (),
    ) -> None:  # fmt: skip
        super().__init__(db, root, now)
        self.author, self.limits, self.labels = author, limits, frozenset(labels)
        self._numbers: dict[int, int] = {}
        self._touched = 0

    def number(self, root: int) -> int:
        """Of this change in `root`."""
        if root not in self._numbers:
            up = "UPDATE roots SET seq = seq + 1 WHERE id = ? RETURNING seq"
            self._numbers[root] = self.db.execute(up, (root,)).fetchone()[0]
        return self._numbers[root]

    # -- files -------------------------------------------------------------------------------------

    def put(
        self, path: Parts, manifest: int, size: int, op: str, *,
        expect: int | None = None, parents: bool = True, meta: Meta | None = None,
    ) -> Stat:  # fmt: skip
        """Make `manifest` the newest version of the file at `path`, which is made if it is not there. `expect`:
        the version it must have now, 0: none. Raises VersionConflict, Conflict, NotFound, Forbidden,
        QuotaExceeded."""
        place = self.look(path)
        if place is None:
            if expect:
                raise _moved_on(show(path), expect, 0)
            place = self.make(path, "file", parents=parents)
        elif place.kind != "file":
            raise Conflict(f"{show(path)} is a folder.", "Name a file.", param="path")
        else:
            self.check_version(place, expect)
        if meta is None:
            meta = self.meta(place)
        self.add_version(place, op, manifest=manifest, size=size, meta=meta)
        return self.stat(place)

    def check_version(self, place: Place, expect: int | None) -> None:
        """Raise VersionConflict if `place` is not at version `expect`."""
        if expect is not None and (head := self.head(place)) != expect:
            raise _moved_on(place.shown, expect, head)

    def meta(self, place: Place) -> Meta:
        """Of the newest version; of a new node nothing."""
        row = self.db.execute(
            "SELECT v.meta FROM nodes n JOIN versions v ON v.node = n.id AND v.seq = n.head WHERE n.id = ?",
            (place.node,),
        ).fetchone()
        return decode_meta(row[0] if row else None)

    def add_version(
        self, place: Place, op: str, *,
        manifest: int | None = None, size: int = 0, meta: Meta | None = None, target: str | None = None,
    ) -> None:  # fmt: skip
        """Give the node at `place` a newest version, and charge its root for it. It has the labels of the one
        before, of what it is made from, and of its author. Raises Forbidden, QuotaExceeded."""
        self.check_writable(place)
        number = self.number(place.root)
        meta = meta or Meta()
        labels = self.labels.union(meta.labels, self.meta(place).labels)
        if len(labels) > len(meta.labels):
            meta = msgspec.structs.replace(meta, labels=tuple(sorted(labels)))
        text = msgspec.json.encode(meta).decode() if meta != Meta() else None
        self.db.execute(
            "INSERT INTO versions (node, seq, root, manifest, size, at, author, op, meta, target)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (place.node, number, place.root, manifest, size, self.now, self.author, op, text, target),
        )
        self.db.execute("UPDATE nodes SET head = ? WHERE id = ?", (number, place.node))
        self.db.execute("DELETE FROM tags WHERE node = ?", (place.node,))
        self.db.executemany(
            "INSERT INTO tags (root, tag, node) VALUES (?, ?, ?)",
            ((place.root, tag, place.node) for tag in meta.tags),
        )
        self.stale(place.node)
        if manifest is not None:
            self.hold(place.root, manifest)

    def hold(self, root: int, manifest: int) -> None:
        """Charge `root` for those chunks that it does not hold yet. Raises QuotaExceeded."""
        new = (
            "FROM pieces p WHERE p.manifest = :manifest AND NOT EXISTS"
            " (SELECT 1 FROM holdings h WHERE h.root = :root AND h.chunk = p.chunk)"
        )
        values = {"root": root, "manifest": manifest}
        charge = self.db.execute(
            f"SELECT coalesce(sum(size), 0) FROM chunks WHERE id IN (SELECT p.chunk {new})", values
        ).fetchone()[0]
        if not charge:
            return
        self.db.execute(f"INSERT INTO holdings (root, chunk) SELECT DISTINCT :root, p.chunk {new}", values)
        used, quota = self.db.execute(
            "UPDATE roots SET used = used + ? WHERE id = ? RETURNING used, coalesce(quota, ?)",
            (charge, root, self.limits.quota_bytes),
        ).fetchone()
        if used > quota:
            raise QuotaExceeded(
                f"This needs {charge} more bytes, and {used - charge} of {quota} are used.",
                "Purge the bin, forget old versions or snapshots, or ask for a larger quota.",
            )

    def stale(self, node: int) -> None:
        """Have `node` indexed again."""
        mark_stale(self.db, [(node,)])

    # -- names -------------------------------------------------------------------------------------

    def make(self, path: Parts, kind: Kind, *, parents: bool = False) -> Place:
        """A new node at `path`, without a version. Raises Conflict if there is something, NotFound if its
        folder is not there and `parents` does not say to make it."""
        place = self.spot(path, parents=parents)
        self.check_writable(place)
        self.count()
        number = self.number(place.root)
        node: int = self.db.execute(
            "INSERT INTO nodes (root, kind, head, created) VALUES (?, ?, ?, ?) RETURNING id",
            (place.root, kind, number, self.now),
        ).fetchone()[0]
        return self.name(node, kind, place)

    def spot(self, path: Parts, *, parents: bool = False) -> Place:
        """The free place at `path`: a folder's child that is not there yet (node 0). Raises as `make`."""
        if not path:
            raise Conflict("The root is there already.", "Name something in it.", param="path")
        folder = self.look(path[:-1])
        if folder is None and parents:
            folder = self.make_folder(path[:-1], parents=True)
        if folder is None:
            raise NotFound(f"There is no folder {show(path[:-1])}.", "Make it first.", param="path")
        if folder.kind != "dir":
            raise Conflict(f"{show(path[:-1])} is no folder.", "Choose another place.", param="path")
        if self.child(folder, path[-1]) is not None:
            raise Conflict(
                f"{show(path)} is there already.", "Choose another name, or replace it.", param="path"
            )
        return Place(
            folder.root, 0, "file", (*folder.path, path[-1]), folder.base, folder.node, "", folder.writable
        )

    def make_folder(self, path: Parts, *, parents: bool = False) -> Place:
        """A new folder at `path`. Raises as `make`."""
        place = self.make(path, "dir", parents=parents)
        self.add_version(place, "mkdir")
        return place

    def name(self, node: int, kind: Kind, spot: Place) -> Place:
        """Let `node` be at the free place `spot` from now on."""
        number = self.number(spot.root)
        self.db.execute(
            "INSERT INTO entries (parent, died, name, node, born) VALUES (?, ?, ?, ?, ?)",
            (spot.parent, LIVE, spot.name, node, number),
        )
        return Place(spot.root, node, kind, spot.path, spot.base, spot.parent, "", spot.writable)

    def unname(self, place: Place) -> None:
        """Let nothing be at `place` from now on. Raises Forbidden, Conflict for a root or a mount."""
        self.check_writable(place)
        self.check_free(place)
        number = self.number(place.root)
        where = "WHERE parent = ? AND died = ? AND name = ?"
        key = (place.parent, LIVE, place.name)
        # What came and went in one change was never there.
        self.db.execute(f"DELETE FROM entries {where} AND born = ?", (*key, number))
        self.db.execute(f"UPDATE entries SET died = ? {where}", (number, *key))

    # -- checks ------------------------------------------------------------------------------------

    def check_writable(self, place: Place) -> None:
        if not place.writable:
            raise Forbidden(f"{place.shown} is in a shared folder that you may only read.", "Copy it first.")

    def check_free(self, place: Place) -> None:
        """Raise Conflict if `place` is a root, or a shared folder is mounted in it."""
        if not place.parent:
            raise Conflict(f"{place.shown} is the top of a root.", "Unmount it instead.", param="path")
        if place.kind != "dir":
            return
        rows = self.db.execute("SELECT node FROM mounts WHERE root = ?", (place.root,)).fetchall()
        if any(self.within(node, place.node) for (node,) in rows):
            raise Conflict(f"A shared folder is mounted in {place.shown}.", "Unmount it first.")

    def check_outside(self, place: Place, spot: Place) -> None:
        """Raise InvalidPath if `spot` is in `place`."""
        # By nodes, for a root may be mounted at two places.
        if self.within(spot.parent, place.node):
            raise InvalidPath(f"{place.shown} can't go into itself.", "Choose another folder.", param="to")

    def count(self, entries: int = 1) -> None:
        """Raise LimitExceeded if this change touches too much."""
        self._touched += entries
        if self._touched > self.limits.entries:
            what = f"This is more than {self.limits.entries} files and folders at once."
            raise LimitExceeded(what, "Do it folder by folder.")


def mark_stale(db: sqlite3.Connection, nodes: Iterable[tuple[int]]) -> None:
    """Have these nodes indexed again; a folder: all that is in it."""
    db.executemany(
        "INSERT INTO stale (node, mark) VALUES (?, 0) ON CONFLICT (node) DO UPDATE SET mark = mark + 1", nodes
    )


def _moved_on(path: str, expected: int, head: int) -> VersionConflict:
    now = f"is at version {head}" if head else "is not there"
    return VersionConflict(
        f"{path} {now}, not at {expected}." if expected else f"{path} is there already, at version {head}.",
        "Read it again, make the change on what is there, and write it with that version.",
        param="expect",
    )
