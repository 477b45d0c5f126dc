"""What was: versions of files, and snapshots of whole trees.

A snapshot is the number of a change: it costs one row however big the tree is, because names and versions say
from which change to which they hold (transaction time: Snodgrass 1999, chapter 8)."""

from __future__ import annotations

import asyncio
import difflib
import io
from collections.abc import Callable, Iterator

import msgspec

from aios.errors import BadRequest, Conflict, LimitExceeded, NotFound
from aios.storage import collect, contents, moves
from aios.storage.change import Change
from aios.storage.contents import Piece
from aios.storage.paths import Parts, check, parse, parse_inner, show
from aios.storage.records import Meta
from aios.storage.store import Store, moment
from aios.storage.tree import Place, Tree, decode_meta
from aios.syscalls.storage_records import Became, Collected, Diff, Difference, DiffKind, Snapshot, Stat, Version

DIFF_BYTES = 1 << 20
DIFF_LINES = 10_000
"""Larger texts are told apart by their chunks only: a line diff may take quadratic time."""


class Versions:
    """Methods take the owner first, then paths in the owner's view; they raise as those of `Files`."""

    def __init__(self, store: Store) -> None:
        self._store = store

    # -- of one file -------------------------------------------------------------------------------

    async def history(
        self, owner: str, path: str, *, before: int | None = None, limit: int = 100
    ) -> tuple[Version, ...]:
        """Versions of the file or folder, newest first, older than version `before`."""
        parts = parse(path)

        def get(tree: Tree) -> tuple[Version, ...]:
            rows = tree.db.execute(
                "SELECT v.seq, v.at, v.size, m.digest, v.author, v.op, v.meta FROM versions v"
                " LEFT JOIN manifests m ON m.id = v.manifest"
                " WHERE v.node = ? AND (?2 IS NULL OR v.seq < ?2) ORDER BY v.seq DESC LIMIT ?3",
                (tree.find(parts).node, before, max(0, limit)),
            )
            return tuple(
                Version(
                    version=seq, at=at, size=size, digest=digest.hex() if digest else "", author=author, op=op,
                    tags=tree.told(meta).tags,
                )
                for seq, at, size, digest, author, op, meta in rows
            )  # fmt: skip

        return await self._store.look(owner, get)

    async def diff(self, owner: str, path: str, old: int, new: int | None = None, *, context: int = 3) -> Diff:
        """What version `new` (by default the newest) changed against `old`. Raises StorageCorrupt."""
        parts = parse_inner(path)

        def get(tree: Tree) -> tuple[str, int, list[tuple[list[Piece], bytes | None]]]:
            place = tree.file(parts)
            number = tree.head(place) if new is None else new
            sides: list[tuple[list[Piece], bytes | None]] = []
            for version in (old, number):
                manifest, size = tree.manifest(place, version)
                data = contents.read(tree.db, manifest, 0, size) if 0 < size <= DIFF_BYTES else None
                sides.append((contents.pieces(tree.db, manifest), data if size else b""))
            return place.shown, number, sides

        shown, number, ((old_pieces, old_data), (new_pieces, new_data)) = await self._store.look(owner, get)
        kind, text = await asyncio.to_thread(unified, shown, old, number, old_data, new_data, context)
        return Diff(
            kind=kind, old=old, new=number, text=text,
            same_bytes=contents.shared_bytes(old_pieces, new_pieces),
            size=sum(piece.size for piece in new_pieces),
        )  # fmt: skip

    async def rollback(
        self, owner: str, path: str, *, steps: int | None = None, version: int | None = None,
        time: float | None = None, expect: int | None = None, author: str = "", key: str = "",
    ) -> Stat:  # fmt: skip
        """Make an old version the newest again, content and metadata: the one `steps` back, `version`, or that
        of `time` (Unix time). What came after it stays in the history. Raises BadRequest, NotFound."""
        if sum(given is not None for given in (steps, version, time)) != 1:
            raise BadRequest("Say one of steps, version and time.", "For the last version: steps=1.")
        if steps is not None and steps < 1:
            raise BadRequest("Steps count from 1, the version before this one.", param="steps")
        parts = parse_inner(path)

        def go(change: Change) -> Stat:
            place = change.file(parts)
            change.check_version(place, expect)
            manifest, size, meta, _ = earlier(change, place, steps, version, time)
            change.add_version(place, "rollback", manifest=manifest, size=size, meta=decode_meta(meta))
            return change.stat(place)

        request = ("rollback", path, steps, version, time, expect)
        return await self._store.change(owner, Stat, go, author=author, key=key, request=request)

    async def relabel(self, owner: str, path: str, new: Callable[[frozenset[str]], frozenset[str]]) -> Stat:
        """Give the file or folder other labels in all its versions, made from those that each has. Raises
        Forbidden, NotFound."""
        parts = parse_inner(path)

        def go(change: Change) -> Stat:
            place = change.find(parts)
            change.check_writable(place)
            find = "SELECT seq, meta FROM versions WHERE node = ?"
            for seq, text in change.db.execute(find, (place.node,)).fetchall():
                meta = decode_meta(text)
                meta = msgspec.structs.replace(meta, labels=tuple(sorted(new(frozenset(meta.labels)))))
                text = msgspec.json.encode(meta).decode() if meta != Meta() else None
                change.db.execute(
                    "UPDATE versions SET meta = ? WHERE node = ? AND seq = ?", (text, place.node, seq)
                )
            return change.stat(place)

        return await self._store.change(owner, Stat, go)

    async def forget(self, owner: str, path: str, *, keep: int = 1) -> Collected:
        """Destroy the versions of a file beyond the newest `keep`, but those in snapshots. Works on a full
        disk too. Raises BadRequest."""
        if keep < 1:
            raise BadRequest("The newest version stays.", "Delete the file instead.", param="keep")
        parts = parse_inner(path)

        def go(change: Change) -> Collected:
            place = change.file(parts)
            change.check_writable(place)
            rows = collect.old_versions(change.db, keep, place.node)
            return Collected(versions=collect.drop_versions(change.db, rows))

        return await self._store.change(owner, Collected, go, frees=True)

    # -- of a tree ---------------------------------------------------------------------------------

    async def snapshot(self, owner: str, name: str, *, key: str = "") -> Snapshot:
        """Remember the whole root as it is now (without what is mounted in it). Raises Conflict for a name that
        is taken."""
        name = check(name)

        def go(change: Change) -> Snapshot:
            if change.db.execute(
                "SELECT 1 FROM snapshots WHERE root = ? AND name = ?", (change.root, name)
            ).fetchone():
                raise Conflict(f"There is a snapshot {name!r} already.", "Choose another name.", param="name")
            # A number of its own: what one change did is either before the snapshot or after it.
            number = change.number(change.root)
            change.db.execute(
                "INSERT INTO snapshots (root, name, seq, at) VALUES (?, ?, ?, ?)",
                (change.root, name, number, change.now),
            )
            return Snapshot(name=name, version=number, at=change.now)

        return await self._store.change(owner, Snapshot, go, key=key, request=("snapshot", name))

    async def snapshots(self, owner: str) -> tuple[Snapshot, ...]:
        """All snapshots of the root, oldest first."""

        def get(tree: Tree) -> tuple[Snapshot, ...]:
            rows = tree.db.execute(
                "SELECT name, seq, at FROM snapshots WHERE root = ? ORDER BY seq", (tree.root,)
            )
            return tuple(Snapshot(name=name, version=seq, at=at) for name, seq, at in rows)

        return await self._store.look(owner, get)

    async def drop(self, owner: str, name: str) -> None:
        """Forget a snapshot; `collect` removes what only it still showed. Raises NotFound."""

        def go(change: Change) -> None:
            moment(change.db, change.root, name)
            change.db.execute("DELETE FROM snapshots WHERE root = ? AND name = ?", (change.root, name))

        await self._store.change(owner, type(None), go, frees=True)

    async def compare(self, owner: str, old: str, new: str = "", *, path: str = "/") -> tuple[Difference, ...]:
        """What became of `path` from snapshot `old` to `new` (by default: now). A folder that only one of them
        has stands for all that is in it. Raises LimitExceeded, NotFound."""
        parts = parse(path)

        def get(tree: Tree) -> tuple[Difference, ...]:
            past = Tree(tree.db, tree.root, tree.now, moment(tree.db, tree.root, old))
            present = Tree(tree.db, tree.root, tree.now, moment(tree.db, tree.root, new))
            return tuple(
                Difference(
                    path=show(where), change="removed" if b is None else "added" if a is None else "changed"
                )
                for where, a, b in differences(past, present, parts, self._store.limits.entries)
            )

        return await self._store.look(owner, get)

    async def restore(
        self, owner: str, snapshot: str, *, path: str = "/", author: str = "", key: str = ""
    ) -> tuple[Difference, ...]:
        """Make `path` what it was in `snapshot`, in one change: files get a new version with the old content,
        missing ones are made, others go to the bin. Returns what was changed. Raises LimitExceeded."""
        parts = parse(path)

        def go(change: Change) -> tuple[Difference, ...]:
            past = Tree(change.db, change.root, change.now, moment(change.db, change.root, snapshot))
            done: list[Difference] = []
            for where, old, new in list(differences(past, change, parts, change.limits.entries)):
                change.count()
                done.append(Difference(path=show(where), change=_undo(change, past, where, old, new)))
            return tuple(done)

        return await self._store.change(
            owner, tuple[Difference, ...], go, author=author, key=key, request=("restore", snapshot, path)
        )


