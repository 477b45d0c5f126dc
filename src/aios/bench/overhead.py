"""`aios bench overhead`: what the kernel adds before an endpoint.

The endpoint (`upstream.py`) answers a chat of 16 tokens after 50 ms. N agents call it, directly and through the
kernel (`aios serve` with one `openai` core), with the same client. Endpoint, kernel and client are a process
each. Each repetition measures direct and kernel one after the other, so that both see the same machine; medians
over repetitions of p50, p99, calls/s, and of the differences and ratios within a repetition, with their range.
Then streams of 200 tokens: `burst` as fast as they go, `paced` one token each 10 ms.
"""

from __future__ import annotations

import asyncio
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import msgspec

from aios.bench.daemon import serving
from aios.bench.report import machine, percentile, write_result
from aios.errors import CoreUnavailable
from aios.telemetry.plots import plotting

AGENTS = {1: 48, 16: 16, 64: 12, 250: 12}
"""Number of agents: calls of each in one repetition, after one that warms up."""
STREAMING_AGENTS, STREAMED_TOKENS = 64, 200
ANSWER_TOKENS = 16
WORD = b'"content":" word"'
"""In each event that carries a token, the upstream's and the kernel's."""
START_S = 60.0

CORE = """
[[cores]]
name = "upstream"
kind = "openai"
base_url = "{url}"
models = ["burst", "paced"]
window = 256
"""


@dataclass(frozen=True, slots=True)
class Round:
    """One repetition on one side: seconds of each call, seconds to each first token, and of all together."""

    calls: list[float]
    firsts: list[float]
    elapsed: float
    tokens: int

    @property
    def rate(self) -> float:
        """Calls a second."""
        return len(self.calls) / self.elapsed


def run(out: Path, *, quick: bool = False, seeds: int = 5, **_: Any) -> None:
    """Measure and write `result.json` and `plot.png` to `out`. `seeds`: repetitions."""
    import uvloop

    plotting()  # whoever has no matplotlib should know before, not after
    result = uvloop.run(_measure(repeats=2 if quick else seeds))
    write_result(out, {"bench": "overhead", **result, **machine()})
    _plot(out / "plot.png", result["rows"])


async def _measure(*, repeats: int) -> dict[str, Any]:
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        upstream = await stack.enter_async_context(upstream_running())
        kernel = await stack.enter_async_context(serving(folder, CORE.format(url=upstream)))
        sides: list[Agents] = []
        for url in (upstream, f"{kernel}/v1"):
            http = await stack.enter_async_context(
                aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0))
            )
            sides.append(Agents(http, f"{url}/chat/completions"))
        rows: list[dict[str, Any]] = []
        for agents, calls in AGENTS.items():
            pairs = [await _pair(sides, agents, calls, "burst", stream=False) for _ in range(repeats)]
            rows.append(whole_row(agents, pairs))
        streams = {
            model: stream_row(
                model, [await _pair(sides, STREAMING_AGENTS, 2, model, stream=True) for _ in range(repeats)]
            )
            for model in ("burst", "paced")
        }
        return {"repeats": repeats, "rows": rows, "streaming": streams}


class Agents:
    """Clients of one endpoint, each calling in turn."""

    def __init__(self, http: aiohttp.ClientSession, url: str) -> None:
        self._http, self._url = http, url

    async def round(self, agents: int, calls: int, model: str, *, stream: bool) -> Round:
        """`agents` agents make `calls` calls each, all agents at once."""
        body: dict[str, Any] = {
            "model": model,
            "max_tokens": STREAMED_TOKENS if stream else ANSWER_TOKENS,
            "stream": stream,
            "messages": [{"role": "user", "content": "What is there to say?"}],
        }
        call = self._streamed if stream else self._call
        firsts: list[float] = []
        seconds: list[float] = []
        data = msgspec.json.encode(body)

        async def agent(number: int, times: int) -> None:
            headers = {"Content-Type": "application/json", "X-Agent-Id": f"agent-{number}"}
            for _ in range(times):
                began = time.perf_counter()
                firsts.append(await call(data, headers, began))
                seconds.append(time.perf_counter() - began)

        await asyncio.gather(*(agent(number, 1) for number in range(agents)))
        firsts.clear()
        seconds.clear()
        began = time.perf_counter()
        await asyncio.gather(*(agent(number, calls) for number in range(agents)))
        elapsed = time.perf_counter() - began
        return Round(seconds, firsts, elapsed, len(seconds) * int(body["max_tokens"]))

    async def _call(self, data: bytes, headers: dict[str, str], began: float) -> float:
        async with self._http.post(self._url, data=data, headers=headers) as response:
            text = await response.read()
        if response.status != 200 or text.count(b" word") != ANSWER_TOKENS:
            raise CoreUnavailable(f"A call was answered {response.status}: {text[:300]!r}.", "Report this.")
        return time.perf_counter() - began

    async def _streamed(self, data: bytes, headers: dict[str, str], began: float) -> float:
        first, tokens = 0.0, 0
        async with self._http.post(self._url, data=data, headers=headers) as response:
            async for piece in response.content.iter_any():
                tokens += piece.count(WORD)
                if tokens and not first:
                    first = time.perf_counter() - began
        if tokens < 0.95 * STREAMED_TOKENS:  # one that is cut between two reads is not counted
            raise CoreUnavailable(f"A stream had {tokens} tokens.", "Report this.")
        return first


