"""A crowd of agents, each of which asks a tiny model once: in the kernel's process, or through HTTP."""

from __future__ import annotations

import asyncio
import os
import statistics
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import aiohttp
import msgspec

from aios.bench.daemon import serving
from aios.bench.report import percentile
from aios.bench.resident import resident
from aios.config import parse
from aios.errors import CoreUnavailable
from aios.kernel.kernel import HOUSEKEEPING_S, Kernel
from aios.server.daemon import find_daemon
from aios.syscalls import Completion, Generate, Message, Sampling

Way = Literal["process", "http"]
WAYS: tuple[Way, ...] = ("process", "http")
ANSWER_TOKENS = 8
SLOTS = 16
THREADS = 1
"""Of the engine: a second one would wait for the first at every layer of so small a model, on a core that the
kernel and the agents need."""
PROMPT = "agent {0} asks what the others found in the files, and whether there is more to read " * 2
SETTLED_S = HOUSEKEEPING_S + 2.0
"""Until a kernel whose calls are over has written and given back what it held."""


@dataclass(frozen=True, slots=True)
class Crowd:
    """So many agents on one kernel with one core of `model`; `folder` is the kernel's own. `at_once`: how many
    of them call at a time, all if it is 0."""

    folder: Path
    model: Path
    agents: int
    seed: int
    at_once: int = 0

    async def served(self, way: Way) -> dict[str, Any]:
        """Each asks once: seconds until the last has its answer, waits for a slot, and by how many bytes an
        agent that is idle now the kernel's process has grown (`idle_bytes_each`): what it keeps of them, and of
        so many calls at a time what the allocator can't give back."""
        return await (self._inside() if way == "process" else self._outside())

    async def _inside(self) -> dict[str, Any]:
        core = {"name": "tiny", "model": str(self.model), "slots": SLOTS, "context": 512, "threads": THREADS}
        settings = parse({
            "state": {"dir": str(self.folder / "state")}, "cores": [core],
            "processes": {"max_processes": self.agents + 10},
        })  # fmt: skip
        async with Kernel(settings) as kernel:

            async def one(number: int) -> float:
                pid = kernel.processes.attach(f"agent-{number}")
                done = await kernel.trap(pid, asked(number, self.seed))
                assert isinstance(done, Completion)
                return done.timings.queue_s

            return await self._together(one, os.getpid)

    async def _outside(self) -> dict[str, Any]:
        tables = (
            f"[processes]\nmax_processes = {self.agents + 10}\n"
            f'[[cores]]\nname = "tiny"\nmodel = "{self.model}"\nslots = {SLOTS}\n'
            f"context = 512\nthreads = {THREADS}\n"
        )
        self.folder.mkdir(parents=True, exist_ok=True)
        patience = aiohttp.ClientTimeout(total=None)
        async with serving(self.folder, tables) as url:

            async def one(number: int) -> float:
                call = asked(number, self.seed)
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

            # A connection each, closed at its end: an agent that is idle has none.
            connections = aiohttp.TCPConnector(limit=0, force_close=True)
            async with aiohttp.ClientSession(connector=connections, timeout=patience) as http:
                return await self._together(one, self._daemon)

    def _daemon(self) -> int:
        daemon = find_daemon(self.folder / "state")
        if daemon is None:
            raise CoreUnavailable("The kernel ended.", "Its log says why.")
        return daemon.pid

    async def _together(
        self, one: Callable[[int], Awaitable[float]], kernel: Callable[[], int]
    ) -> dict[str, Any]:
        door = asyncio.Semaphore(self.at_once or self.agents)

        async def in_turn(number: int) -> float:
            async with door:
                return await one(number)

        await one(self.agents)  # the first call of all pays for what is set up on demand
        await asyncio.sleep(SETTLED_S)
        before = resident(kernel())
        began = time.perf_counter()
        waits = await asyncio.gather(*(in_turn(number) for number in range(self.agents)))
        took = time.perf_counter() - began
        await asyncio.sleep(SETTLED_S)
        return {
            "makespan_s": round(took, 3),
            "calls_s": round(self.agents / took, 1),
            "wait_mean_s": round(statistics.mean(waits), 3),
            "wait_p50_s": round(percentile(waits, 0.5), 3),
            "wait_p99_s": round(percentile(waits, 0.99), 3),
            "idle_bytes_each": round((resident(kernel()) - before) / self.agents),
        }


def asked(number: int, seed: int) -> Generate:
    """The one call of an agent."""
    text = PROMPT.format(f"{number} of {seed}")
    return Generate(
        messages=(Message(role="user", content=text),), max_tokens=ANSWER_TOKENS,
        sampling=Sampling(temperature=0.0), extra={"ignore_eos": True}, stream=False,
    )  # fmt: skip
