"""Removing what nothing reaches any more, a small transaction at a time.

Each step looks for candidates on a reader and removes them on the writer, which checks again: what came into
use in between stays. Whatever is removed was unreachable already, so a crash between two steps loses nothing
and leaves nothing that the next run doesn't find; and a foreign key makes SQLite refuse to remove a chunk that
some content needs, whatever the code here believes.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from typing import TypeVar

from aios.storage.change import mark_stale
from aios.storage.database import Database
from aios.storage.tree import LIVE
from aios.syscalls.storage_records import Collected

T = TypeVar("T")

STEP = 500
"""Rows in one transaction, so that writers go between."""

_UNSEEN = (
    " NOT EXISTS (SELECT 1 FROM snapshots s JOIN nodes p ON p.id = e.parent"
    " WHERE s.root = p.root AND s.seq >= e.born AND s.seq < e.died)"
)


async def collect(database: Database, *, versions: int, results_before: float) -> Collected:
    """Remove everything unreachable, versions of files beyond the newest `versions`, and kept results older
    than `results_before` (Unix time). Raises StorageUnavailable."""
    await _in_steps(database, _dead_entries, _drop_entries)
    found = await erase(database)
    old = await _in_steps(database, lambda db: _old_versions(db, versions), drop_versions)
    manifests = await _in_steps(database, _lost_manifests, _drop_manifests)
    chunks = await _in_steps(database, _lost_chunks, _drop_chunks)
    await database.change(lambda db: _tidy(db, results_before), frees=True)
    while await database.change(_shrink, frees=True):
        pass
    return Collected(
        files=found.files,
        versions=found.versions + sum(old),
        manifests=sum(manifests),
        chunks=sum(count for count, _ in chunks),
        bytes=sum(size for _, size in chunks),
    )


async def erase(database: Database) -> Collected:
    """Remove the nodes that were let go, with all that is in them. Raises StorageUnavailable."""
    files = versions = 0
    while (step := await database.change(_erase_some, frees=True)) is not None:
        files, versions = files + step[0], versions + step[1]
    return Collected(files=files, versions=versions)


async def _in_steps(
    database: Database,
    find: Callable[[sqlite3.Connection], list[tuple[int, ...]]],
    drop: Callable[[sqlite3.Connection, Sequence[tuple[int, ...]]], T],
) -> list[T]:
    rows = iter(await database.read(find))
    done: list[T] = []
    while step := list(islice(rows, STEP)):
        done.append(await database.change(lambda db, step=step: drop(db, step), frees=True))
    return done


# -- nodes ------------------------------------------------------------------------------------------


def let_go(db: sqlite3.Connection, node: int) -> None:
    """Have `node` erased if nothing leads to it: no name now, not the bin, no snapshot that shows it."""
    db.execute(
        "INSERT OR IGNORE INTO doomed (node) SELECT n.id FROM nodes n JOIN roots r ON r.id = n.root"
        " WHERE n.id = :node AND r.top <> n.id AND NOT EXISTS (SELECT 1 FROM binned b WHERE b.node = n.id)"
        " AND NOT EXISTS (SELECT 1 FROM entries e WHERE e.node = n.id AND"
        f" (e.died = {LIVE} OR NOT {_UNSEEN}))",
        {"node": node},
    )


def _erase_some(db: sqlite3.Connection) -> tuple[int, int] | None:
    """Some of the doomed nodes: (files, versions) removed, or None when there are none."""
    nodes = [node for (node,) in db.execute("SELECT node FROM doomed LIMIT ?", (STEP,))]
    if not nodes:
        return None
    files = versions = 0
    for node in nodes:
        inside = db.execute(
            "SELECT died, name, node FROM entries WHERE parent = ? LIMIT ?", (node, STEP)
        ).fetchall()
        if inside:
            # A folder goes when it is empty: its names first, and what has no other is doomed too.
            db.executemany(
                "DELETE FROM entries WHERE parent = ? AND died = ? AND name = ?",
                ((node, died, name) for died, name, _ in inside),
            )
            for _, _, child in inside:
                let_go(db, child)
            continue
        rows = db.execute("SELECT node, seq FROM versions WHERE node = ?", (node,)).fetchall()
        versions += drop_versions(db, rows)
        db.execute("DELETE FROM entries WHERE node = ?", (node,))
        mark_stale(db, [(node,)])
        db.execute("DELETE FROM nodes WHERE id = ?", (node,))
        files += 1
    return files, versions


def _dead_entries(db: sqlite3.Connection) -> list[tuple[int, ...]]:
    return db.execute(
        f"SELECT e.parent, e.died, e.node FROM entries e WHERE e.died < {LIVE} AND {_UNSEEN}"
    ).fetchall()


def _drop_entries(db: sqlite3.Connection, rows: Sequence[tuple[int, ...]]) -> None:
    # Nothing makes a dead entry seen again: a new snapshot is of a later change.
    db.executemany("DELETE FROM entries WHERE parent = ? AND died = ? AND node = ?", rows)
    for _, _, node in rows:
        let_go(db, node)


# -- versions and contents --------------------------------------------------------------------------


def _old_versions(db: sqlite3.Connection, keep: int) -> list[tuple[int, ...]]:
    return old_versions(db, keep)


def old_versions(db: sqlite3.Connection, keep: int, node: int | None = None) -> list[tuple[int, ...]]:
    """(node, seq) of versions beyond the newest `keep` that no snapshot shows; of one node or of all."""
    return db.execute(
        "SELECT v.node, v.seq FROM (SELECT node, seq, root,"
        " row_number() OVER newest AS age, lag(seq) OVER newest AS until"
        " FROM versions WHERE :node IS NULL OR node = :node"
        " WINDOW newest AS (PARTITION BY node ORDER BY seq DESC)) v WHERE v.age > max(:keep, 1) AND NOT EXISTS"
        " (SELECT 1 FROM snapshots s WHERE s.root = v.root AND s.seq >= v.seq AND s.seq < v.until)",
        {"keep": keep, "node": node},
    ).fetchall()


def drop_versions(db: sqlite3.Connection, rows: Sequence[tuple[int, ...]]) -> int:
    """Remove versions (node, seq), and what their roots need not hold any more from what they are charged."""
    gone: dict[int, set[int]] = {}
    count = 0
    for node, seq in rows:
        row = db.execute(
            "DELETE FROM versions WHERE node = ? AND seq = ? RETURNING root, manifest", (node, seq)
        ).fetchone()
        if row is not None:
            count += 1
            if row[1] is not None:
                gone.setdefault(row[0], set()).add(row[1])
    for root, manifests in gone.items():
        release(db, root, manifests)
    return count


def release(db: sqlite3.Connection, root: int, manifests: Iterable[int]) -> None:
    """`root` has let go of these contents: it is no longer charged for what it does not hold otherwise."""
    free = db.execute(
        "SELECT DISTINCT p.chunk, c.size FROM pieces p JOIN chunks c ON c.id = p.chunk"
        " WHERE p.manifest IN (SELECT value FROM json_each(:manifests)) AND NOT EXISTS"
        " (SELECT 1 FROM pieces q WHERE q.chunk = p.chunk AND"
        " (EXISTS (SELECT 1 FROM versions v WHERE v.manifest = q.manifest AND v.root = :root)"
        " OR EXISTS (SELECT 1 FROM refs r WHERE r.manifest = q.manifest AND r.root = :root)))",
        {"root": root, "manifests": json.dumps(sorted(manifests))},
    ).fetchall()
    db.executemany("DELETE FROM holdings WHERE root = ? AND chunk = ?", ((root, chunk) for chunk, _ in free))
    db.execute("UPDATE roots SET used = used - ? WHERE id = ?", (sum(size for _, size in free), root))


_UNUSED = (
    " NOT EXISTS (SELECT 1 FROM versions v WHERE v.manifest = manifests.id)"
    " AND NOT EXISTS (SELECT 1 FROM refs r WHERE r.manifest = manifests.id)"
)
_UNNEEDED = (
    " NOT EXISTS (SELECT 1 FROM pieces p WHERE p.chunk = chunks.id)"
    " AND NOT EXISTS (SELECT 1 FROM holdings h WHERE h.chunk = chunks.id)"
)


def _lost_manifests(db: sqlite3.Connection) -> list[tuple[int, ...]]:
    return db.execute(f"SELECT id FROM manifests WHERE {_UNUSED}").fetchall()


def _drop_manifests(db: sqlite3.Connection, rows: Sequence[tuple[int, ...]]) -> int:
    return sum(_deleted(db, f"DELETE FROM manifests WHERE id = ? AND {_UNUSED} RETURNING 1", rows))


def _lost_chunks(db: sqlite3.Connection) -> list[tuple[int, ...]]:
    return db.execute(f"SELECT id FROM chunks WHERE {_UNNEEDED}").fetchall()


def _drop_chunks(db: sqlite3.Connection, rows: Sequence[tuple[int, ...]]) -> tuple[int, int]:
    sizes = list(_deleted(db, f"DELETE FROM chunks WHERE id = ? AND {_UNNEEDED} RETURNING length(data)", rows))
    return len(sizes), sum(sizes)


def _deleted(db: sqlite3.Connection, statement: str, rows: Sequence[tuple[int, ...]]) -> Iterator[int]:
    for row in rows:
        found = db.execute(statement, row).fetchone()
        if found is not None:
            yield found[0]


def _tidy(db: sqlite3.Connection, before: float) -> None:
    db.execute("DELETE FROM results WHERE at < ?", (before,))


def _shrink(db: sqlite3.Connection) -> bool:
    """Give some free pages back to the disk. Whether there are more."""
    db.execute(f"PRAGMA incremental_vacuum({STEP})").fetchall()
    return bool(db.execute("PRAGMA freelist_count").fetchone()[0])