async def _pair(
    sides: Sequence[Agents], agents: int, calls: int, model: str, *, stream: bool
) -> tuple[Round, Round]:
    direct, kernel = [await side.round(agents, calls, model, stream=stream) for side in sides]
    return direct, kernel


def whole_row(agents: int, pairs: Sequence[tuple[Round, Round]]) -> dict[str, Any]:
    row: dict[str, Any] = {"agents": agents}
    for share, name in ((0.5, "p50"), (0.99, "p99")):
        direct, kernel = (
            [1e3 * percentile(side.calls, share) for side in sides] for sides in zip(*pairs, strict=True)
        )
        row[f"direct_{name}_ms"] = statistics.median(direct)
        row[f"kernel_{name}_ms"] = statistics.median(kernel)
        row |= _spread(f"added_{name}_ms", [k - d for d, k in zip(direct, kernel, strict=True)])
    row["direct_calls_s"] = statistics.median(direct.rate for direct, _ in pairs)
    row["kernel_calls_s"] = statistics.median(kernel.rate for _, kernel in pairs)
    row |= _spread("throughput_ratio", [kernel.rate / direct.rate for direct, kernel in pairs])
    print(
        f"  {agents:3} agents: p50 {row['direct_p50_ms']:5.1f} ms + {row['added_p50_ms']:5.2f}, "
        f"p99 {row['direct_p99_ms']:5.1f} + {row['added_p99_ms']:5.2f}, calls/s {row['direct_calls_s']:5.0f} "
        f"direct, {row['kernel_calls_s']:5.0f} kernel ({row['throughput_ratio']:.2f}x)"
    )
    return row


def stream_row(model: str, pairs: Sequence[tuple[Round, Round]]) -> dict[str, Any]:
    row: dict[str, Any] = {"agents": STREAMING_AGENTS, "tokens": STREAMED_TOKENS}
    row["direct_tokens_s"] = statistics.median(direct.tokens / direct.elapsed for direct, _ in pairs)
    row["kernel_tokens_s"] = statistics.median(kernel.tokens / kernel.elapsed for _, kernel in pairs)
    for share, name in ((0.5, "p50"), (0.99, "p99")):
        added = [1e3 * (percentile(k.firsts, share) - percentile(d.firsts, share)) for d, k in pairs]
        row |= _spread(f"added_first_token_{name}_ms", added)
    print(
        f"  {model}: tokens/s {row['direct_tokens_s']:6.0f} direct, {row['kernel_tokens_s']:6.0f} kernel; "
        f"first token {row['added_first_token_p50_ms']:+.1f} ms p50, {row['added_first_token_p99_ms']:+.1f} p99"
    )
    return row


def _spread(name: str, values: Sequence[float]) -> dict[str, Any]:
    return {name: statistics.median(values), f"{name}_range": [min(values), max(values)]}


@asynccontextmanager
async def upstream_running() -> AsyncGenerator[str]:
    """The endpoint, in a process of its own; gives its base URL."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "aios.bench.upstream", stdout=asyncio.subprocess.PIPE
    )
    try:
        assert process.stdout is not None
        port = await asyncio.wait_for(process.stdout.readline(), START_S)
        yield f"http://127.0.0.1:{int(port)}/v1"
    finally:
        process.kill()
        await process.wait()


def _plot(path: Path, rows: Sequence[dict[str, Any]]) -> None:
    plot = plotting()
    figure, (left, right) = plot.subplots(1, 2, figsize=(10, 4.2))
    labels = [f"N={row['agents']}" for row in rows]
    for share in ("p50", "p99"):
        left.plot(labels, [row[f"added_{share}_ms"] for row in rows], marker="o", label=share)
    left.set_ylabel("added by the kernel, ms a call")
    left.legend()
    for offset, side in ((-0.2, "direct"), (0.2, "kernel")):
        values = [row[f"{side}_calls_s"] for row in rows]
        bars = right.bar([place + offset for place in range(len(rows))], values, 0.4, label=side)
        right.bar_label(bars, fmt="%.0f", fontsize=8)
    right.set_xticks(range(len(rows)), labels)
    right.set_ylabel("calls/s")
    right.legend()
    figure.suptitle("Calls of 16 tokens to an endpoint that thinks for 50 ms")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.tight_layout()
    figure.savefig(path, dpi=120)
    plot.close(figure)
