"""Finding files: by words (BM25), by meaning (cosine), by what is known of them, and by all at once.

The ways are fused by reciprocal rank (Cormack, Clarke and Büttcher 2009): each says an order, and no scale has
to fit another. Only passages of the owner's own roots are ever looked at, and each hit is looked up in the
owner's tree again: an index that is behind shows nothing that is no longer there.
"""

from __future__ import annotations

import fnmatch
import json
import re
import sqlite3
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from aios.errors import AiosError, BadRequest
from aios.storage.database import Database
from aios.storage.indexer import Embedder, Indexer, normal, owner_word
from aios.storage.paths import Parts, parse
from aios.storage.store import Store
from aios.storage.tree import LIVE, Place, Tree
from aios.storage.vectors import VectorCache
from aios.syscalls.storage_records import Filter, Found, Hit

FUSION = 60
"""The constant of reciprocal rank fusion, as in its paper: how much less the second place is worth."""
DEPTH = 200
"""Files that each way names before they are fused."""
QUERY_WORDS = 64


@dataclass(frozen=True, slots=True)
class Scope:
    """Where a search looks: the node `folder` of a root (its `top`?), which the owner sees at `path`; the root
    itself begins at `mount`."""

    root: int
    folder: int
    top: bool
    path: Parts
    mount: Parts


class Search:
    """Searches of all owners. Without an embedder it goes by words alone, and says so."""

    def __init__(self, store: Store, index: Database, indexer: Indexer, embedder: Embedder | None) -> None:
        self._store, self._index, self._indexer, self._embedder = store, index, indexer, embedder
        self._vectors = VectorCache()

    async def settled(self) -> None:
        """Return when all that was changed so far can be found."""
        await self._indexer.settled()

    async def reindex(self) -> None:
        """Index everything again, in the background: after a change of the embedder."""
        await self._indexer.mark_all()

    async def find(
        self, owner: str, query: str = "", where: Filter | None = None, *, meaning: bool = True, limit: int = 10
    ) -> Found:
        """The best `limit` files for `query` among those that pass `where`; without a query, the newest of
        them. `meaning`: also by meaning. Raises BadRequest, NotFound (no such folder), StorageUnavailable."""
        where = where or Filter()
        if not 1 <= limit <= DEPTH:
            raise BadRequest(f"A search returns 1 to {DEPTH} files.", param="limit")
        scopes, allowed, pending = await self._store.look(
            owner, lambda tree: _candidates(tree, where, bool(query))
        )
        roots = [scope.root for scope in scopes]
        note = ""
        orders: dict[str, list[int]] = {}
        passages: dict[int, str] = {}
        if not query:
            orders["metadata"] = allowed or []
        else:
            among = None if allowed is None else set(allowed)
            words = await self._index.read(lambda db: _by_words(db, query, roots, among))
            orders["words"] = [node for node, _ in words]
            passages = dict(reversed(words))
            if meaning and self._embedder is not None:
                try:
                    vector = normal(await self._embedder.embed([query]))[0]
                except AiosError as error:
                    note = f"Searched by words only: {error}"
                else:
                    near = await self._index.read(
                        lambda db: self._vectors.nearest(db, vector, roots, among, DEPTH)
                    )
                    orders["meaning"] = [node for node, _ in near]
                    passages |= {node: text for node, text in near if node not in passages}
            elif meaning:
                note = "Searched by words only: no embedder is set."
        ranked = fuse(orders)
        hits = await self._store.look(owner, lambda tree: _hits(tree, scopes, ranked, orders, passages, limit))
        return Found(hits=hits, by=tuple(orders), pending=pending, note=note)


def fuse(orders: dict[str, list[int]]) -> list[tuple[int, float]]:
    """Items by their fused score, best first: the sum of 1 / (FUSION + rank) over all orders."""
    scores: dict[int, float] = {}
    for order in orders.values():
        for rank, item in enumerate(order, 1):
            scores[item] = scores.get(item, 0.0) + 1 / (FUSION + rank)
    return sorted(scores.items(), key=lambda item: -item[1])


# -- which files ------------------------------------------------------------------------------------


def scopes_of(tree: Tree, under: Parts) -> list[Scope]:
    """The folder `under` and what is mounted in it."""
    start = tree.folder(under)
    scopes = [Scope(start.root, start.node, not start.parent, start.path, start.base)]
    if start.root == tree.root:
        mounts = tree.db.execute("SELECT node FROM mounts WHERE root = ?", (tree.root,)).fetchall()
        for (node,) in mounts:
            path = tree.path_of(node)
            place = None if path is None or path[: len(start.path)] != start.path else tree.look(path)
            if place is not None and not place.parent:
                scopes.append(Scope(place.root, place.node, True, place.path, place.base))
    return scopes


