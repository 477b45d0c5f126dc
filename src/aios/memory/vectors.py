"""Exact search by meaning: every owner's vectors as one matrix in RAM, filled from the database when asked.

All of it runs on the database's reader thread, so it needs no lock. Vectors have length 1: their product is
their cosine.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Collection
from concurrent.futures import Executor, Future, ThreadPoolExecutor

import numpy as np

from aios.memory.database import Connection
from aios.memory.embed import Vectors
from aios.memory.index import Index, index_of

EXACT = 100_000
"""Vectors of one owner up to which all are compared; more of them, when they are loaded, get an index if its
library is there."""
_GATHERED = 0.4
"""Share of the rows up to which picking them out is cheaper than comparing all."""
_STALE = 0.1
"""Share of the rows that may have changed before another index is made."""


class Matrix:
    """The vectors of one owner. `rows` are entries' rows, in no order.

    Above `EXACT` of them, an index is made on `builder` while search stays exact. An index is never changed:
    what changed since it was begun is compared beside it, and when that is much, another one is made."""

    def __init__(self, width: int, builder: Executor) -> None:
        self._rows = np.zeros(0, np.int64)
        self._vectors: Vectors = np.zeros((0, width), np.float32)
        self._places: dict[int, int] = {}
        self._builder = builder
        self._building: Future[Index | None] | None = None
        self._index: Index | None = None
        self._since: set[int] = set()  # rows that the index does not know as they are
        self._later: set[int] = set()  # and those that the one that is being made does not

    def __len__(self) -> int:
        return len(self._places)

    @property
    def bytes(self) -> int:
        return self._vectors.nbytes

    def load(self, rows: list[int], vectors: Vectors) -> None:
        self._rows, self._vectors = np.array(rows, np.int64), vectors
        self._places = {row: place for place, row in enumerate(rows)}
        if len(rows) > EXACT:
            self._build()

    def put(self, row: int, vector: Vectors) -> None:
        place = self._places.get(row)
        if place is None:
            place = self._places[row] = len(self._places)
            if place == len(self._rows):
                more = max(64, place // 2)
                self._rows = np.resize(self._rows, place + more)
                room = np.zeros((more, self._vectors.shape[1]), np.float32)
                self._vectors = np.concatenate([self._vectors, room])
        self._rows[place], self._vectors[place] = row, vector
        self._changed(row)

    def drop(self, row: int) -> None:
        place = self._places.pop(row, None)
        if place is None:
            return
        last = len(self._places)
        if place != last:
            moved = int(self._rows[last])
            self._rows[place], self._vectors[place], self._places[moved] = moved, self._vectors[last], place
        self._changed(row)

    def near(self, query: Vectors, most: int, rows: Collection[int] | None = None) -> list[tuple[int, float]]:
        """The `most` nearest of `rows` (None: of all), nearest first, with their cosine."""
        self._adopt()
        count = len(self._places)
        if rows is None:
            if self._index is None:
                return _top(self._rows[:count], self._vectors[:count] @ query, most)
            rows = self._since.union(self._index.near(query, 2 * most))
        places = np.array(sorted(self._places[row] for row in rows if row in self._places), np.int64)
        few = len(places) < _GATHERED * count
        scores = self._vectors[places] @ query if few else (self._vectors[:count] @ query)[places]
        return _top(self._rows[places], scores, most)

    def _build(self) -> None:
        count = len(self._places)
        # Rows that change while it reads are in `_later` and not believed; so it needs no copy of the vectors.
        self._building = self._builder.submit(index_of, self._rows[:count].copy(), self._vectors[:count])
        self._later = set()

    def _changed(self, row: int) -> None:
        if self._index is not None:
            self._since.add(row)
        if self._building is not None:
            self._later.add(row)
        elif self._index is not None and len(self._since) > _STALE * len(self._places):
            self._build()

    def _adopt(self) -> None:
        if self._building is None or not self._building.done():
            return
        self._index, self._since = self._building.result(), self._later
        self._building, self._later = None, set()


class VectorCache:
    """Matrices of owners, the least recently used given up when they take more than `budget` bytes."""

    def __init__(self, embedder: str, width: int, budget: int) -> None:
        self._embedder, self._width, self._budget = embedder, width, budget
        self._owners: OrderedDict[int, Matrix] = OrderedDict()
        self._builder = ThreadPoolExecutor(1, thread_name_prefix="memory-index")

    def close(self) -> None:
        """Blocks until an index that is being made is made."""
        self._builder.shutdown(cancel_futures=True)

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
        matrix = Matrix(self._width, self._builder)
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
