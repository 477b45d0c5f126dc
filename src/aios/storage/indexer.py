"""Keeps the search index up with the store, in the background.

What changed is a row of the store (`stale`), written in the change's own transaction: so nothing is missed by a
crash, and the queue needs no memory. The index is another file: writing it holds up no change.
"""

from __future__ import annotations

import asyncio
import logging
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from aios.errors import AiosError, StorageCorrupt, StorageUnavailable
from aios.storage import contents
from aios.storage.change import mark_stale
from aios.storage.database import RETRY_S, Database
from aios.storage.extract import extract, passages, title
from aios.storage.store import Store
from aios.storage.tree import LIVE, Tree
from aios.storage.words import marked

log = logging.getLogger(__name__)

BATCH = 32
"""Files indexed between two looks at the queue."""
FILE_BYTES = 20 << 20
"""Larger files are found by their names only."""

Vectors = NDArray[np.float32]


class Embedder(Protocol):
    """Turns texts into vectors whose cosine says how near their meanings are. All of one width."""

    async def embed(self, texts: Sequence[str]) -> Vectors:
        """One row of float32 a text. Raises AiosError."""
        ...


@dataclass(frozen=True, slots=True)
class _Work:
    """A node that changed. `mark`: how often, so that a change while it is indexed is not lost. `root` is 0 for
    what is no file, or in no folder any more."""

    node: int
    mark: int
    root: int = 0
    version: int = 0
    name: str = ""
    manifest: int = 0
    size: int = 0

    folder: bool = False


class Indexer:
    """Moves what changed in `store` into `index`. With an `embedder`, passages get vectors."""

    def __init__(self, store: Store, index: Database, embedder: Embedder | None) -> None:
        self._store, self._index, self._embedder = store, index, embedder
        self._turn = asyncio.Lock()

    async def run(self) -> None:
        """Index what changes, for ever."""
        changed = self._store.changed
        while True:
            changed.clear()
            try:
                await self.settled()
            except StorageUnavailable as error:
                log.warning("the search index waits: %s", error)
                await asyncio.sleep(RETRY_S)
            else:
                await changed.wait()

    async def settled(self) -> None:
        """Return when all that was changed so far is in the index. Raises StorageUnavailable."""
        async with self._turn:
            while await self._step():
                pass

    async def mark_all(self, *, without_vectors: bool = False) -> None:
        """Have all files indexed again, or only those that lack vectors."""
        if without_vectors:
            find = "SELECT DISTINCT node FROM passages WHERE vector IS NULL"
            nodes = await self._index.read(lambda db: db.execute(find).fetchall())
        else:
            find = "SELECT id FROM nodes WHERE kind = 'file'"
            nodes = await self._store.database.read(lambda db: db.execute(find).fetchall())
        again = "UPDATE documents SET version = -1 WHERE node = ?"
        await self._index.change(lambda db: db.executemany(again, nodes).rowcount)
        await self._store.database.change(lambda db: mark_stale(db, nodes))
        self._store.changed.set()

    async def _step(self) -> bool:
        """Index some files. Whether there were any."""
        database = self._store.database
        found = await database.read(_take)
        if not found:
            return False
        known = await self._index.read(lambda db: _known(db, found))
        for work in found:
            if work.folder:
                await database.change(lambda db, work=work: _mark_inside(db, work.node))
            elif not work.root:
                await self._index.change(lambda db, work=work: _forget(db, work.node))
            elif known.get(work.node) != (work.version, work.name):
                try:
                    await self._add(work)
                except StorageUnavailable:
                    raise
                except Exception:
                    # The supervisor of the indexing: a file that can't be indexed holds up no other.
                    log.exception("node %d can't be indexed", work.node)
        done = [(work.node, work.mark) for work in found]
        await database.change(
            lambda db: db.executemany("DELETE FROM stale WHERE node = ? AND mark = ?", done).rowcount
        )
        return True

    async def _add(self, work: _Work) -> None:
        text, note = await self._text(work)
        found = passages(text) or [""]  # the name can be found
        vectors: Sequence[bytes | None] = [None] * len(found)
        if self._embedder is not None:
            heading = title((work.name,))
            try:
                made = await self._embedder.embed([f"{heading}\n{passage}" for passage in found])
            except AiosError as error:
                note = f"It is found by words only: {error}"
            else:
                vectors = [row.tobytes() for row in normal(made)]
        await self._index.change(lambda db: _put(db, work, note, found, vectors))

    async def _text(self, work: _Work) -> tuple[str, str]:
        """The file's text, and why there is none."""
        if work.size > FILE_BYTES:
            return "", f"Files over {FILE_BYTES} bytes are found by their names only."
        try:
            data = await self._store.database.read(
                lambda db: contents.read(db, work.manifest, 0, work.size) if work.size else b""
            )
        except StorageCorrupt as error:
            return "", str(error)
        return await asyncio.to_thread(extract, work.name, data)


