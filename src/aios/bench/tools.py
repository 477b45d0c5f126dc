"""`aios bench tools`: what a call of a tool costs, what conflict handling gains, and how fast a box is.

Null tool: calls a second of a tool that does nothing, by one and many agents at once, in process: of the tool
manager alone, and by system call through the kernel, as a tool without effect (recorded as it goes) and as one
that may have some (on disk as started before it runs). Conflicts:
agents call tools of which some take one call at a time, others one a resource; the same load is run under the
table of running calls and under one global lock, the plainest way to be safe. Boxes: the first call of an agent
(a new box) and the later ones, of Python, a Python session and a shell command.
"""

from __future__ import annotations

import asyncio
import random
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from aios.bench.nullcore import NullCore
from aios.bench.report import machine, percentile, save_bars, write_result
from aios.config import parse
from aios.kernel.kernel import Kernel
from aios.syscalls import FunctionCall, ToolCall
from aios.syscalls.tools import CallTool, Profile
from aios.tools.builtin.boxed import BoxedTools
from aios.tools.manager import ToolManager
from aios.tools.sandbox.chain import find
from aios.tools.tool import Bound, Caller, tool

CROWDS = (1, 16, 250)
WORK_S = 0.002
"""How long a call of the conflict load runs: it waits, as for a disk or a service."""
PACKAGE = """
from aios.tools.tool import tool

@tool(effect="pure")
def quiet(n: int = 0) -> int:
    "Do nothing."
    return n

@tool(effect="opaque")
def marked(n: int = 0) -> int:
    "Do nothing, as if it were something."
    return n
"""
Call = Callable[[ToolCall, Caller], Awaitable[Any]]


def run(out: Path, *, quick: bool = False, seeds: int = 5, **_: Any) -> None:
    """Measure and write `result.json` and `plot.png` to `out`."""
    before = machine()
    result = asyncio.run(_measure(quick, 1 if quick else seeds))
    write_result(out, {"bench": "tools", "seeds": seeds, **result, **before})
    boxes = result["boxes"]["calls"]
    save_bars(
        out / "plot.png",
        title=f"A call in a box ({result['boxes']['sandbox']})",
        labels=list(boxes),
        series={name: [row[f"{name}_ms"] for row in boxes.values()] for name in ("p50", "p99")},
        unit="ms",
        log=True,
    )


