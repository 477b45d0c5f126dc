"""Exact search by meaning: every owner's vectors as one matrix in RAM, filled from the database when asked.

All of it runs on the database's reader thread, so it needs no lock. Vectors have length 1: their product is
their cosine.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Collection

import numpy as np

from aios.memory.database import Connection
from aios.memory.embed import Vectors
from aios.memory.index import Index, index_of

EXACT = 100_000
"""Vectors of one owner up to which all are compared; above, an index is asked if its library is there."""
_GATHERED = 0.4
"""Share of the rows up to which picking them out is cheaper than comparing all."""


class Matrix:
    """The vectors of one owner. `rows` are entries' rows, in no order."""

    def __init__(self, width: int) -> None:
        self._rows = np.zeros(0, np.int64)
        self._vectors: Vectors = np.zeros((0, width), np.float32)
        self._places: dict[int, int] = {}
        self._index: Index | None = None

    def __len__(self) -> int:
        return len(self._places)

    @property
    def bytes(self) -> int:
        return self._vectors.nbytes

    def load(self, rows: list[int], vectors: Vectors) -> None:
        self._rows, self._vectors = np.array(rows, np.int64), vectors
        self._places = {row: place for place, row in enumerate(rows)}
        if len(rows) > EXACT:
            self._index = index_of(self._rows, vectors)

    def put(self, row: int, vector: Vectors) -> None:
        place = self._places.get(row)
        if place is None:
            place = len(self._places)
            if place == len(self._rows):
                more = max(64, place // 2)
                self._rows = np.resize(self._rows, place + more)
                self._vectors = np.concatenate(
                    [self._vectors, np.zeros((more, self._vectors.shape[1]), np.float32)]
                )
            self._places[row] = place
        elif self._index is not None:
            self._index.remove(row)
        self._rows[place], self._vectors[place] = row, vector
        if self._index is not None:
            self._index.add(row, vector)

    def drop(self, row: int) -> None:
        place = self._places.pop(row, None)
        if place is None:
            return
        last = len(self._places)
        if place != last:
            moved = int(self._rows[last])
            self._rows[place], self._vectors[place], self._places[moved] = moved, self._vectors[last], place
        if self._index is not None:
            self._index.remove(row)

    def near(self, query: Vectors, most: int, rows: Collection[int] | None = None) -> list[tuple[int, float]]:
        """The `most` nearest of `rows` (None: of all), nearest first, with their cosine."""
        count = len(self._places)
        if rows is None:
            if self._index is not None:
                return self._index.near(query, most)
            return _top(self._rows[:count], self._vectors[:count] @ query, most)
        places = np.array(sorted(self._places[row] for row in rows if row in self._places), np.int64)
        few = len(places) < _GATHERED * count
        scores = self._vectors[places] @ query if few else (self._vectors[:count] @ query)[places]
        return _top(self._rows[places], scores, most)


class VectorCache:
    """Matrices of owners, the least recently used given up when they take more than `budget` bytes."""

    def __init__(self, embedder: str, width: int, budget: int) -> None:
        self._embedder, self._width, self._budget = embedder, width, budget
        self._owners: OrderedDict[int, Matrix] = OrderedDict()

    def near(
        self, db: Connection, owner: int, query: Vectors, most: int, rows: Collection[int] | None = None
    ) -> list[tuple[int, float]]:
        matrix = self._owners.get(owner) or self._load(db, owner)
        self._owners.move_to_end(owner)
        return matrix.near(query, most, rows)

    def put(self, owner: int, row: int, vector: Vectors) -> None:
        """Tell of a committed change. What is not loaded is read when it is."""
        if (matrix := self._owners.get(owner)) is not None:
            matrix.put(row, vector)

    def drop(self, owner: int, row: int) -> None:
        if (matrix := self._owners.get(owner)) is not None:
            matrix.drop(row)

    def _load(self, db: Connection, owner: int) -> Matrix:
        matrix = Matrix(self._width)
        found = db.execute(
            "SELECT row, vector FROM vectors WHERE owner = ? AND embedder = ?", (owner, self._embedder)
        ).fetchall()
        flat = np.frombuffer(b"".join(vector for _, vector in found), np.float32)
        # A copy: what a buffer of bytes backs can't be written to.
        matrix.load([row for row, _ in found], flat.reshape(len(found), self._width).copy())
        self._owners[owner] = matrix
        while len(self._owners) > 1 and sum(m.bytes for m in self._owners.values()) > self._budget:
            self._owners.popitem(last=False)
        return matrix


def _top(
    rows: np.ndarray[tuple[int], np.dtype[np.int64]], scores: Vectors, most: int
) -> list[tuple[int, float]]:
    if len(scores) > most:
        best = np.argpartition(scores, -most)[-most:]
        rows, scores = rows[best], scores[best]
    order = np.lexsort((rows, -scores))
    return [(int(rows[i]), float(scores[i])) for i in order]
