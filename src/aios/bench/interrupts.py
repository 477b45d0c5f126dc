"""Is an interrupted answer the one that there would have been? Both kinds of interrupt, on real answers."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from aios.bench.bleu import bleu
from aios.bench.native_server import NativeOptions, native_server
from aios.bench.sessions import WORDS
from aios.config import parse
from aios.kernel.kernel import Kernel
from aios.syscalls import Completion, Generate, Message, Sampling

TOKENS = 16
QUANTUM = 4
TOGETHER = 6


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of interrupt. `text`: of an endpoint, which is the engine's own server; it answers in pieces of
    `piece` tokens (0: whole), and computes `batch` tokens together (0: as it likes)."""

    name: str
    sampling: Sampling
    text: bool = False
    piece: int = 0
    batch: int = 0


GREEDY, DRAWN = Sampling(temperature=0.0), Sampling(temperature=0.8)
KINDS = (
    Kind("logits, sampled", DRAWN),
    Kind("logits, beam search", Sampling(num_beams=3)),
    Kind("text, greedy", GREEDY, text=True),
    Kind("text, sampled", DRAWN, text=True),
    Kind("text in pieces, greedy", GREEDY, text=True, piece=QUANTUM, batch=1),
    Kind("text in pieces, sampled", DRAWN, text=True, piece=QUANTUM, batch=1),
)


class Answers:
    """Answers of one model to `count` prompts, alone and under so much load that they are interrupted."""

    def __init__(self, model: Path, folder: Path, count: int) -> None:
        self._model, self._folder, self._count = model, folder, count
        self._states = 0

    async def table(self) -> list[dict[str, Any]]:
        """A row for each kind: exact matches, BLEU, and how often answers were interrupted."""
        return [await self.row(kind) for kind in KINDS]

    async def row(self, kind: Kind) -> dict[str, Any]:
        """Of one kind."""
        calls = [asked(number, kind.sampling) for number in range(self._count)]
        async with self._kernel(kind, quantum=10**6) as kernel:
            alone, _ = await said(kernel, calls, 1)
        async with self._kernel(kind, quantum=QUANTUM) as kernel:
            together, interrupts = await said(kernel, calls, TOGETHER)
        same = sum(a == b for a, b in zip(alone, together, strict=True))
        row = {
            "kind": kind.name, "answers": len(calls), "exact": same, "bleu": round(bleu(together, alone), 6),
            "interrupts": interrupts,
        }  # fmt: skip
        print(f"  {kind.name}: {same}/{len(calls)} exact, BLEU {row['bleu']:.4f}, {interrupts} interrupts")
        return row

    @asynccontextmanager
    async def _kernel(self, kind: Kind, *, quantum: int) -> AsyncGenerator[Kernel]:
        self._states += 1
        tables: dict[str, Any] = {
            "state": {"dir": str(self._folder / str(self._states))},
            "scheduler": {"policy": "rr", "quantum_tokens": quantum},
            "server": {"drain_s": 0},
        }
        threads = len(os.sched_getaffinity(0))
        if not kind.text:
            core = {
                "name": "main", "model": str(self._model), "slots": 4, "context": 512, "threads": threads,
                "deterministic": True,
            }  # fmt: skip
            async with Kernel(parse({**tables, "cores": [core]})) as kernel:
                yield kernel
            return
        options = NativeOptions(
            model=str(self._model), slots=TOGETHER, context=512, threads=threads, cache_ram_mb=0,
            http_threads=16, batch=kind.batch,
        )  # fmt: skip
        async with native_server(options) as url:
            core = {
                "name": "engine", "kind": "openai", "base_url": f"{url}/v1", "window": 1, "continues": True,
                "piece_tokens": kind.piece,
            }  # fmt: skip
            async with Kernel(parse({**tables, "cores": [core]})) as kernel:
                yield kernel


def asked(number: int, sampling: Sampling) -> Generate:
    """Prompt `number`; each its own, and where something is drawn, from a seed of its own."""
    words = " ".join(WORDS[(number * 7 + i * i) % len(WORDS)] for i in range(6))
    if sampling.temperature and sampling.num_beams == 1:
        sampling = msgspec.structs.replace(sampling, seed=number)
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
