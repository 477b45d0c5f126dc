"""How many syscalls a second the kernel itself can do, with its journal and its events on, and what became of
the records of them."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import time
from contextlib import closing
from pathlib import Path
from typing import Any

from aios.bench.nullcore import NullCore
from aios.bench.resident import resident
from aios.config import Settings
from aios.kernel.kernel import Kernel
from aios.syscalls import Generate, Message, Nice

CALLS = 20_000
"""Calls of one measurement, at least; each agent makes three at least."""
EVENTS = 8
"""That one call is told by."""


async def null_rate(settings: Settings, callers: int) -> dict[str, Any]:
    """Calls a second of so many agents that make one after the other, on a core that answers nothing.

    `on_disk_s`: how long after the last answer the last record was on disk, and `calls_s_on_disk` counts that
    time too. `trouble`: what the journal says of itself after the last answer; `records_lost`,
    `decisions_lost`: calls that were answered and are not in the journal as done, or not in the audit log."""
    async with Kernel(settings, cores=[NullCore()]) as kernel:
        pids = [kernel.processes.attach(f"agent-{number}") for number in range(callers)]
        each = max(3, CALLS // callers)
        await _rounds(kernel, pids, 1)
        began = time.perf_counter()
        await _rounds(kernel, pids, each)
        answered = time.perf_counter()
        trouble = kernel.status().journal
        await kernel.trap(pids[0], Nice(pid=pids[0], nice=1))  # on disk when it returns, and all before it
        settled = time.perf_counter()
    done, decided = _recorded(settings.state_dir() / "journal.db")
    calls = callers * each
    return {
        "calls": calls, "calls_s": round(calls / (answered - began)), "on_disk_s": round(settled - answered, 3),
        "calls_s_on_disk": round(calls / (settled - began)), "trouble": "" if trouble == "ok" else trouble,
        "records_lost": calls + callers - done, "decisions_lost": calls + callers - decided,
    }  # fmt: skip


async def idle_memory(settings: Settings, agents: int) -> dict[str, Any]:
    """Bytes of resident memory for each process that made one call: what the kernel has of it besides the
    contexts of a real core. The ring of events and all pools are full before."""
    async with Kernel(settings, cores=[NullCore()]) as kernel:
        warm = kernel.processes.attach("warm")
        await _rounds(kernel, [warm], 2 * settings.state.trace_events // EVENTS)
        before = resident(os.getpid())
        for number in range(agents):
            await _rounds(kernel, [kernel.processes.attach(f"agent-{number}")], 1)
        return {"bytes_each": round((resident(os.getpid()) - before) / agents)}


async def _rounds(kernel: Kernel, pids: list[int], times: int) -> None:
    async def agent(pid: int) -> None:
        call = Generate(messages=(Message(role="user", content="?"),))
        for _ in range(times):
            await kernel.trap(pid, call)

    await asyncio.gather(*map(agent, pids))


def _recorded(journal: Path) -> tuple[int, int]:
    """Llm calls that are done by the journal, and decisions on them in the audit log."""
    with closing(sqlite3.connect(journal)) as db:
        (done,) = db.execute(
            "SELECT count(*) FROM syscalls WHERE kind LIKE 'llm.%' AND state = 'done'"
        ).fetchone()
        (decided,) = db.execute(
            "SELECT count(*) FROM audit WHERE json_extract(text, '$.action') LIKE 'llm.%'"
        ).fetchone()
    return done, decided
