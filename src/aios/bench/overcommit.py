"""More agents than memory: what a core may take, what it took, and what became of the agents."""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from aios.bench.sessions import INSTRUCTIONS, WORDS
from aios.config import parse
from aios.cores.llama.core import LlamaCore
from aios.errors import AiosError
from aios.events import ContextMoved, EventBus
from aios.kernel.kernel import Kernel
from aios.models.store import ModelStore
from aios.syscalls import Completion, Generate, Message, Sampling

TIMES = (1, 3, 10)
"""Of the parking memory: how much the contexts of all agents are together, about."""
RAM_MB = 48.0
SLOTS, CONTEXT = 4, 4096
TURNS, WORDS_EACH, ANSWER = 3, 60, 16
"""Of one agent: turns, words it says in each, tokens of an answer."""
TOKENS_EACH = 400
"""Of a context in the end, about; a row tells how many bytes all took."""


async def overcommit(
    model: Path, folder: Path, *, ram_mb: float = RAM_MB, times: Sequence[int] = TIMES, seed: int = 1
) -> list[dict[str, Any]]:
    """One row for each of `times`, in MB: `contexts_mb` all contexts in the end, `promised_mb` what the core
    says that it may take, `peak_mb` the most that its worker had resident, its Python included."""
    rows: list[dict[str, Any]] = []
    for each in times:
        row = {"times": each, **await _served(model, folder / f"memory-{each}", ram_mb, each, seed)}
        rows.append(row)
        print(
            f"  {row['agents']} agents with {row['contexts_mb']:.0f} MB of contexts, {ram_mb:g} MB for them: "
            f"{row['answered']} answers, {row['failed']} errors, at most {row['peak_mb']:.0f} of "
            f"{row['promised_mb']:.0f} MB, {row['moved']}"
        )
    return rows


async def _served(model: Path, state: Path, ram_mb: float, times: int, seed: int) -> dict[str, Any]:
    table: dict[str, Any] = {
        "name": "main", "model": str(model), "slots": SLOTS, "context": CONTEXT, "kv_ram_mb": ram_mb,
    }  # fmt: skip
    settings = parse({"state": {"dir": str(state)}, "cores": [table]})
    core = LlamaCore(settings.cores[0], EventBus(), store=ModelStore())
    async with Kernel(settings, cores=[core]) as kernel:
        spec = core.capabilities.contexts
        assert spec is not None  # an embedded core keeps contexts
        each = spec.bytes_base + TOKENS_EACH * spec.bytes_per_token
        agents = max(SLOTS, round(times * spec.ram_bytes / each))
        pids = [kernel.processes.attach(f"agent-{number}") for number in range(agents)]
        began = time.perf_counter()
        with kernel.bus.subscribe(100_000) as events:
            talks = await asyncio.gather(*(_talk(kernel, pid, seed) for pid in pids))
            moved = Counter(event.where for event in events.unread() if isinstance(event, ContextMoved))
        ends = [end for talk in talks for end in talk]
        kept = [(await kernel.composition(pid)).stats.bytes for pid in pids]
        return {
            "agents": agents, "makespan_s": round(time.perf_counter() - began, 1),
            "answered": ends.count(""), "failed": len(ends) - ends.count(""),
            "errors": sorted(set(ends) - {""}), "contexts_mb": round(sum(kept) / 2**20, 1),
            "ram_mb": spec.ram_bytes / 2**20, "promised_mb": round(core.promised / 2**20, 1),
            "peak_mb": round(_peak(core.worker_pid) / 2**20, 1), "moved": dict(moved),
        }  # fmt: skip


async def _talk(kernel: Kernel, pid: int, seed: int) -> list[str]:
    """An agent's turns: "" for an answer, else the code of the error."""
    draw, ends = random.Random(f"{seed} {pid}"), list[str]()
    talk = [Message(role="system", content=INSTRUCTIONS)]
    for _ in range(TURNS):
        talk.append(Message(role="user", content=" ".join(draw.choices(WORDS, k=WORDS_EACH))))
        call = Generate(
            messages=tuple(talk),
            max_tokens=ANSWER,
            sampling=Sampling(temperature=0.0),
            extra={"ignore_eos": True},
        )
        try:
            done = await kernel.trap(pid, call)
        except AiosError as error:
            return [*ends, error.code]
        assert isinstance(done, Completion)
        ends.append("")
        talk.append(Message(role="assistant", content=done.choices[0].content))
    return ends


def _peak(pid: int) -> int:
    """The most resident memory that a process had, bytes."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    return 0


def plot(axes: Any, rows: list[dict[str, Any]]) -> None:
    """What all would take, what was promised, and the most that was taken."""
    places = range(len(rows))
    base = [row["promised_mb"] - row["ram_mb"] for row in rows]
    bars = (
        ("model, slots and all contexts", [a + row["contexts_mb"] for a, row in zip(base, rows, strict=True)]),
        ("promised", [row["promised_mb"] for row in rows]),
        ("most that was resident", [row["peak_mb"] for row in rows]),
    )
    for index, (label, values) in enumerate(bars):
        drawn = axes.bar([place + (index - 1) * 0.27 for place in places], values, 0.25, label=label)
        axes.bar_label(drawn, fmt="%.0f", fontsize=8, padding=2)
    axes.set_xticks(
        list(places),
        [f"{row['agents']} agents\n{row['answered']} answers, {row['failed']} errors" for row in rows],
    )
    axes.margins(y=0.15)
    axes.set_ylabel("MB")
    axes.set_title(f"more agents than memory: {RAM_MB:.0f} MB for contexts (one run each)", fontsize=10)
    axes.legend(fontsize=8, loc="upper left")
