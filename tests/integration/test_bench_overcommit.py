"""The benchmark of memory, with a tiny model and little of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from aios.bench.overcommit import TURNS, overcommit

pytestmark = pytest.mark.anyio


async def test_ten_times_more_agents_are_answered_in_the_same_memory(tmp_path: Path, tiny_model: Path) -> None:
    few, many = await overcommit(tiny_model, tmp_path, ram_mb=0.5, times=(1, 10))
    assert many["agents"] > 5 * few["agents"]
    assert many["contexts_mb"] > 8 * many["ram_mb"]
    assert many["moved"]["swapped"] > 0
    for row in (few, many):
        assert (row["answered"], row["failed"], row["errors"]) == (TURNS * row["agents"], 0, [])
        # What the allocator asks for is not the same at every start, by some tenths.
        assert row["promised_mb"] == pytest.approx(few["promised_mb"], abs=1.0)
    # All their contexts are 24 times what there is for them: kept, they would show.
    assert 0 < few["peak_mb"] <= many["peak_mb"] + 3
    assert many["peak_mb"] < few["peak_mb"] + many["contexts_mb"] / 3
