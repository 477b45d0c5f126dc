"""Finding files: by words (BM25), by meaning (cosine), by what is known of them, and by all at once.

The ways are fused by reciprocal rank (Cormack, Clarke and Büttcher 2009): each says an order, and no scale has
to fit another. Only passages of the owner's own roots are ever looked at, and each hit is looked up in the
owner's tree again: an index that is behind shows nothing that is no longer there.
"""

from __future__ import annotations

import fnmatch
import json
import math
import re
import sqlite3
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from aios.errors import AiosError, BadRequest
from aios.storage.database import Database
from aios.storage.indexer import Embedder, Indexer, normal
from aios.storage.paths import Parts, parse
from aios.storage.store import Store
from aios.storage.tree import LIVE, Place, Tree
from aios.storage.vectors import VectorCache
from aios.storage.words import split, stems
from aios.syscalls.storage_records import Filter, Found, Hit

FUSION = 60
"""The constant of reciprocal rank fusion, as in its paper: how much less the second place is worth."""
DEPTH = 200
"""Files that each way names before they are fused."""
QUERY_WORDS = 64
NAME_WEIGHT = 2.0
"""Of a word in a file's name, against one in its text."""
K1, B = 1.2, 0.75
"""Of BM25: how soon more of a word says no more, and how much a long passage counts as one."""


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
    db: sqlite3.Connection, query: str, roots: Sequence[int], among: set[int] | None
) -> list[tuple[int, str]]:
    """(node, best passage) by BM25 (Robertson and Zaragoza 2009, equation 3.15, with the weights and the idf of
    SQLite's FTS5), best first. What is common and how long texts are is told by passages of `roots` alone: an
    order must not say what others write."""
    asked, length = _asked(db, query, roots)
    rows = db.execute(
        "WITH asked (term, idf) AS (SELECT json_extract(value, '$[0]'), json_extract(value, '$[1]')"
        "  FROM json_each(:asked)),"
        " found (id, idf, often) AS (SELECT t.doc, a.idf, sum(CASE t.col WHEN 'name' THEN :name ELSE 1.0 END)"
        "  FROM asked a CROSS JOIN postings t ON t.term = a.term GROUP BY a.term, t.doc)"
        " SELECT p.id, p.node FROM found f CROSS JOIN passages p ON p.id = f.id"
        " WHERE p.root IN (SELECT value FROM json_each(:roots))"
        " AND (:among IS NULL OR p.node IN (SELECT value FROM json_each(:among))) GROUP BY p.id ORDER BY"
        " sum(idf * often * (:k + 1) / (often + :k * (1 - :b + :b * p.length / :length))) DESC, p.id"
        " LIMIT :most",
        {
            "asked": json.dumps(asked), "name": NAME_WEIGHT, "roots": json.dumps(roots), "length": length,
            "among": None if among is None else json.dumps(sorted(among)), "k": K1, "b": B, "most": DEPTH * 5,
        },
    )  # fmt: skip
    best: dict[int, int] = {}
    for id, node in rows:
        best.setdefault(node, id)
    text = "SELECT text FROM passages WHERE id = ?"
    return [(node, db.execute(text, (id,)).fetchone()[0]) for node, id in list(best.items())[:DEPTH]]


def _asked(db: sqlite3.Connection, query: str, roots: Sequence[int]) -> tuple[list[tuple[str, float]], float]:
    """Terms of the index to look for, each with its idf; and how long a passage is on average, in words."""
    words = list(split(query))[:QUERY_WORDS]
    counted = "SELECT sum(passages), sum(tokens) FROM stamps WHERE root IN (SELECT value FROM json_each(?))"
    count, tokens = db.execute(counted, (json.dumps(roots),)).fetchone()
    if not words or not count:
        return [], 1.0
    often: dict[str, int] = defaultdict(int)
    terms = [(root, term) for root in roots for term in stems(root, words)]
    for root, term in terms:
        row = db.execute("SELECT doc FROM terms WHERE term = ?", (term,)).fetchone()
        often[term.removeprefix(str(root))] += 0 if row is None else row[0]

    def idf(word: str) -> float:
        has = often[word]
        return max(1e-6, math.log((count - has + 0.5) / (has + 0.5)))

    return [(term, idf(term.removeprefix(str(root)))) for root, term in terms], max(1.0, tokens / count)


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
