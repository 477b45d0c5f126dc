"""`aios bench scale`: many agents on one kernel, with its journal and its events on.

Three questions: how many syscalls a second the kernel itself can do (a core that answers nothing), what an
agent costs that does nothing (resident memory of the process, before and after), and how time and waits grow
with the number of agents on a real engine with a tiny random model, in process and through HTTP.
"""

from __future__ import annotations

import asyncio
import ctypes
import gc
import os
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
import numpy as np

from aios.bench.daemon import serving
from aios.bench.nullcore import NullCore
from aios.bench.report import machine, percentile, write_result
from aios.bench.tiny import write_tiny_gguf
from aios.config import Settings, parse
from aios.errors import CoreUnavailable
from aios.kernel.kernel import Kernel
from aios.syscalls import Completion, Generate, Message, Sampling
from aios.telemetry.plots import plotting

AGENTS = (250, 500, 1000, 2000, 5000, 10_000)
QUICK = (50, 100, 200)
ANSWER_TOKENS = 8
SLOTS = 16
PROMPT = "agent {0} asks what the others found in the files, and whether there is more to read " * 2


def run(out: Path, *, quick: bool = False, seeds: int = 3, **_: Any) -> None:
    """Measure and write `result.json` and `plot.png` to `out`. `seeds`: repetitions."""
    import uvloop

    plotting()  # whoever has no matplotlib should know before, not after
    repeats = 1 if quick else seeds
    before = machine()
    with tempfile.TemporaryDirectory(prefix="aios-scale-") as folder:
        work = Work(Path(folder), QUICK if quick else AGENTS, repeats)
        result: dict[str, Any] = {
            "bench": "scale", "repeats": repeats, "slots": SLOTS, "answer_tokens": ANSWER_TOKENS,
            "null": uvloop.run(work.null()), "idle": uvloop.run(work.idle()),
            "engine": uvloop.run(work.engine()), **before,
        }  # fmt: skip
    result["fits"] = {way: fit([r for r in result["engine"] if r["way"] == way]) for way in ("process", "http")}
    for way, line in result["fits"].items():
        print(f"  {way}: {1e3 * line['s_per_agent']:.2f} ms an agent + {line['s']:.2f} s, R² {line['r2']:.4f}")
    write_result(out, result)
    plot(out / "plot.png", result)


