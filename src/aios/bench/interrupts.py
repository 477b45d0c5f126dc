"""Is an interrupted answer the one that there would have been? Both kinds of interrupt, on real answers."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from aios.bench.bleu import bleu
from aios.bench.native_server import NativeOptions, native_server
from aios.bench.sessions import WORDS
from aios.config import parse
from aios.kernel.kernel import Kernel
from aios.syscalls import Completion, Generate, Message, Sampling

TOKENS = 24
QUANTUM = 6
TOGETHER = 6
KINDS = ("logits, sampled", "logits, beam search", "text, greedy")


class Answers:
    """Answers of one model to `count` prompts, alone and under so much load that they are interrupted."""

    def __init__(self, model: Path, folder: Path, count: int) -> None:
        self._model, self._folder, self._count = model, folder, count
        self._states = 0

    async def table(self) -> list[dict[str, Any]]:
        """A row for each kind: exact matches, BLEU, and how often answers were interrupted."""
        rows: list[dict[str, Any]] = []
        for kind in KINDS:
            calls = [asked(number, kind) for number in range(self._count)]
            async with self._kernel(kind, quantum=10**6) as kernel:
                alone, _ = await said(kernel, calls, 1)
            async with self._kernel(kind, quantum=QUANTUM) as kernel:
                together, interrupts = await said(kernel, calls, TOGETHER)
            same = sum(a == b for a, b in zip(alone, together, strict=True))
            row = {
                "kind": kind, "answers": len(calls), "exact": same, "bleu": round(bleu(together, alone), 6),
                "interrupts": interrupts,
            }  # fmt: skip
            rows.append(row)
            print(f"  {kind}: {same}/{len(calls)} exact, BLEU {row['bleu']:.4f}, {interrupts} interrupts")
        return rows

    @asynccontextmanager
    async def _kernel(self, kind: str, *, quantum: int) -> AsyncGenerator[Kernel]:
        self._states += 1
        tables: dict[str, Any] = {
            "state": {"dir": str(self._folder / str(self._states))},
            "scheduler": {"policy": "rr", "quantum_tokens": quantum},
            "server": {"drain_s": 0},
        }
        threads = len(os.sched_getaffinity(0))
        if not kind.startswith("text"):
            core = {
                "name": "main", "model": str(self._model), "slots": 4, "context": 512, "threads": threads,
                "deterministic": True,
            }  # fmt: skip
            async with Kernel(parse({**tables, "cores": [core]})) as kernel:
                yield kernel
            return
        options = NativeOptions(
            model=str(self._model), slots=1, context=2048, threads=threads, cache_ram_mb=0, http_threads=16
        )
        async with native_server(options) as url:
            core = {
                "name": "engine", "kind": "openai", "base_url": f"{url}/v1", "window": 1, "continues": True,
            }  # fmt: skip
            async with Kernel(parse({**tables, "cores": [core]})) as kernel:
                yield kernel


def asked(number: int, kind: str) -> Generate:
    """Prompt `number`; each its own."""
    words = " ".join(WORDS[(number * 7 + i * i) % len(WORDS)] for i in range(6))
    sampling = Sampling(temperature=0.8, seed=number)
    if "beam" in kind:
        sampling = Sampling(num_beams=3)
    elif "greedy" in kind:
        sampling = Sampling(temperature=0.0)
    message = Message(role="user", content=f"Tell a short story with these words: {words}.")
    return Generate(messages=(message,), sampling=sampling, max_tokens=TOKENS)


async def said(kernel: Kernel, calls: Sequence[Generate], together: int) -> tuple[list[str], int]:
    """The answers, `together` of them under way at a time, and how often they were interrupted."""
    turn = asyncio.Semaphore(together)

    async def one(number: int, call: Generate) -> tuple[str, int]:
        async with turn:
            done = await kernel.trap(kernel.processes.attach(f"agent-{number}"), call)
        assert isinstance(done, Completion)
        return done.choices[0].content or "", done.timings.interrupts

    found = await asyncio.gather(*(one(number, call) for number, call in enumerate(calls)))
    return [text for text, _ in found], sum(interrupts for _, interrupts in found)
