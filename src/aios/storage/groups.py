"""Which files belong together: groups by meaning, and pairs of two folders.

With an embedder by the mean of a file's passage vectors, else by its words (TF-IDF with hashed words:
Weinberger et al. 2009), and the result says which."""

from __future__ import annotations

import asyncio
import heapq
import json
import math
import re
import sqlite3
import zlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from aios.errors import BadRequest, LimitExceeded
from aios.storage.database import Database
from aios.storage.indexer import normal
from aios.storage.paths import parse
from aios.storage.search import Scope, locate, scopes_of, select
from aios.storage.store import Store
from aios.storage.tree import Tree
from aios.syscalls.storage_records import Filter, Group, Groups, Match, Matches

FILES = 5_000
"""Most files of one grouping or of one side of a join."""
WIDTH = 4_096
"""Of hashed word vectors."""
LABEL_WORDS = 3
ROUNDS = 50
STARTS, MOST_STARTS, FEW = 4, 32, 200
"""Starts of a clustering: the most for `FEW` files, where they cost nothing and one bad start shows."""
SAMPLE = 400
MOST_GROUPS = 10
MOST_MATCHES = 10_000
"""Pairs of one join."""

By = Literal["words", "meaning"]
Vectors = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class _Document:
    path: str
    words: Counter[str]
    vector: Vectors | None


class Grouping:
    """Groups and joins of all owners. Only what is indexed counts."""

    def __init__(self, store: Store, index: Database) -> None:
        self._store, self._index = store, index

    async def group_by(self, owner: str, where: Filter | None = None, *, groups: int | None = None) -> Groups:
        """Put the files that pass `where` into `groups` groups (by default as many as fit best, at most
        10), each labelled with the words that set it apart. Raises LimitExceeded, NotFound, BadRequest."""
        if groups is not None and groups < 1:
            raise BadRequest("There is at least one group.", param="groups")
        documents, left_out = await self._documents(owner, where or Filter())
        by, vectors = await asyncio.to_thread(_vectors, documents)
        made = await asyncio.to_thread(_group, documents, vectors, groups) if documents else ()
        return Groups(groups=made, by=by, left_out=left_out)

    async def join(self, owner: str, left: str, right: str, *, least: float = 0.5, limit: int = 100) -> Matches:
        """Pairs of a file in folder `left` and one in `right` whose content is alike (cosine of `least` or
        more), the most alike first. Raises LimitExceeded, NotFound."""
        first, _ = await self._documents(owner, Filter(under=left))
        second, _ = await self._documents(owner, Filter(under=right))
        by, vectors = await asyncio.to_thread(_vectors, [*first, *second])
        matches = await asyncio.to_thread(
            _alike, first, second, vectors, least, min(max(0, limit), MOST_MATCHES)
        )
        return Matches(matches=matches, by=by)

    async def _documents(self, owner: str, where: Filter) -> tuple[list[_Document], tuple[str, ...]]:
        """Indexed files with text, and the paths of the others."""

        def get(tree: Tree) -> list[tuple[int, str]]:
            scopes: list[Scope] = scopes_of(tree, parse(where.under))
            nodes = [node for scope in scopes for node in select(tree.db, scope, where)]
            if len(nodes) > FILES:
                raise LimitExceeded(
                    f"These are {len(nodes)} files; at most {FILES}.", "Choose a smaller folder."
                )
            places = ((node, locate(tree, scopes, node)) for node in nodes)
            return [(node, tree.stat(place).path) for node, place in places if place is not None]

        paths = dict(await self._store.look(owner, get))
        found = await self._index.read(lambda db: _read(db, paths))
        found.sort(key=lambda document: document.path)
        have = {document.path for document in found}
        return found, tuple(sorted(path for path in paths.values() if path not in have))


