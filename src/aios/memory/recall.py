"""Finding by words and by meaning, fused.

BM25 (Robertson, Zaragoza 2009; SQLite's FTS5) finds the same words, vectors find the same meaning; reciprocal
rank fusion (Cormack, Clarke, Büttcher 2009) adds `weight / (k + rank)` over both lists, so that their scores
need not be comparable. What the caller may not see is left out before anything is ranked or counted.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

import msgspec

from aios.access.grants import Grants
from aios.memory.database import Connection
from aios.memory.embed import Vectors
from aios.memory.entries import conditions, granted_rows
from aios.memory.records import Identity
from aios.memory.vectors import VectorCache
from aios.memory.words import telling
from aios.syscalls.memory import Search
from aios.syscalls.memory_records import Filter, Hit

RRF_K = 10
"""How fast a rank's worth falls. The paper has 60, for lists of a thousand; in ours the first few count."""
DEEP = 100
"""Ranks of each list that are fused."""
ABOUT_WEIGHT = 0.5
"""Of a word in an entry's keywords and context, against one in its text."""


@dataclass(frozen=True, slots=True)
class Weights:
    """Of the two lists, tuned on one half of tests/data/dialogues.json. `floor`: cosine below which two texts
    mean nothing to each other. `share`: of the best BM25 score, below which a hit is left out of the fusion: it
    has a word of the question, often just a name, and nothing else."""

    words: float = 1.0
    meaning: float = 2.0
    floor: float = 0.1
    share: float = 0.5


@dataclass(frozen=True, slots=True)
class Scope:
    """Rows of one owner that may be found; None: all of them."""

    owner: int
    rows: Collection[int] | None


Scores = list[tuple[int, float]]
"""Rows and their scores, best first."""


def scopes(db: Connection, who: Identity, filter: Filter, grants: Grants) -> list[Scope]:
    """All that `who` may read and `filter` lets through."""
    found: list[Scope] = []
    mine = db.execute("SELECT number FROM owners WHERE name = ?", (who.agent,)).fetchone()
    if mine is not None:
        where, parameters = conditions(filter)
        rows: list[int] | None = None
        if parameters:
            statement = f"SELECT e.row FROM entries e WHERE e.owner = :owner AND {where}"
            rows = [row for (row,) in db.execute(statement, {**parameters, "owner": mine[0]})]
        found.append(Scope(mine[0], rows))
    if not filter.own:
        found += [Scope(owner, rows) for owner, rows in granted_rows(db, who, filter, grants).items()]
    return found


def by_words(db: Connection, scope: Scope, query: str, most: int) -> Scores:
    """By BM25, best first."""
    words = telling(query)
    if not words:
        return []
    asked = " OR ".join(f'"{scope.owner}x{word}"' for word in words)
    only, parameters = "", {"asked": asked, "most": most, "about": ABOUT_WEIGHT}
    if scope.rows is not None:
        only = "AND rowid IN (SELECT value FROM json_each(:rows))"
        parameters["rows"] = msgspec.json.encode(list(scope.rows)).decode()
    found = db.execute(
        f"SELECT rowid, -bm25(fts, 1.0, :about) AS score FROM fts WHERE fts MATCH :asked {only}"
        " ORDER BY score DESC, rowid LIMIT :most",
        parameters,
    )
    return found.fetchall()


def by_meaning(
    db: Connection, cache: VectorCache, scope: Scope, query: Vectors, most: int, floor: float
) -> Scores:
    """By cosine, nearest first."""
    near = cache.near(db, scope.owner, query, most, scope.rows)
    return [(row, cosine) for row, cosine in near if cosine >= floor]


def fuse(lists: Sequence[tuple[float, Scores]]) -> Scores:
    """Reciprocal rank fusion of (weight, list) pairs; equal ones by row."""
    total: dict[int, float] = {}
    for weight, scores in lists:
        for rank, (row, _) in enumerate(scores, 1):
            total[row] = total.get(row, 0.0) + weight / (RRF_K + rank)
    return sorted(total.items(), key=lambda item: (-item[1], item[0]))


def recall(
    db: Connection, cache: VectorCache | None, who: Identity, search: Search, vector: Vectors | None,
    now: float, weights: Weights, strength: Callable[[str, float], float], grants: Grants,
) -> tuple[Hit, ...]:  # fmt: skip
    """The best hits. `vector`: the query's, None to search without meaning. `strength(meta, now)`: what is left
    of a note, 0..1."""
    deep = max(DEEP, search.limit)
    where = scopes(db, who, search.filter, grants)
    words: Scores = []
    meaning: Scores = []
    if search.by != "meaning":
        words = _merged([by_words(db, scope, search.query, deep) for scope in where], deep)
    if vector is not None and cache is not None:
        near = [by_meaning(db, cache, scope, vector, deep, weights.floor) for scope in where]
        meaning = _merged(near, deep)
    if meaning and words:
        words = [(row, score) for row, score in words if score >= weights.share * words[0][1]]
    lists = [(weights.words, words), (weights.meaning, meaning)]
    fused = fuse(lists)
    if search.freshness == 0:
        fused = fused[: search.limit]
    ranks = [{row: rank for rank, (row, _) in enumerate(scores, 1)} for scores in (words, meaning)]
    found = (_hit(db, row, score, ranks, now, search.freshness, strength) for row, score in fused)
    hits = [hit for hit in found if hit is not None]
    hits.sort(key=lambda hit: -hit.score)
    return tuple(hits[: search.limit])


def _merged(lists: Sequence[Scores], most: int) -> Scores:
    if len(lists) == 1:
        return lists[0]
    return sorted((item for scores in lists for item in scores), key=lambda item: (-item[1], item[0]))[:most]


def _hit(
    db: Connection, row: int, score: float, ranks: Sequence[dict[int, int]], now: float, freshness: float,
    strength: Callable[[str, float], float],
) -> Hit | None:  # fmt: skip
    values = db.execute(
        "SELECT e.id, o.name, e.kind, e.name, e.tags, e.changed, e.words, e.meta FROM entries e"
        " JOIN owners o ON o.number = e.owner WHERE e.row = ?",
        (row,),
    ).fetchone()
    if values is None:
        return None  # deleted a moment ago
    id, owner, kind, name, tags, changed, text, meta = values
    if freshness and kind == "note":
        score *= 1 - freshness + freshness * strength(meta, now)
    words, meaning = ranks
    return Hit(
        id=id, score=score, kind=kind, owner=owner, text=text or "", name=name, changed=changed,
        tags=tuple(msgspec.json.decode(tags, type=list[str])), by_words=words.get(row, 0),
        by_meaning=meaning.get(row, 0),
    )  # fmt: skip