def earlier(
    tree: Tree, place: Place, steps: int | None, version: int | None, time: float | None
) -> tuple[int, int, str | None, int]:
    """Manifest, size, metadata and number of the version of a file that a rollback means. Raises NotFound."""
    row = tree.db.execute(
        "SELECT manifest, size, meta, seq FROM versions WHERE node = ?1 AND (?2 IS NULL OR seq = ?2)"
        " AND (?3 IS NULL OR at <= ?3) ORDER BY seq DESC LIMIT 1 OFFSET ?4",
        (place.node, version, time, steps or 0),
    ).fetchone()
    if row is None:
        raise NotFound(f"{place.shown} does not go back that far.", "See its history.", param="version")
    return row


def _undo(change: Change, past: Tree, where: Parts, old: Place | None, new: Place | None) -> Became:
    """Make what is at `where` what it was. Returns what was done."""
    if old is not None and new is not None and old.kind == new.kind != "link":
        manifest, size, meta, _ = past.state(old)
        change.add_version(new, "restore", manifest=manifest, size=size, meta=meta)
        return "changed"
    if new is not None:
        moves.delete(change, new)
    if old is None:
        return "removed"
    moves.copy(change, past, old, where, op="restore", parents=True)
    return "added" if new is None else "changed"


def differences(
    old: Tree, new: Tree, path: Parts, limit: int
) -> Iterator[tuple[Parts, Place | None, Place | None]]:
    """Where the trees differ below `path`, with what each has there. Raises NotFound if neither has `path`,
    LimitExceeded for more than `limit` entries."""
    todo = [(path, old.look(path, follow=False), new.look(path, follow=False))]
    if todo[0][1] is None and todo[0][2] is None:
        raise NotFound(f"There is no {show(path)}, and was none.", "List its folder.", param="path")
    seen = 0
    while todo:
        where, a, b = todo.pop()
        seen += 1
        if seen > limit:
            raise LimitExceeded(f"{show(path)} has more than {limit} entries.", "Do it folder by folder.")
        if b is not None and b.base != ():
            continue  # mounted: of another root
        if a is None or b is None or a.kind != b.kind:
            yield where, a, b
            continue
        if old.state(a) != new.state(b):
            yield where, a, b
        if a.kind == "dir":
            left = {place.name: place for place in old.children(a)}
            right = {place.name: place for place in new.children(b)}
            names = sorted(left.keys() | right.keys(), reverse=True)
            todo.extend(((*where, name), left.get(name), right.get(name)) for name in names)


def unified(
    path: str, old: int, new: int | str, before: bytes | None, after: bytes | None, context: int
) -> tuple[DiffKind, str]:
    """Kind and text of a Diff. `new`: its version, or what it is."""
    if before is None or after is None:
        return "large", ""
    try:
        left, right = (_lines(data.decode()) for data in (before, after))
    except UnicodeDecodeError:
        return "binary", ""
    if b"\0" in before or b"\0" in after:
        return "binary", ""
    if len(left) + len(right) > DIFF_LINES:
        return "large", ""
    lines = difflib.unified_diff(left, right, f"{path}@{old}", f"{path}@{new}", n=max(0, context))
    return "text", "".join(
        line if line.endswith("\n") else f"{line}\n\\ No newline at end of file\n" for line in lines
    )


def _lines(text: str) -> list[str]:
    return list(io.StringIO(text, newline="\n"))  # no other character ends a line