def _read(db: sqlite3.Connection, paths: dict[int, str]) -> list[_Document]:
    rows = db.execute(
        "SELECT node, name, text, vector FROM passages"
        " WHERE node IN (SELECT value FROM json_each(?)) ORDER BY id",
        (json.dumps(list(paths)),),
    )
    words: dict[int, Counter[str]] = {}
    vectors: dict[int, list[Vectors | None]] = {}
    for node, name, text, vector in rows:
        count = words.setdefault(node, Counter(_words(name)))
        count.update(_words(text))
        vectors.setdefault(node, []).append(None if vector is None else np.frombuffer(vector, np.float32))
    return [_Document(paths[node], count, _mean(vectors[node])) for node, count in words.items() if count]


def _alike(
    left: Sequence[_Document], right: Sequence[_Document], vectors: Vectors, least: float, limit: int
) -> tuple[Match, ...]:
    """The `limit` pairs that are most alike, row by row: all pairs of two large folders are too many to
    hold."""
    best: list[tuple[float, str, str]] = []
    for one, row in zip(left, vectors[: len(left)] @ vectors[len(left) :].T, strict=True):
        near: list[int] = np.flatnonzero(row >= least).tolist()
        best += [(-float(row[b]), one.path, right[b].path) for b in near if right[b].path != one.path]
        if len(best) > 4 * MOST_MATCHES:
            best = heapq.nsmallest(limit, best)
    return tuple(Match(left=a, right=b, score=round(-score, 6)) for score, a, b in heapq.nsmallest(limit, best))


def _words(text: str) -> list[str]:
    return re.findall(r"[^\W\d_]{3,}", text.lower())


def _mean(vectors: Sequence[Vectors | None]) -> Vectors | None:
    """Of one file's passages; None unless all have one of the same width."""
    whole = [vector for vector in vectors if vector is not None]
    if len(whole) < len(vectors) or len({len(vector) for vector in whole}) != 1:
        return None
    return np.stack(whole).mean(axis=0)


def _vectors(documents: Sequence[_Document]) -> tuple[By, Vectors]:
    """One row of length 1 a document."""
    meant = [document.vector for document in documents if document.vector is not None]
    if documents and len(meant) == len(documents) and len({len(vector) for vector in meant}) == 1:
        by, rows = "meaning", np.stack(meant)
    else:
        by, rows = "words", _word_vectors([document.words for document in documents])
    return by, normal(rows)


def _word_vectors(texts: Sequence[Counter[str]]) -> Vectors:
    seen = Counter(word for words in texts for word in words)
    rows = np.zeros((len(texts), WIDTH), np.float32)
    for row, words in zip(rows, texts, strict=True):
        for word, count in words.items():
            place = zlib.crc32(word.encode())
            sign = 1 if place & 1 else -1  # what falls on one place by chance cancels out on average
            row[(place >> 1) % WIDTH] += sign * (1 + math.log(count)) * math.log((1 + len(texts)) / seen[word])
    return rows


# -- groups -----------------------------------------------------------------------------------------


def _group(documents: Sequence[_Document], vectors: Vectors, groups: int | None) -> tuple[Group, ...]:
    members, middles = _clusters(vectors, groups)
    labels = _labels(documents, members, len(middles))
    found: list[Group] = []
    for number, (middle, label) in enumerate(zip(middles, labels, strict=True)):
        inside = np.flatnonzero(members == number)
        nearest: list[int] = inside[np.argsort(-(vectors[inside] @ middle), kind="stable")].tolist()
        found.append(Group(label=label, paths=tuple(documents[i].path for i in nearest)))
    return tuple(sorted(found, key=_largest_first))


def _largest_first(group: Group) -> tuple[int, tuple[str, ...]]:
    return -len(group.paths), group.paths