async def _measure(quick: bool, seeds: int) -> dict[str, Any]:
    calls = 2_000 if quick else 20_000
    null = [await _null(agents, calls) for agents in CROWDS for _ in range(seeds)]
    traps = [
        await _trapped(agents, calls // share, name)
        for name, share in (("quiet", 4), ("marked", 10))
        for agents in CROWDS
        for _ in range(seeds)
    ]
    conflicts = [await _conflicts(seed, 20 if quick else 50) for seed in range(seeds)]
    return {
        "null": [_best(agents, "manager", null) for agents in CROWDS],
        "trap": [_best(agents, name, traps) for name in ("quiet", "marked") for agents in CROWDS],
        "conflicts": {
            "table_s": percentile([row[0] for row in conflicts], 0.5),
            "lock_s": percentile([row[1] for row in conflicts], 0.5),
            "gain": percentile([row[1] / row[0] for row in conflicts], 0.5),
            "runs": conflicts,
        },
        "boxes": await _boxes(20 if quick else 200, 5 if quick else 30),
    }


@tool(effect="pure")
def null(n: int = 0) -> int:
    """Do nothing."""
    return n


def _call(name: str, arguments: str = "{}") -> ToolCall:
    return ToolCall(id="bench", function=FunctionCall(name=name, arguments=arguments))


def _callers(count: int, folder: str = "/nowhere") -> list[Caller]:
    return [Caller(agent=f"agent-{i:03}", folder=f"{folder}/{i:03}") for i in range(count)]


async def _null(agents: int, calls: int) -> dict[str, Any]:
    async with ToolManager() as tools:
        tools.add(null)
        seconds = await _drive(
            tools.call, _callers(agents), [[_call("null", '{"n": 1}')] * (calls // agents)] * agents
        )
    return {"agents": agents, "way": "manager", "per_s": calls // agents * agents / seconds}


async def _trapped(agents: int, calls: int, name: str) -> dict[str, Any]:
    """By system call: `quiet` is pure, `marked` is on disk as started before it runs."""
    with tempfile.TemporaryDirectory(prefix="aios-bench-") as folder:
        _package(Path(folder, "null"))
        source = {"name": "null", "kind": "package", "path": f"{folder}/null"}
        settings = parse({"state": {"dir": f"{folder}/state"}, "tools": {"sources": [source]}})
        async with Kernel(settings, cores=[NullCore()]) as kernel:
            pids = [kernel.processes.attach(f"agent-{i:03}") for i in range(agents)]
            call = CallTool(name=f"null__{name}", arguments='{"n": 1}')
            await kernel.trap(pids[0], call)

            async def drive(pid: int) -> None:
                for _ in range(calls // agents):
                    await kernel.trap(pid, call)

            began = time.perf_counter()
            async with asyncio.TaskGroup() as tasks:
                for pid in pids:
                    tasks.create_task(drive(pid))
            seconds = time.perf_counter() - began
    return {"agents": agents, "way": name, "per_s": calls // agents * agents / seconds}


def _package(folder: Path) -> None:
    folder.mkdir()
    (folder / "tool.toml").write_text('name = "null"\nversion = "1"\n')
    (folder / "tools.py").write_text(PACKAGE)


def _best(agents: int, way: str, rows: list[dict[str, Any]]) -> dict[str, Any]:
    rates = [row["per_s"] for row in rows if (row["agents"], row["way"]) == (agents, way)]
    row = {"agents": agents, "way": way, "per_s": percentile(rates, 0.5), "range": [min(rates), max(rates)]}
    print(f"  null tool, {way:7} {agents:3} agents: {row['per_s']:8.0f} calls/s")
    return row


async def _drive(call: Call, callers: list[Caller], plans: list[list[ToolCall]]) -> float:
    """Every caller makes its calls one after the other, all callers at once; seconds."""

    async def drive(caller: Caller, plan: list[ToolCall]) -> None:
        for one in plan:
            await call(one, caller)

    began = time.perf_counter()
    async with asyncio.TaskGroup() as tasks:
        for caller, plan in zip(callers, plans, strict=True):
            tasks.create_task(drive(caller, plan))
    return time.perf_counter() - began


def _limited() -> list[Bound]:
    @tool(concurrency=1)
    async def printer() -> str:
        """Take one call at a time."""
        await asyncio.sleep(WORK_S)
        return "done"

    @tool(concurrency=4)
    async def service() -> str:
        """Take four calls at a time."""
        await asyncio.sleep(WORK_S)
        return "done"

    @tool(keys=lambda caller, arguments: frozenset({f"file:{arguments['file']}"}))
    async def write(file: str) -> str:
        """Have one writer a file."""
        await asyncio.sleep(WORK_S)
        return file

    return [printer, service, write]


async def _conflicts(seed: int, each: int) -> tuple[float, float]:
    """Seconds of one load: under the table, and under one lock."""
    rng = random.Random(seed)
    kinds = ("printer", "service", "service", "service", "write", "write", "write", "write")

    def one() -> ToolCall:
        kind = rng.choice(kinds)
        return _call(kind, f'{{"file": "{rng.randrange(12)}"}}' if kind == "write" else "{}")

    callers = _callers(16)
    plans = [[one() for _ in range(each)] for _ in callers]
    lock = asyncio.Lock()
    async with ToolManager() as tools:
        for bound in _limited():
            tools.add(bound)

        async def locked(call: ToolCall, caller: Caller) -> None:
            async with lock:
                await tools.call(call, caller)

        table, alone = await _drive(tools.call, callers, plans), await _drive(locked, callers, plans)
    print(f"  conflicts: {table:.2f} s with the table, {alone:.2f} s with one lock: {alone / table:.1f}x")
    return table, alone


async def _boxes(warm: int, cold: int) -> dict[str, Any]:
    sandbox = await find()
    kinds = {
        "python": _call("python", '{"code": "6 * 7"}'),
        "session": _call("python", '{"code": "x = globals().get(\'x\', 0) + 1; x", "session": true}'),
        "shell": _call("shell", '{"command": "true"}'),
    }
    with tempfile.TemporaryDirectory(prefix="aios-bench-") as folder:
        async with ToolManager() as tools:
            for bound in BoxedTools(Profile()).tools():
                tools.add(bound)
            callers = _callers(cold, folder)
            await tools.call(
                kinds["python"], Caller(agent="first", folder=f"{folder}/first")
            )  # finds the sandbox
            found = {"new box": [await _timed(tools.call, kinds["python"], caller) for caller in callers]}
            for name, call in kinds.items():
                await tools.call(call, callers[-1])
                found[name] = [await _timed(tools.call, call, callers[-1]) for _ in range(warm)]
    rows = {name: _row(name, times) for name, times in found.items()}
    return {"sandbox": sandbox.name, "calls": rows}


async def _timed(call: Call, one: ToolCall, caller: Caller) -> float:
    began = time.perf_counter()
    await call(one, caller)
    return (time.perf_counter() - began) * 1000


def _row(name: str, times: list[float]) -> dict[str, Any]:
    row = {"p50_ms": percentile(times, 0.5), "p99_ms": percentile(times, 0.99), "calls": len(times)}
    print(f"  {name:8} p50 {row['p50_ms']:6.2f} ms  p99 {row['p99_ms']:6.2f} ms")
    return row
