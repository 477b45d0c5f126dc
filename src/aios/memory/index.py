"""Above what exact search can do in time: a graph index (HNSW: Malkov, Yashunin 2018) by usearch, an extra."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from aios.memory.embed import Vectors

EXPANSION = 128
"""Candidates looked at: more finds more of the true neighbours, in more time."""


class Index:
    """Approximate nearest rows. `inner`: a usearch index of cosine similarity."""

    def __init__(self, inner: Any) -> None:
        self._inner = inner

    def put(self, row: int, vector: Vectors | None) -> None:
        """Add, change or (None) remove a row."""
        if row in self._inner:
            self._inner.remove(row)
        if vector is not None:
            self._inner.add(row, vector)

    def near(self, query: Vectors, most: int) -> list[tuple[int, float]]:
        """Nearest first, with their cosine."""
        found = self._inner.search(query, most)
        return [
            (int(key), 1.0 - float(distance)) for key, distance in zip(found.keys, found.distances, strict=True)
        ]


def index_of(rows: NDArray[np.int64], vectors: Vectors) -> Index | None:
    """An index of these; None if the library is not installed: then search stays exact, and slower."""
    try:
        from usearch.index import Index as Inner  # pyright: ignore[reportMissingTypeStubs]
    except ModuleNotFoundError:
        return None
    inner: Any = Inner(ndim=vectors.shape[1], metric="cos", dtype="f16", expansion_search=EXPANSION)
    inner.add(rows, vectors)
    return Index(inner)
