"""The ways to serve agents that benchmarks compare, each in an engine process of its own, started fresh.

`direct-retry`: the agents call the engine directly, as the AIOS paper describes today's practice: it has S
slots, keeps nothing between calls, refuses when its slots are taken, and agents back off and try again.
`direct-retry-cached`: the same with the engine's prompt cache. `engine-queue`: the engine's own queue with its
prompt cache in slots and RAM. `aios-POLICY`: the kernel; `aios-POLICY-bare`: without parking memory and swap,
as a queue before an engine has none; `aios-POLICY-plan`: agents declare what they will do; `aios-POLICY-warm`:
the kernel has served such agents before; `aios-POLICY-lru`: contexts lose their places by use alone;
`aios-POLICY-noswap`: what finds no place in RAM is dropped; `-unranked`, `-unpressed`, `-unpreempted`,
`-unshared`: without the order of programs, the rule for memory pressure, preemption, shared prefixes.

The same engine build, model file, threads, slots, window and exact settings everywhere.
"""

from __future__ import annotations

import tempfile
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from aios.bench.daemon import serving
from aios.bench.drive import Backoff, Gate, Mode
from aios.bench.native_server import NativeOptions, native_server

CONTEXT = 1024
BACKOFF = Backoff(base=0.25, cap=2.0)
"""The best of the sweep in benchmarks/results/demo/sweep."""


@dataclass(frozen=True, slots=True)
class Setup:
    """What all modes share. `context`: tokens a slot; `tables`: more configuration of the kernel, TOML."""

    model: str
    path: Path
    agents: int
    slots: int
    threads: int
    state: Path
    context: int = CONTEXT
    tables: str = ""


@asynccontextmanager
async def served(setup: Setup, mode: str, backoff: Backoff) -> AsyncGenerator[Mode]:
    """A server of that mode, for as long as the `async with` lasts. Raises what its start raises."""
    if mode.startswith("aios-"):
        async with serving(Path(tempfile.mkdtemp(dir=setup.state)), tables(setup, mode)) as url:
            yield Mode(mode, url, "kernel")
        return
    cached = mode != "direct-retry"
    options = NativeOptions(
        model=str(setup.path), slots=setup.slots, context=setup.context, threads=setup.threads,
        cache_ram_mb=1024 if cached else 0, http_threads=setup.agents + 8,
    )  # fmt: skip
    async with native_server(options) as url:
        extra = {"cache_prompt": cached}
        if mode == "engine-queue":
            yield Mode(mode, url, "engine", extra=extra)
        else:
            yield Mode(mode, url, "retry", gate=Gate(setup.slots), backoff=backoff, extra=extra)


def tables(setup: Setup, mode: str) -> str:
    """Configuration of a kernel that serves in that mode, TOML."""
    policy, *flags = mode.removeprefix("aios-").split("-")
    told = {
        "scheduler": [f'policy = "{policy}"'],
        "context": [f'eviction = "{"lru" if "lru" in flags else "waste"}"'],
        f"scheduler.options.{policy}": list[str](),
    }
    if {"bare", "noswap"} & set(flags):
        told["context"].append("swap_mb = 0")
    if "unshared" in flags:
        told["context"].append("share_prefixes = false")
    switches = (("unranked", "programs"), ("unpressed", "pressure"), ("unpreempted", "interrupts"))
    for flag, option in switches:
        if flag in flags:
            told[f"scheduler.options.{policy}"].append(f"{option} = false")
    sections = "".join(f"[{name}]\n" + "\n".join(lines) + "\n" for name, lines in told.items() if lines)
    return (
        f'{sections}[[cores]]\nname = "local"\nmodel = "{setup.path}"\n'
        f"slots = {setup.slots}\ncontext = {setup.context}\nthreads = {setup.threads}\n"
        f"{'kv_ram_mb = 0' if 'bare' in flags else ''}\n{setup.tables}"
    )
