"""Names: from a path to what is there, in one owner's view, now or at an earlier change.

Everything is a row: a link is text that is followed from the top of the root it is in, a shared root hangs at a
mount. So no path, however it is written, can lead to a row that the root does not reach.
"""

from __future__ import annotations

import fnmatch
import re
import sqlite3
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, replace

import msgspec

from aios.errors import Conflict, InvalidPath, NotFound
from aios.storage.paths import DEEPEST, Parts, parse, show
from aios.storage.records import Meta
from aios.syscalls.storage_records import Kind, Stat

LIVE = 1 << 62
"""`died` of an entry that lives; as a moment: now."""
LINKS = 40
"""Most links followed on one path (as Linux does)."""

_CHILD = (
    "SELECT e.name, n.id, n.kind,"
    " (SELECT v.target FROM versions v WHERE n.kind = 'link' AND v.node = n.id AND v.seq = n.head)"
    " FROM entries e JOIN nodes n ON n.id = e.node WHERE e.parent = :parent AND "
)
_NOW = "e.died = 4611686018427387904 AND "
_THEN = "e.born <= :at AND e.died > :at AND "


@dataclass(frozen=True, slots=True)
class Place:
    """A node where a path led. `path` is real, in the owner's view; `base` is where its root begins there;
    `parent` is 0 for the top of a root."""

    root: int
    node: int
    kind: Kind
    path: Parts
    base: Parts = ()
    parent: int = 0
    target: str = ""
    writable: bool = True

    @property
    def name(self) -> str:
        return self.path[-1]

    @property
    def shown(self) -> str:
        return show(self.path)