def _clusters(vectors: Vectors, groups: int | None) -> tuple[NDArray[np.intp], Vectors]:
    """Which cluster each row is in, and the clusters' middles."""
    draw = np.random.Generator(np.random.PCG64(7))
    if groups is not None:
        return _k_means(vectors, min(groups, len(vectors)), draw)
    best = _k_means(vectors, 1, draw)
    best_fit = 0.0
    sample = draw.permutation(len(vectors))[:SAMPLE]
    for count in range(2, min(MOST_GROUPS, len(vectors) - 1) + 1):
        made = _k_means(vectors, count, draw)
        fit = _silhouette(vectors[sample], made[0][sample])
        if fit > best_fit:
            best, best_fit = made, fit
    return best


def _k_means(vectors: Vectors, count: int, draw: np.random.Generator) -> tuple[NDArray[np.intp], Vectors]:
    """Spherical k-means (Dhillon and Modha 2001) from k-means++ starts (Arthur and Vassilvitskii 2007)."""
    best: tuple[float, NDArray[np.intp], Vectors] | None = None
    starts = min(MOST_STARTS, max(STARTS, MOST_STARTS * FEW // len(vectors)))
    for _ in range(starts):
        middles = vectors[_spread(vectors, count, draw)]
        members = np.argmax(vectors @ middles.T, axis=1)
        for _ in range(ROUNDS):
            for number in range(count):
                inside = vectors[members == number]
                if len(inside):
                    middle = inside.sum(axis=0)
                    middles[number] = middle / max(float(np.linalg.norm(middle)), 1e-12)
            moved = np.argmax(vectors @ middles.T, axis=1)
            if np.array_equal(moved, members):
                break
            members = moved
        fit = float(np.sum(vectors * middles[members]))
        if best is None or fit > best[0]:
            best = fit, members, middles
    assert best is not None
    used = np.unique(best[1])  # a cluster may have lost all its members
    return np.searchsorted(used, best[1]), best[2][used]


def _spread(vectors: Vectors, count: int, draw: np.random.Generator) -> list[int]:
    chosen = [int(draw.integers(len(vectors)))]
    distance = np.maximum(1 - vectors @ vectors[chosen[0]], 0).astype(np.float64)
    while len(chosen) < count:
        total = distance.sum()
        even = np.full(len(vectors), 1 / len(vectors))
        chosen.append(int(draw.choice(len(vectors), p=distance / total if total > 0 else even)))
        distance = np.minimum(distance, np.maximum(1 - vectors @ vectors[chosen[-1]], 0))
    return chosen


def _silhouette(vectors: Vectors, members: NDArray[np.intp]) -> float:
    """How much nearer rows are to their own cluster than to the next (Rousseeuw 1987), -1 to 1."""
    distance = 1 - vectors @ vectors.T
    numbers = np.unique(members)
    if len(numbers) < 2:
        return 0.0
    sizes = np.array([np.sum(members == number) for number in numbers])
    sums = np.stack([distance[:, members == number].sum(axis=1) for number in numbers], axis=1)
    own = np.searchsorted(numbers, members)
    rows = np.arange(len(members))
    inner = sums[rows, own] / np.maximum(sizes[own] - 1, 1)
    means = sums / sizes
    means[rows, own] = np.inf
    outer = means.min(axis=1)
    fit = np.where(sizes[own] > 1, (outer - inner) / np.maximum(np.maximum(inner, outer), 1e-12), 0)
    return float(fit.mean())


def _none() -> Counter[str]:
    return Counter()


def _labels(documents: Sequence[_Document], members: NDArray[np.intp], count: int) -> list[str]:
    """The words that are frequent in a group and not in the others (class-based TF-IDF: Grootendorst 2022)."""
    totals = [_none() for _ in range(count)]
    numbers: list[int] = members.tolist()
    for document, number in zip(documents, numbers, strict=True):
        totals[number].update(document.words)
    overall = sum(totals, _none())
    average = sum(overall.values()) / max(count, 1)
    labels: list[str] = []
    for words in totals:
        size = max(sum(words.values()), 1)
        ranked = sorted(
            words, key=lambda word: (-words[word] / size * math.log(1 + average / overall[word]), word)
        )
        labels.append(" ".join(ranked[:LABEL_WORDS]))
    return labels
