"""`aios bench engine`: our engine loop against the engine's own server, at the same settings.

For 1, 4, 8 and 16 streams: tokens/s of prefill (distinct 256-token prompts, one token generated each) and of
decoding (short prompts, 64 tokens each, greedy, the end of text banned). Ours is the embedded core with its
worker process, as the kernel uses it; theirs is xllamacpp's `Server` over HTTP on loopback. Both alternate
within each repetition, so that they see the same machine. What exactness costs is shown by both settings.
"""

from __future__ import annotations

import asyncio
import os
import random
import statistics
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from aios.bench.native_server import NativeOptions, native_server
from aios.bench.report import machine, save_bars, write_result
from aios.config import CoreSettings
from aios.cores.core import Ended, Seat
from aios.cores.llama.core import LlamaCore
from aios.errors import CoreError
from aios.events import EventBus
from aios.models.store import ModelStore
from aios.syscalls import Generate, Sampling

STREAMS = (1, 4, 8, 16)
PREFILL, PROMPT, DECODE, CONTEXT = 256, 16, 64, 512
Ask = Callable[[list[int], int], Awaitable[int]]
"""Generates so many tokens after a prompt of token ids; returns how many came."""


@dataclass(frozen=True, slots=True)
class Speed:
    """Tokens a second."""

    prefill: float
    decode: float


def run(out: Path, *, model: str | None = None, seeds: int = 3, quick: bool = False, **_: Any) -> None:
    """Measure and write `result.json` and `plot.png` to `out`."""
    name = model or "smollm2-135m-instruct"
    path = ModelStore().resolve(name)
    rows = asyncio.run(_rows(path, repeats=2 if quick else seeds))
    write_result(out, {"bench": "engine", "model": path.stem, "rows": rows, **machine()})
    exact = [row for row in rows if row["exact"]]
    save_bars(
        out / "plot.png",
        title=f"Decoding, {path.stem}, exact settings",
        labels=[f"{row['streams']} streams" for row in exact],
        series={
            "aios": [row["aios_decode"] for row in exact],
            "engine's server": [row["server_decode"] for row in exact],
        },
        unit="tokens/s",
    )


async def _rows(path: Path, *, repeats: int) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    for streams in STREAMS:
        for exact in (True, False):
            ours: list[Speed] = []
            theirs: list[Speed] = []
            for repeat in range(repeats):
                ours.append(await _ours(path, streams, exact, repeat))
                theirs.append(await _theirs(path, streams, exact, repeat))
            rows.append(_row(streams, exact, ours, theirs))
    return rows


def _row(streams: int, exact: bool, ours: Sequence[Speed], theirs: Sequence[Speed]) -> dict[str, Any]:
    """Medians, and the median and range of the ratios within repetitions."""
    pairs = list(zip(ours, theirs, strict=True))
    prefill = sorted(a.prefill / b.prefill for a, b in pairs)
    decode = sorted(a.decode / b.decode for a, b in pairs)
    row = {
        "streams": streams, "exact": exact,
        "aios_prefill": statistics.median(s.prefill for s in ours),
        "server_prefill": statistics.median(s.prefill for s in theirs),
        "aios_decode": statistics.median(s.decode for s in ours),
        "server_decode": statistics.median(s.decode for s in theirs),
        "prefill_ratio": statistics.median(prefill), "prefill_ratio_range": [prefill[0], prefill[-1]],
        "decode_ratio": statistics.median(decode), "decode_ratio_range": [decode[0], decode[-1]],
    }  # fmt: skip
    print(
        f"  {streams:2} streams, {'exact' if exact else 'fast ':5}: prefill {row['aios_prefill']:5.0f} against "
        f"{row['server_prefill']:5.0f} tok/s ({row['prefill_ratio']:.2f}x), decode {row['aios_decode']:5.0f} "
        f"against {row['server_decode']:5.0f} ({row['decode_ratio']:.2f}x)"
    )
    return row


async def _measure(ask: Ask, streams: int, seed: int) -> Speed:
    draw = random.Random(seed)

    def prompts(length: int) -> list[list[int]]:
        return [[draw.randint(1000, 20_000) for _ in range(length)] for _ in range(streams)]

    await ask(prompts(PROMPT)[0], 2)
    began = time.perf_counter()
    await asyncio.gather(*(ask(prompt, 1) for prompt in prompts(PREFILL)))
    prefill = streams * PREFILL / (time.perf_counter() - began)
    began = time.perf_counter()
    counts = await asyncio.gather(*(ask(prompt, DECODE) for prompt in prompts(PROMPT)))
    if min(counts) < DECODE:
        raise CoreError(f"A stream ended after {min(counts)} of {DECODE} tokens.", "Report this.")
    return Speed(prefill, sum(counts) / (time.perf_counter() - began))


async def _ours(path: Path, streams: int, exact: bool, seed: int) -> Speed:
    settings = CoreSettings(name="bench", model=str(path), slots=streams, context=CONTEXT, exact=exact)
    core = LlamaCore(settings, EventBus())
    async with asyncio.TaskGroup() as tasks:
        await core.start(tasks)
        try:
            free = list(range(streams))
            banned = Sampling(temperature=0.0, logit_bias=dict.fromkeys(core.end_tokens, -1e9))

            async def ask(prompt: list[int], count: int) -> int:
                call = Generate(prompt=tuple(prompt), max_tokens=count, sampling=banned)
                (sequence,) = await core.prepare(call, 1, "bench")
                slot = free.pop()
                try:
                    async for step in core.run(sequence, Seat(slot)):
                        if isinstance(step, Ended):
                            return step.completion_tokens
                finally:
                    free.append(slot)
                return 0

            return await _measure(ask, streams, seed)
        finally:
            await core.close()


async def _theirs(path: Path, streams: int, exact: bool, seed: int) -> Speed:
    options = NativeOptions(
        model=str(path), slots=streams, context=CONTEXT, threads=len(os.sched_getaffinity(0)), exact=exact,
        cache_ram_mb=0, http_threads=streams + 4,
    )  # fmt: skip
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=None)
    async with native_server(options) as url, httpx.AsyncClient(timeout=600, limits=limits) as http:
        plain = {"ignore_eos": True, "cache_prompt": False}

        async def ask(prompt: list[int], count: int) -> int:
            body = {"prompt": prompt, "n_predict": count, "temperature": 0, **plain}
            answer = await http.post(f"{url}/completions", json=body)
            answer.raise_for_status()
            return int(answer.json()["tokens_predicted"])

        return await _measure(ask, streams, seed)