def _candidates(tree: Tree, where: Filter, searched: bool) -> tuple[list[Scope], list[int] | None, int]:
    """The scopes; nodes that pass the filter, newest first (None: all of the scopes' roots); and how many
    files are not indexed yet."""
    scopes = scopes_of(tree, parse(where.under))
    roots = json.dumps([scope.root for scope in scopes])
    pending: int = tree.db.execute(
        "SELECT count(*) FROM stale s JOIN nodes n ON n.id = s.node"
        " WHERE n.kind = 'file' AND n.root IN (SELECT value FROM json_each(?))",
        (roots,),
    ).fetchone()[0]
    if searched and where == Filter():
        return scopes, None, pending
    return scopes, [node for scope in scopes for node in select(tree.db, scope, where)], pending


def select(db: sqlite3.Connection, scope: Scope, where: Filter) -> list[int]:
    """Files of `scope` that pass `where`, newest first."""
    tests = ["n.root = :root", "n.kind = 'file'"]
    values: dict[str, object] = {"root": scope.root, "folder": scope.folder, "live": LIVE}
    inside = ""
    if not scope.top:
        inside = (
            "WITH RECURSIVE inside (node) AS (VALUES (:folder) UNION SELECT e.node FROM entries e"
            " JOIN inside i ON e.parent = i.node WHERE e.died = :live) "
        )
        tests.append("n.id IN (SELECT node FROM inside)")
    for number, tag in enumerate(where.tags):
        tests.append(f"n.id IN (SELECT node FROM tags WHERE root = :root AND tag = :tag{number})")
        values[f"tag{number}"] = tag
    for number, (name, text) in enumerate(where.about.items()):
        tests.append(
            "EXISTS (SELECT 1 FROM json_each(v.meta, '$.about') j"
            f" WHERE j.key = :name{number} AND j.value = :text{number})"
        )
        values |= {f"name{number}": name, f"text{number}": text}
    for test, value in (("v.at >= :after", where.after), ("v.at < :before", where.before)):
        if value is not None:
            tests.append(test)
            values[test.split(":")[1]] = value
    rows = db.execute(
        f"{inside}SELECT n.id, e.name FROM nodes n JOIN versions v ON v.node = n.id AND v.seq = n.head"
        f" JOIN entries e ON e.node = n.id AND e.died = :live WHERE {' AND '.join(tests)}"
        " ORDER BY v.at DESC, n.id DESC",
        values,
    )
    # Not by GLOB, which tries all ways to share a name among the stars of a pattern.
    fits = re.compile(fnmatch.translate(where.name or "*")).match
    return [node for node, name in rows if fits(name)]


# -- in which order ---------------------------------------------------------------------------------


def _by_words(
    db: sqlite3.Connection, query: str, roots: Iterable[int], among: set[int] | None
) -> list[tuple[int, str]]:
    """(node, best passage) by BM25 (Robertson and Zaragoza 2009, as in SQLite's FTS5), best first."""
    words = re.findall(r"\w+", query)[:QUERY_WORDS]
    if not words:
        return []
    owners = " OR ".join(f"owner : {owner_word(root)}" for root in roots)
    wanted = " OR ".join(f'"{word}"' for word in dict.fromkeys(words))
    # The owner's word says nothing of relevance: no weight. A word in the name says more than one in the text.
    rows = db.execute(
        "SELECT p.node, p.text FROM words JOIN passages p ON p.id = words.rowid WHERE words MATCH ?1"
        " AND (?2 IS NULL OR p.node IN (SELECT value FROM json_each(?2)))"
        " ORDER BY bm25(words, 0.0, 2.0, 1.0) LIMIT ?3",
        (
            f"({owners}) AND {{name text}} : ({wanted})",
            None if among is None else json.dumps(sorted(among)),
            DEPTH * 5,
        ),
    )
    best: dict[int, str] = {}
    for node, text in rows:
        best.setdefault(node, text)
    return list(best.items())[:DEPTH]


def _hits(
    tree: Tree, scopes: Sequence[Scope], ranked: list[tuple[int, float]], orders: dict[str, list[int]],
    passages: dict[int, str], limit: int,
) -> tuple[Hit, ...]:  # fmt: skip
    ranks = {way: {node: rank for rank, node in enumerate(order, 1)} for way, order in orders.items()}
    hits: list[Hit] = []
    for node, score in ranked:
        place = locate(tree, scopes, node)
        if place is not None:
            hits.append(
                Hit(
                    stat=tree.stat(place), score=score, passage=passages.get(node, ""),
                    ranks={way: places[node] for way, places in ranks.items() if node in places},
                )
            )  # fmt: skip
        if len(hits) == limit:
            break
    return tuple(hits)


def locate(tree: Tree, scopes: Sequence[Scope], node: int) -> Place | None:
    """Where the owner sees `node` now, if it is still in one of the scopes."""
    row = tree.db.execute("SELECT root FROM nodes WHERE id = ?", (node,)).fetchone()
    for scope in scopes:
        if row is None or scope.root != row[0]:
            continue
        path = Tree(tree.db, scope.root, tree.now).path_of(node)
        if path is None:
            return None
        place = tree.look((*scope.mount, *path), follow=False)
        if place is not None and place.node == node and place.path[: len(scope.path)] == scope.path:
            return place
    return None
