"""`aios bench neighbours`: what others' load does to an agent, under `fifo` and under the default policy.

Three loads on the real engine: one heavy agent beside fifteen light ones; groups of unequal weight that all
want more than there is; and a person who waits while batch work floods the core."""

from __future__ import annotations

import asyncio
import os
import random
import statistics
import tempfile
import time
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from rich.console import Console

from aios.bench.progress import Progress
from aios.bench.report import machine, percentile, save_figure, spread, write_result
from aios.bench.sessions import INSTRUCTIONS, WORDS
from aios.config import parse
from aios.events import SyscallFinished
from aios.kernel.kernel import Kernel
from aios.models.store import ModelStore
from aios.syscalls import Completion, Generate, Message, Sampling, SchedulingClass
from aios.telemetry.plots import plotting

MODEL = "smollm2-135m-instruct"
POLICIES = ("fifo", "composed")
SLOTS, QUANTUM = 4, 64
WEIGHTS: Mapping[str, float] = {"one": 1.0, "uno": 1.0, "two": 2.0, "four": 4.0}
PAUSE_S = 10.0
"""Mean time between two calls of a light agent. Of fifteen of them alone half of the calls wait for nobody."""
TYPED, FLOOD_S = 12, 60.0
"""Most interactive calls in a flood, and how long it lasts; a third of them are made however long they wait."""
STEP_S = 0.2
"""The longest engine step: a chunk of a prompt beside the decoding slots (`switch` and `engine` measure it)."""


def run(out: Path, *, model: str = MODEL, quick: bool = False, seeds: int = 5, **_: Any) -> None:
    """Measure and write `result.json` and `plot.png` to `out`. `seeds`: repetitions. What is done is kept in
    `progress.jsonl`, so that a run that was stopped goes on where it was."""
    plotting()  # whoever has no matplotlib should know before, not after
    before, progress = machine(), Progress(out / "progress.jsonl")
    with tempfile.TemporaryDirectory(prefix="aios-neighbours-") as folder:
        street = Street(ModelStore().resolve(model), Path(folder), quick=quick)
        rows = asyncio.run(street.all(1 if quick else seeds, progress))
    result = {
        "bench": "neighbours", "model": model, "seeds": seeds, "slots": SLOTS, "quantum": QUANTUM,
        "summary": summary(rows), "rows": rows, **before,
    }  # fmt: skip
    write_result(out, result)
    plot(out / "plot.png", result)
    progress.over()


