"""What the overhead benchmark measures is what it says: the same answers, directly and through a kernel."""

import json
from pathlib import Path

import aiohttp
import pytest

from aios.bench.daemon import serving
from aios.bench.overhead import CORE, Agents, Round, stream_row, upstream_running, whole_row

pytestmark = pytest.mark.anyio


async def test_both_sides_answer_the_same(tmp_path: Path):
    async with (
        upstream_running() as upstream,
        serving(tmp_path, CORE.format(url=upstream)) as kernel,
        aiohttp.ClientSession() as http,
    ):
        for url in (upstream, f"{kernel}/v1"):
            side = Agents(http, f"{url}/chat/completions")
            whole = await side.round(2, 2, "burst", stream=False)
            assert (len(whole.calls), whole.tokens) == (4, 64)
            assert min(whole.calls) > 0.045  # the endpoint thinks for 50 ms
            streamed = await side.round(1, 1, "burst", stream=True)
            assert streamed.tokens == 200
            assert 0.045 < streamed.firsts[0] <= streamed.calls[0]


def test_rows_are_medians_of_what_repetitions_add():
    pairs = [(Round([0.05], [0.05], 0.1, 16), Round([0.05 + ms / 1e3], [0.06], 0.2, 16)) for ms in (1, 2, 9)]
    row = whole_row(7, pairs)
    assert row["agents"] == 7
    assert row["added_p50_ms"] == pytest.approx(2)
    assert row["added_p50_ms_range"] == pytest.approx([1, 9])
    assert row["throughput_ratio"] == pytest.approx(0.5)
    streams = stream_row("paced", pairs)
    assert (streams["direct_tokens_s"], streams["kernel_tokens_s"]) == pytest.approx((160, 80))
    assert streams["added_first_token_p50_ms"] == pytest.approx(10)
    json.dumps([row, streams])