def normal(vectors: Vectors) -> Vectors:
    """Rows of length 1, so that a product is a cosine; a row of zeros stays one."""
    rows = np.ascontiguousarray(vectors, dtype=np.float32)
    lengths = np.sqrt(np.sum(rows * rows, axis=1, keepdims=True))
    return rows / np.maximum(lengths, np.float32(1e-12))


# -- the store's side -------------------------------------------------------------------------------


def _take(db: sqlite3.Connection) -> list[_Work]:
    rows = db.execute(
        "SELECT s.node, s.mark, n.root, n.kind, n.head, v.manifest, v.size FROM stale s"
        " LEFT JOIN nodes n ON n.id = s.node LEFT JOIN versions v ON v.node = n.id AND v.seq = n.head LIMIT ?",
        (BATCH,),
    ).fetchall()
    found: list[_Work] = []
    for node, mark, root, kind, head, manifest, size in rows:
        path = Tree(db, root, 0.0).path_of(node) if kind == "file" else None
        if path:
            found.append(_Work(node, mark, root, head, path[-1], manifest, size))
        else:
            found.append(_Work(node, mark, folder=kind == "dir"))
    return found


def _mark_inside(db: sqlite3.Connection, folder: int) -> None:
    find = "SELECT node FROM entries WHERE parent = ? AND died = ?"
    mark_stale(db, db.execute(find, (folder, LIVE)).fetchall())


# -- the index's side -------------------------------------------------------------------------------


def _known(db: sqlite3.Connection, found: list[_Work]) -> dict[int, tuple[int, str]]:
    find = "SELECT version, name FROM documents WHERE node = ?"
    rows = {work.node: db.execute(find, (work.node,)).fetchone() for work in found}
    return {node: row for node, row in rows.items() if row is not None}


def _put(
    db: sqlite3.Connection, work: _Work, note: str, texts: list[str], vectors: Sequence[bytes | None]
) -> None:
    _forget(db, work.node)
    db.execute(
        "INSERT INTO documents (node, root, version, name, note) VALUES (?, ?, ?, ?, ?)",
        (work.node, work.root, work.version, work.name, note),
    )
    name, tokens = title((work.name,)), 0
    heading = marked(work.root, name)
    for text, vector in zip(texts, vectors, strict=True):
        words = marked(work.root, text)
        length = sum(part.count(" ") + 1 for part in (heading, words) if part)
        tokens += length
        made = db.execute(
            "INSERT INTO passages (node, root, length, name, text, vector) VALUES (?, ?, ?, ?, ?, ?)",
            (work.node, work.root, length, name, text, vector),
        )
        db.execute("INSERT INTO words (rowid, name, text) VALUES (?, ?, ?)", (made.lastrowid, heading, words))
    _stamp(db, work.root, len(texts), tokens)


def _forget(db: sqlite3.Connection, node: int) -> None:
    row = db.execute("SELECT root FROM documents WHERE node = ?", (node,)).fetchone()
    if row is not None:
        root: int = row[0]
        find = "SELECT id, length, name, text FROM passages WHERE node = ?"
        gone = db.execute(find, (node,)).fetchall()
        db.executemany(
            "INSERT INTO words (words, rowid, name, text) VALUES ('delete', ?, ?, ?)",
            ((id, marked(root, name), marked(root, text)) for id, _, name, text in gone),
        )
        db.execute("DELETE FROM documents WHERE node = ?", (node,))  # and its passages
        _stamp(db, root, -len(gone), -sum(length for _, length, _, _ in gone))


def _stamp(db: sqlite3.Connection, root: int, passages: int, tokens: int) -> None:
    """Say that a root's passages are others now, so many more, of so many more words."""
    db.execute(
        "INSERT INTO stamps (root, stamp, passages, tokens) VALUES (?, 1, ?, ?) ON CONFLICT (root) DO UPDATE"
        " SET stamp = stamp + 1, passages = passages + excluded.passages, tokens = tokens + excluded.tokens",
        (root, passages, tokens),
    )
