"""Matrices of vectors against comparing with each, exactly and through an index."""

from concurrent.futures import Future

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aios.memory import vectors
from aios.memory.vectors import Matrix

WIDTH = 8


def drawn(seed: int):
    vector = np.random.default_rng(seed).standard_normal(WIDTH).astype(np.float32)
    return vector / np.linalg.norm(vector)


class Now:
    """An executor that works at once, or when it is told to."""

    def __init__(self, *, wait=False):
        self.wait, self.waiting = wait, []

    def submit(self, work, *arguments):
        future = Future()
        self.waiting.append(lambda: future.set_result(work(*arguments)))
        if not self.wait:
            self.go()
        return future

    def go(self):
        while self.waiting:
            self.waiting.pop()()


changes = st.lists(st.tuples(st.integers(0, 20), st.one_of(st.none(), st.integers(0, 1000))), max_size=60)


def check(matrix, model, query, only=None):
    rows = model if only is None else {row: v for row, v in model.items() if row in only}
    expected = sorted(((row, float(v @ query)) for row, v in rows.items()), key=lambda item: -item[1])[:5]
    found = matrix.near(query, 5, only)
    assert [score for _, score in found] == pytest.approx([score for _, score in expected], abs=2e-3)
    assert {row for row, _ in found} <= set(rows)


@given(st.integers(0, 30), changes, st.integers(0, 1000), st.sets(st.integers(0, 40)))
def test_a_matrix_finds_what_comparing_with_each_finds(loaded, changes, seed, only):
    model = {row: drawn(row + 5000) for row in range(loaded)}
    matrix = Matrix(WIDTH, Now())
    matrix.load(list(model), np.array(list(model.values()), np.float32).reshape(-1, WIDTH))
    for row, vector in changes:
        if vector is None:
            matrix.drop(row)
            model.pop(row, None)
        else:
            matrix.put(row, drawn(vector))
            model[row] = drawn(vector)
    assert len(matrix) == len(model)
    check(matrix, model, drawn(seed))
    check(matrix, model, drawn(seed), only)


@pytest.mark.parametrize("late", [False, True])
def test_an_index_takes_over_and_follows_what_changed_while_it_was_made(monkeypatch, late):
    pytest.importorskip("voyager")
    monkeypatch.setattr(vectors, "EXACT", 50)
    builder = Now(wait=late)
    model = {row: drawn(row) for row in range(200)}
    matrix = Matrix(WIDTH, builder)
    matrix.load(list(model), np.array(list(model.values()), np.float32))
    for row in range(0, 60, 3):
        matrix.drop(row)
        del model[row]
        matrix.put(row + 1, drawn(row + 9000))
        model[row + 1] = drawn(row + 9000)
    matrix.put(777, drawn(777))
    model[777] = drawn(777)
    check(matrix, model, drawn(1))  # exact, for as long as the index is made
    builder.go()
    for seed in range(30):
        check(matrix, model, drawn(seed))
        check(matrix, model, drawn(seed), set(range(100)))
    assert matrix._index is not None
    for row in range(1000, 1040):  # so many that another index is made
        matrix.put(row, drawn(row))
        model[row] = drawn(row)
    builder.go()
    for seed in range(30):
        check(matrix, model, drawn(seed))
    assert len(matrix._since) < 40
