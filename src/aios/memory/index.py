"""Above what exact search can do in time: a graph index (HNSW: Malkov, Yashunin 2018) by voyager, an extra."""

from __future__ import annotations

import importlib
from typing import Any

import numpy as np
from numpy.typing import NDArray

from aios.memory.embed import Vectors

EXPANSION = 128
"""Candidates looked at: more finds more of the true neighbours, in more time."""


class Index:
    """Approximate nearest rows of vectors that do not change. `inner`: a voyager index."""

    def __init__(self, inner: Any) -> None:
        self._inner = inner

    def near(self, query: Vectors, most: int) -> list[int]:
        """Rows, nearest first."""
        most = min(most, len(self._inner))
        rows, _ = self._inner.query(query, k=most, query_ef=max(EXPANSION, most))
        return [int(row) for row in rows]


def index_of(rows: NDArray[np.int64], vectors: Vectors) -> Index | None:
    """An index of these; None if the library is not installed: then search stays exact, and slower."""
    try:
        voyager: Any = importlib.import_module("voyager")
    except ModuleNotFoundError:
        return None
    kind = voyager.StorageDataType.Float8  # a quarter of the bytes; the caller compares what it finds exactly
    inner = voyager.Index(
        voyager.Space.Cosine, vectors.shape[1], storage_data_type=kind, max_elements=len(rows)
    )
    inner.add_items(vectors, rows.astype(np.uint64))
    return Index(inner)