class Tree:
    """The view of root `root` at change `at`, at time `now` (mounts expire)."""

    def __init__(self, db: sqlite3.Connection, root: int, now: float, at: int = LIVE) -> None:
        self.db, self.root, self.now, self.at = db, root, now, at
        self.seen: set[str] = set()
        """Labels of all that was told of."""

    # -- one path ----------------------------------------------------------------------------------

    def top(self) -> Place:
        row = self.db.execute("SELECT top FROM roots WHERE id = ?", (self.root,)).fetchone()
        return Place(self.root, row[0], "dir", ())

    def find(self, path: Parts, *, follow: bool = True) -> Place:
        """What is at `path`; a link at its end is followed unless told otherwise. Raises NotFound."""
        place = self.look(path, follow=follow)
        if place is None:
            raise NotFound(f"There is no {show(path)}.", "List its folder to see what is there.", param="path")
        return place

    def folder(self, path: Parts) -> Place:
        """As `find`. Raises Conflict if it is no folder."""
        place = self.find(path)
        if place.kind != "dir":
            raise Conflict(f"{show(path)} is no folder.", "Read it instead.", param="path")
        return place

    def file(self, path: Parts) -> Place:
        """As `find`. Raises Conflict if it is no file."""
        place = self.find(path)
        if place.kind != "file":
            raise Conflict(f"{show(path)} is a folder.", "List it instead.", param="path")
        return place

    def look(self, path: Parts, *, follow: bool = True) -> Place | None:
        """As `find`; None if there is nothing. Raises InvalidPath for links that go round in circles."""
        place, todo, links = self.top(), deque(path), 0
        while todo:
            if place.kind != "dir":
                return None
            child = self.child(place, todo.popleft())
            if child is None:
                return None
            if child.kind == "link" and (todo or follow):
                links += 1
                if links > LINKS:
                    raise InvalidPath(f"{show(path)} goes through more than {LINKS} links.", "Mend the links.")
                todo.extendleft(reversed(parse(child.target)))
                child = self._top_of(child)
            place = child
        return place

    def child(self, folder: Place, name: str) -> Place | None:
        """What has this very name in `folder`; a mount leads into its root."""
        row = self.db.execute(
            _CHILD + (_NOW if self.at == LIVE else _THEN) + "e.name = :name",
            {"parent": folder.node, "name": name, "at": self.at},
        ).fetchone()
        return None if row is None else self._enter(folder, row)

    def children(self, folder: Place, after: str = "", limit: int = -1) -> list[Place]:
        """Entries of `folder` by name, the first after `after`. Names are ordered by code point."""
        rows = self.db.execute(
            _CHILD + (_NOW if self.at == LIVE else _THEN) + "e.name > :after ORDER BY e.name LIMIT :limit",
            {"parent": folder.node, "after": after, "limit": limit, "at": self.at},
        )
        return [self._enter(folder, row) for row in rows.fetchall()]

    def _enter(self, folder: Place, row: tuple[str, int, Kind, str | None]) -> Place:
        name, node, kind, target = row
        place = Place(
            folder.root,
            node,
            kind,
            (*folder.path, name),
            folder.base,
            folder.node,
            target or "",
            folder.writable,
        )
        return self._cross(place) if kind == "dir" and self.at == LIVE else place

    def _cross(self, place: Place) -> Place:
        mount = self.db.execute(
            "SELECT m.target, r.top, m.writable FROM mounts m JOIN roots r ON r.id = m.target"
            " WHERE m.node = ? AND (m.expires = 0 OR m.expires > ?)",
            (place.node, self.now),
        ).fetchone()
        if mount is None:
            return place
        return Place(
            mount[0], mount[1], "dir", place.path, place.path, writable=place.writable and bool(mount[2])
        )

    def _top_of(self, place: Place) -> Place:
        row = self.db.execute("SELECT top FROM roots WHERE id = ?", (place.root,)).fetchone()
        return replace(place, node=row[0], kind="dir", path=place.base, parent=0, target="")

    # -- many --------------------------------------------------------------------------------------

    def walk(self, folder: Place, after: Parts = (), depth: int = DEEPEST) -> Iterator[Place]:
        """Everything in `folder`, a folder before what is in it, by name. `after`: go on behind this path
        (relative to `folder`). Links are not followed."""
        if after:
            first = self.child(folder, after[0])
            if first is not None and first.kind == "dir" and depth > 1:
                yield from self.walk(first, after[1:], depth - 1)
        name = after[0] if after else ""
        while batch := self.children(folder, name, 500):
            for place in batch:
                yield place
                if place.kind == "dir" and depth > 1:
                    yield from self.walk(place, (), depth - 1)
            name = batch[-1].name

    def glob(self, pattern: Parts, after: Parts = ()) -> Iterator[Place]:
        """What matches `pattern` (`*`, `?`, `[ab]` in a name; `**` for any folders), in the order of `walk`;
        `after`: go on behind this real path."""
        matches = _Matcher(pattern)
        fixed = tuple(_fixed(pattern))
        start = self.look(fixed)
        if start is None or start.kind != "dir":
            return
        depth = DEEPEST if "**" in pattern else len(pattern) - len(fixed)
        for place in self.walk(start, after[len(start.path) :], depth):
            if matches(fixed + place.path[len(start.path) :]):
                yield place

    def path_of(self, node: int) -> Parts | None:
        """Where `node` is in its own root now; None if it is nowhere (deleted, or in a deleted folder)."""
        names: list[str] = []
        find = "SELECT parent, name FROM entries WHERE node = ? AND died = ?"
        top: int = self.top().node
        while node != top:
            row = self.db.execute(find, (node, LIVE)).fetchone()
            if row is None or len(names) > DEEPEST:
                return None
            node = row[0]
            names.append(row[1])
        return tuple(reversed(names))

    def within(self, node: int, folder: int) -> bool:
        """Whether `node` is `folder`, or in it."""
        find = "SELECT parent FROM entries WHERE node = ? AND died = ?"
        while node != folder:
            row = self.db.execute(find, (node, LIVE)).fetchone()
            if row is None:
                return False
            node = row[0]
        return True

    # -- what is known of it -----------------------------------------------------------------------

    def head(self, place: Place) -> int:
        """Number of the version that is there at the moment of this view."""
        row = self.db.execute(
            "SELECT max(seq) FROM versions WHERE node = ? AND seq <= ?", (place.node, self.at)
        ).fetchone()
        return row[0]

    def stat(self, place: Place, version: int | None = None) -> Stat:
        """Raises NotFound for a version that it has not."""
        seq = self.head(place) if version is None else version
        row = self.db.execute(
            "SELECT v.size, v.at, v.author, v.meta, v.target, m.digest, n.created FROM versions v"
            " JOIN nodes n ON n.id = v.node LEFT JOIN manifests m ON m.id = v.manifest"
            " WHERE v.node = ? AND v.seq = ?",
            (place.node, seq),
        ).fetchone()
        if row is None:
            raise no_version(place.shown, seq)
        size, changed, author, meta, target, digest, created = row
        known = self.told(meta)
        return Stat(
            path=place.shown, kind=place.kind, version=seq, size=size, digest=digest.hex() if digest else "",
            created=created, changed=changed, author=author, tags=known.tags, about=known.about,
            target=target or "", writable=place.writable, labels=known.labels,
        )  # fmt: skip

    def told(self, text: str | None) -> Meta:
        """The metadata of a version that is told of."""
        meta = decode_meta(text)
        self.seen.update(meta.labels)
        return meta

    def state(self, place: Place) -> tuple[int | None, int, Meta, str | None]:
        """Manifest, size, metadata and target of the version at this moment: all that a copy needs."""
        manifest, size, meta, target = self.db.execute(
            "SELECT manifest, size, meta, target FROM versions WHERE node = ? AND seq = ?",
            (place.node, self.head(place)),
        ).fetchone()
        return manifest, size, decode_meta(meta), target

    def manifest(self, place: Place, version: int | None = None) -> tuple[int, int]:
        """Number of the version's manifest, and its size. Raises NotFound."""
        seq = self.head(place) if version is None else version
        row = self.db.execute(
            "SELECT manifest, size, meta FROM versions WHERE node = ? AND seq = ? AND manifest IS NOT NULL",
            (place.node, seq),
        ).fetchone()
        if row is None:
            raise no_version(place.shown, seq)
        self.told(row[2])
        return row[0], row[1]


def no_version(path: str, version: int) -> NotFound:
    return NotFound(f"{path} has no version {version}.", "See its history.", param="version")


def decode_meta(text: str | None) -> Meta:
    return msgspec.json.decode(text, type=Meta) if text else Meta()


def _fixed(pattern: Parts) -> Iterator[str]:
    """The names that `pattern` begins with, up to the first that is one; the last is never of them."""
    for name in pattern[:-1]:
        if set(name) & set("*?["):
            return
        yield name


class _Matcher:
    """Whether a path matches a pattern. Linear in both: `**` keeps only what it may have eaten so far."""

    def __init__(self, pattern: Parts) -> None:
        self._steps = [None if name == "**" else re.compile(fnmatch.translate(name)) for name in pattern]

    def __call__(self, path: Parts) -> bool:
        states = self._closure({0})
        for name in path:
            following: set[int] = set()
            for state in states:
                if state == len(self._steps):
                    continue
                step = self._steps[state]
                if step is None:
                    following.add(state)
                elif step.match(name):
                    following.add(state + 1)
            states = self._closure(following)
        return len(self._steps) in states

    def _closure(self, states: set[int]) -> set[int]:
        found = set(states)
        for state in states:
            while state < len(self._steps) and self._steps[state] is None:
                state += 1
                found.add(state)
        return found
