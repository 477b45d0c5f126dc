"""The benchmark of the store measures the store."""

import pytest

from aios.bench.storage import measure

pytestmark = pytest.mark.anyio


async def test_it_runs_and_deduplicates(tmp_path):
    found = await measure(tmp_path, scale=0.02)
    assert all(value > 0 for value in found.values())
    assert found["edits_deduplicated"] > 5
    assert list(tmp_path.iterdir()) == []
