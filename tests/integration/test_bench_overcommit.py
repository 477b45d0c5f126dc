"""The benchmark of memory, with a tiny model and little of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from aios.bench.overcommit import TURNS, overcommit

pytestmark = pytest.mark.anyio


async def test_all_are_answered_and_no_more_is_taken_than_was_promised(
    tmp_path: Path, tiny_model: Path
) -> None:
    few, many = await overcommit(tiny_model, tmp_path, ram_mb=0.5, times=(1, 10))
    assert many["agents"] > 5 * few["agents"]
    assert many["contexts_mb"] > 8 * many["ram_mb"]
    assert many["moved"]["swapped"] > 0
    for row in (few, many):
        assert (row["answered"], row["failed"], row["errors"]) == (TURNS * row["agents"], 0, [])
        assert row["promised_mb"] == few["promised_mb"]
        # The worker's Python and libraries, some 100 MB, are not the core's.
        assert 0 < row["peak_mb"] < row["promised_mb"] + 150
    assert many["peak_mb"] < few["peak_mb"] + 5