class Street:
    """The loads, each on a kernel of its own."""

    def __init__(self, model: Path, folder: Path, *, quick: bool) -> None:
        self._model, self._folder, self._quick = model, folder, quick
        self._states = 0

    async def all(self, seeds: int, progress: Progress) -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = []
        for seed in range(1, seeds + 1):
            for policy in POLICIES:
                row = progress.find(policy=policy, seed=seed)
                if row is None:
                    row = await self._row(policy, seed)
                    progress.add(row)
                rows.append(row)
                Console().print(
                    f"seed {seed}, {policy:9} light p99 wait {row['light_wait_p99_s']:.2f} s, "
                    f"Jain {row['jain']:.3f}, interactive p99 wait {row['interactive_wait_p99_s']:.2f} s"
                )
        return rows

    async def _row(self, policy: str, seed: int) -> dict[str, Any]:
        row: dict[str, Any] = {"policy": policy, "seed": seed}
        for load in (self._noisy, self._shares, self._flood):
            async with self._kernel({"policy": policy}) as kernel:
                row |= await load(kernel, seed)
        return row

    async def flood(self, scheduler: Mapping[str, Any], seed: int) -> dict[str, Any]:
        """Someone who types while batch work keeps the core busy, under a table `[scheduler]`."""
        async with self._kernel(scheduler) as kernel:
            return await self._flood(kernel, seed)

    @asynccontextmanager
    async def _kernel(self, scheduler: Mapping[str, Any]) -> AsyncGenerator[Kernel]:
        self._states += 1
        core = {
            "name": "main", "model": str(self._model), "slots": SLOTS, "context": 1024,
            "threads": len(os.sched_getaffinity(0)),
        }  # fmt: skip
        settings = parse(
            {
                "state": {"dir": str(self._folder / str(self._states))},
                "scheduler": {"quantum_tokens": QUANTUM, **scheduler},
                "groups": [{"name": name, "weight": weight} for name, weight in WEIGHTS.items()],
                "cores": [core],
                "server": {"drain_s": 0},
            }
        )
        async with Kernel(settings) as kernel:
            yield kernel

    async def _noisy(self, kernel: Kernel, seed: int) -> dict[str, Any]:
        """One agent sends long calls, many at a time; fifteen make short ones now and then."""
        draw = random.Random(seed)
        over = asyncio.Event()
        waits: list[float] = []

        async def heavy() -> None:
            pid = kernel.processes.attach("heavy", group="heavy")
            while not over.is_set():
                await ask(kernel, pid, words(draw, 150), 64)

        async def light(number: int) -> None:
            pid = kernel.processes.attach(f"light-{number}", group=f"light-{number}")
            for _ in range(1 if self._quick else 2):
                await asyncio.sleep(draw.expovariate(1 / PAUSE_S))
                waits.append((await ask(kernel, pid, words(draw, 20), 16)).timings.queue_s)

        loud = [asyncio.create_task(heavy()) for _ in range(12)]
        await asyncio.sleep(2.0)
        await asyncio.gather(*(light(number) for number in range(15)))
        over.set()
        await cancelled(loud)
        return {"light_wait_p50_s": percentile(waits, 0.5), "light_wait_p99_s": percentile(waits, 0.99)}

    async def _shares(self, kernel: Kernel, seed: int) -> dict[str, Any]:
        """Tokens computed for groups that always want more, over their weights: Jain's index (Jain et al. 1984;
        1.0 is exactly fair)."""
        draw = random.Random(seed)
        served: dict[str, int] = dict.fromkeys(WEIGHTS, 0)
        group_of: dict[int, str] = {}

        async def greedy(group: str, number: int) -> None:
            pid = kernel.processes.attach(f"{group}-{number}", group=group)
            group_of[pid] = group
            while True:
                await ask(kernel, pid, words(draw, draw.randint(10, 60)), draw.randint(16, 64))

        with kernel.bus.subscribe(100_000) as events:
            calls = [asyncio.create_task(greedy(group, n)) for group in WEIGHTS for n in range(6)]
            await asyncio.sleep(5.0 if self._quick else 20.0)
            for event in events.unread():
                if isinstance(event, SyscallFinished) and event.pid in group_of:
                    done = event.prompt_tokens - event.cached_tokens + event.completion_tokens
                    served[group_of[event.pid]] += done
            await cancelled(calls)
        shares = [served[group] / weight for group, weight in WEIGHTS.items()]
        squares = len(shares) * sum(share**2 for share in shares)
        return {"jain": sum(shares) ** 2 / squares if squares else 0.0, "served": served}

    async def _flood(self, kernel: Kernel, seed: int) -> dict[str, Any]:
        """Someone types while batch work keeps the core busy."""
        draw = random.Random(seed)
        decoded: list[float] = []

        async def batch(number: int) -> None:
            pid = kernel.processes.attach(f"batch-{number}")
            while True:
                done = await ask(kernel, pid, words(draw, 60), 192, "batch")
                decoded.append(done.usage.completion_tokens / max(1e-6, done.timings.run_s))

        calls = [asyncio.create_task(batch(number)) for number in range(12)]
        await asyncio.sleep(2.0)
        pid, waits = kernel.processes.attach("person"), list[float]()
        over, most = time.monotonic() + FLOOD_S, 4 if self._quick else TYPED
        while len(waits) < most and (time.monotonic() < over or len(waits) < most // 3):
            waits.append((await ask(kernel, pid, words(draw, 15), 12, "interactive")).timings.queue_s)
            await asyncio.sleep(draw.uniform(0.2, 1.0))
        await cancelled(calls)
        quantum_s = QUANTUM / statistics.mean(decoded) if decoded else 0.0
        return {
            "interactive_wait_p50_s": percentile(waits, 0.5),
            "interactive_wait_p99_s": percentile(waits, 0.99),
            "quantum_s": quantum_s,
            "bound_s": 2 * quantum_s + STEP_S,
        }


async def ask(
    kernel: Kernel, pid: int, text: str, tokens: int, scheduling_class: SchedulingClass = "normal"
) -> Completion:
    """One call of forced length."""
    messages = (Message(role="system", content=INSTRUCTIONS), Message(role="user", content=text))
    call = Generate(
        messages=messages, max_tokens=tokens, sampling=Sampling(temperature=0.0), extra={"ignore_eos": True},
        scheduling_class=scheduling_class,
    )  # fmt: skip
    done = await kernel.trap(pid, call)
    assert isinstance(done, Completion)
    return done


def words(draw: random.Random, count: int) -> str:
    return " ".join(draw.choice(WORDS) for _ in range(count))


async def cancelled(tasks: Sequence[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)
    await asyncio.sleep(0.3)  # until their slots are free


def summary(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Medians of each policy with the range, and how many times less than under `fifo` light agents wait."""
    found: list[dict[str, Any]] = []
    names = ("light_wait_p50_s", "light_wait_p99_s", "jain", "interactive_wait_p99_s", "bound_s")
    for policy in POLICIES:
        mine = [row for row in rows if row["policy"] == policy]
        entry: dict[str, Any] = {"policy": policy}
        for name in names:
            values = [row[name] for row in mine]
            entry |= {name: statistics.median(values), f"{name}_range": [min(values), max(values)]}
        gains = [
            base["light_wait_p99_s"] / row["light_wait_p99_s"]
            for row in mine for base in rows
            if base["policy"] == "fifo" and base["seed"] == row["seed"] and row["light_wait_p99_s"]
        ]  # fmt: skip
        entry["light_gain_over_fifo"] = round(statistics.median(gains), 2) if gains else None
        found.append(entry)
    return found


def plot(path: Path, result: dict[str, Any]) -> None:
    """Waits of light and interactive agents, and fairness, under each policy."""
    figure, axes = plotting().subplots(1, 3, figsize=(14, 4.4))
    panels = (
        ("light_wait_p99_s", "15 light agents beside a heavy one", "p99 wait of the light ones, s"),
        ("jain", "groups of unequal weight that all want more", "Jain's index of tokens over weight (1: fair)"),
        ("interactive_wait_p99_s", "a person in a flood of batch work", "p99 wait of interactive calls, s"),
    )
    rows = result["summary"]
    for ax, (name, title, unit) in zip(axes, panels, strict=True):
        bars = ax.bar(
            [row["policy"] for row in rows],
            [row[name] for row in rows],
            0.6,
            yerr=spread(rows, name),
            capsize=3,
        )
        ax.bar_label(bars, fmt="%.3f" if name == "jain" else "%.2f", fontsize=8, padding=2)
        ax.margins(y=0.12)
        ax.set_title(title, fontsize=10)
        ax.set_ylabel(unit)
    bound = rows[-1]["bound_s"]
    axes[2].axhline(bound, linewidth=0.9, linestyle="--", color="black")
    told = f"two quanta and a step: {bound:.1f} s"
    axes[2].text(len(rows) - 1, bound, told, fontsize=8, ha="center", va="bottom")
    figure.suptitle(f"{result['model']}, {result['slots']} slots, {result['seeds']} seeds: median and range")
    save_figure(figure, path)