class Work:
    """What is measured, each part with kernels of its own below `folder`."""

    def __init__(self, folder: Path, agents: Sequence[int], repeats: int) -> None:
        self._folder, self._agents, self._repeats = folder, agents, repeats
        self._states = 0

    def _settings(self, **tables: Any) -> Settings:
        self._states += 1
        processes = {"max_processes": 2 * max(self._agents)}
        return parse(
            {"state": {"dir": str(self._folder / str(self._states))}, "processes": processes, **tables}
        )

    async def null(self) -> list[dict[str, Any]]:
        """Calls a second at 1, 16 and 250 callers on a core that answers nothing."""
        rows: list[dict[str, Any]] = []
        for callers in (1, 16, 250):
            rates: list[float] = []
            for _ in range(self._repeats):
                async with Kernel(self._settings(), cores=[NullCore()]) as kernel:
                    pids = [kernel.processes.attach(f"agent-{i}") for i in range(callers)]
                    each = max(1, 20_000 // callers)

                    async def agent(kernel: Kernel, pid: int, times: int) -> None:
                        call = Generate(messages=(Message(role="user", content="?"),))
                        for _ in range(times):
                            await kernel.trap(pid, call)

                    await asyncio.gather(*(agent(kernel, pid, 10) for pid in pids))
                    began = time.perf_counter()
                    await asyncio.gather(*(agent(kernel, pid, each) for pid in pids))
                    rates.append(callers * each / (time.perf_counter() - began))
            row = {"callers": callers, "calls_s": statistics.median(rates)}
            rows.append({**row, "calls_s_range": [min(rates), max(rates)]})
            print(f"  null core, {callers:3} callers: {row['calls_s']:.0f} calls/s")
        return rows

    async def idle(self) -> dict[str, Any]:
        """Bytes of resident memory for each process that made a call once."""
        count = max(self._agents)
        async with Kernel(self._settings(), cores=[NullCore()]) as kernel:
            call = Generate(messages=(Message(role="user", content="?"),))

            async def one(number: int) -> None:
                await kernel.trap(kernel.processes.attach(f"agent-{number}"), call)

            for _ in range(count):  # the ring of events and all pools are full after this
                await kernel.trap(kernel.processes.attach("warm"), call)
            before = resident()
            for number in range(count):
                await one(number)
            each = (resident() - before) / count
        print(f"  idle agents: {each / 1e3:.1f} kB each, of {count}")
        return {"agents": count, "bytes_each": each}

    async def engine(self) -> list[dict[str, Any]]:
        """All agents make one call at once, on the real engine."""
        model = write_tiny_gguf(self._folder / "tiny.gguf")
        rows: list[dict[str, Any]] = []
        for agents in self._agents:
            for way, serve in (("process", self._inside), ("http", self._outside)):
                for seed in range(1, self._repeats + 1):
                    row = {"way": way, "agents": agents, "seed": seed, **await serve(model, agents, seed)}
                    rows.append(row)
                    print(
                        f"  {agents:5} agents, {way:7} {row['makespan_s']:.2f} s, "
                        f"wait p50 {row['wait_p50_s']:.2f}, p99 {row['wait_p99_s']:.2f} s"
                    )
        return rows

    async def _inside(self, model: Path, agents: int, seed: int) -> dict[str, Any]:
        settings = self._settings(cores=[{"name": "tiny", "model": str(model), "slots": SLOTS, "context": 512}])
        async with Kernel(settings) as kernel:

            async def one(number: int) -> float:
                pid = kernel.processes.attach(f"agent-{number}")
                done = await kernel.trap(pid, asked(number, seed))
                assert isinstance(done, Completion)
                return done.timings.queue_s

            return await crowd(one, agents)

    async def _outside(self, model: Path, agents: int, seed: int) -> dict[str, Any]:
        self._states += 1
        tables = (
            f"[processes]\nmax_processes = {2 * max(self._agents)}\n"
            f'[[cores]]\nname = "tiny"\nmodel = "{model}"\nslots = {SLOTS}\ncontext = 512\n'
        )
        folder = self._folder / str(self._states)
        folder.mkdir()
        limits = aiohttp.TCPConnector(limit=0)
        patience = aiohttp.ClientTimeout(total=None)
        async with (
            serving(folder, tables) as url,
            aiohttp.ClientSession(connector=limits, timeout=patience) as http,
        ):

            async def one(number: int) -> float:
                call = asked(number, seed)
                sent = {
                    "messages": [{"role": "user", "content": call.messages[0].content}],
                    "max_tokens": ANSWER_TOKENS, "temperature": 0.0, "ignore_eos": True,
                }  # fmt: skip
                headers = {"X-Agent-Id": f"agent-{number}", "Content-Type": "application/json"}
                target = f"{url}/v1/chat/completions"
                async with http.post(target, data=msgspec.json.encode(sent), headers=headers) as response:
                    data = await response.read()
                if response.status != 200:
                    raise CoreUnavailable(f"A call was answered {response.status}: {data[:200]!r}.")
                return float(msgspec.json.decode(data)["timings"]["queue_s"])

            return await crowd(one, agents)


def asked(number: int, seed: int) -> Generate:
    """The one call of an agent."""
    text = PROMPT.format(f"{number} of {seed}")
    return Generate(
        messages=(Message(role="user", content=text),), max_tokens=ANSWER_TOKENS,
        sampling=Sampling(temperature=0.0), extra={"ignore_eos": True}, stream=False,
    )  # fmt: skip


async def crowd(one: Callable[[int], Awaitable[float]], agents: int) -> dict[str, Any]:
    """All at once: seconds until the last is done, and waits for a slot."""
    await one(agents)  # the first call of all pays for what is set up on demand
    began = time.perf_counter()
    waits = await asyncio.gather(*(one(number) for number in range(agents)))
    return {
        "makespan_s": round(time.perf_counter() - began, 3),
        "wait_mean_s": round(statistics.mean(waits), 3),
        "wait_p50_s": round(percentile(waits, 0.5), 3),
        "wait_p99_s": round(percentile(waits, 0.99), 3),
    }


def resident() -> int:
    """Resident memory of this process, bytes, after what is free was given back where the C library can."""
    gc.collect()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def fit(rows: Sequence[dict[str, Any]]) -> dict[str, float]:
    """Least squares line of the makespan over the number of agents."""
    x = np.array([row["agents"] for row in rows], dtype=np.float64)
    y = np.array([row["makespan_s"] for row in rows], dtype=np.float64)
    slope, base = np.polyfit(x, y, 1)
    left = float(((y - (slope * x + base)) ** 2).sum())
    spread = float(((y - y.mean()) ** 2).sum())
    return {"s_per_agent": float(slope), "s": float(base), "r2": 1.0 - left / spread if spread else 1.0}


def plot(path: Path, result: dict[str, Any]) -> None:
    """Makespan and mean wait over the number of agents, with the fitted lines."""
    pyplot = plotting()
    figure, axes = pyplot.subplots(1, 2, figsize=(11, 4.4))
    for ax, name in zip(axes, ("makespan_s", "wait_mean_s"), strict=True):
        for way in ("process", "http"):
            rows = [row for row in result["engine"] if row["way"] == way]
            counts = [row["agents"] for row in rows]
            ax.scatter(counts, [row[name] for row in rows], s=14, label=way)
            if name == "makespan_s":
                line = result["fits"][way]
                ax.plot(counts, [line["s"] + line["s_per_agent"] * n for n in counts], linewidth=0.8)
        ax.set_xlabel("agents, all at once")
        ax.set_ylabel(name.removesuffix("_s").replace("_", " ") + ", s")
        ax.legend()
    figure.suptitle(f"Tiny random model, {result['slots']} slots, {result['answer_tokens']} tokens an answer")
    figure.tight_layout()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120)
    pyplot.close(figure)
