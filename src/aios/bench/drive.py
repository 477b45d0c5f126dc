"""Runs the demo's agents against one endpoint and measures every call, the same way in all modes."""

from __future__ import annotations

import asyncio
import random
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import httpx
import msgspec

from aios.bench.report import percentile
from aios.bench.workloads import Clerk, Shop, Task
from aios.errors import CoreUnavailable
from aios.sdk import requests
from aios.sdk.agent import Phase, Turn
from aios.sdk.answers import completion, raise_for
from aios.sdk.requests import MessageLike
from aios.syscalls import Completion

Waiting = Literal["retry", "engine", "kernel"]


class EngineTimings(msgspec.Struct):
    """What the engine's own server tells, milliseconds."""

    prompt_ms: float = 0.0
    predicted_ms: float = 0.0


class EngineBody(msgspec.Struct):
    timings: EngineTimings = msgspec.field(default_factory=EngineTimings)


@dataclass(frozen=True, slots=True)
class Backoff:
    """Exponential back-off with jitter, as the retry loops of agent frameworks have it: the n-th pause is
    `base * 2**n` seconds, at most `cap`, times a random factor of 0.75 to 1.25."""

    base: float
    cap: float

    def pause(self, attempt: int, draw: random.Random) -> float:
        return min(self.cap, self.base * 2.0**attempt) * draw.uniform(0.75, 1.25)


@dataclass(slots=True)
class CallRecord:
    """One llm call: seconds and tokens."""

    began: float
    ended: float
    wait: float
    prompt: int
    cached: int
    generated: int
    refused: int


class Gate:
    """An engine with `slots` places that refuses when all are taken, instead of queueing."""

    def __init__(self, slots: int) -> None:
        self._free = slots

    def enter(self) -> bool:
        if self._free == 0:
            return False
        self._free -= 1
        return True

    def leave(self) -> None:
        self._free += 1


@dataclass(slots=True)
class Row:
    """One agent in the live table."""

    name: str
    state: str = "waits"
    turn: int = 0
    prompt: int = 0
    cached: int = 0
    generated: int = 0
    waited: float = 0.0
    kv: str = "-"
    right: bool | None = None


@dataclass(slots=True)
class Mode:
    """How agents reach the engine. `gate`: refuse instead of queueing, and retry with `backoff`; `waiting` says
    who knows how long a call waited; `extra` goes into each request's body."""

    name: str
    url: str
    waiting: Waiting
    gate: Gate | None = None
    backoff: Backoff = Backoff(0.5, 8.0)
    extra: dict[str, Any] = field(default_factory=dict[str, Any])


class Caller:
    """The client of one agent: ReAct's `chat`, with a stopwatch. One HTTP connection pool serves all agents."""

    def __init__(self, http: httpx.AsyncClient, mode: Mode, row: Row, records: list[CallRecord]) -> None:
        self._http, self._mode, self._row, self._records = http, mode, row, records
        self._draw = random.Random(row.name)

    async def chat(self, messages: Sequence[MessageLike], **options: Any) -> Completion:
        request = requests.chat(messages, {**options, **self._mode.extra})
        began = time.monotonic()
        attempt = 0
        while self._mode.gate is not None and not self._mode.gate.enter():
            self._row.state = "backs off"
            await asyncio.sleep(self._mode.backoff.pause(attempt, self._draw))
            attempt += 1
        self._row.state = "llm"
        accepted = time.monotonic()
        try:
            response = await self._http.post(
                f"{self._mode.url}{request.path}", json=request.body, headers={"X-Agent-Id": self._row.name}
            )
        finally:
            if self._mode.gate is not None:
                self._mode.gate.leave()
        raise_for(response.status_code, response.content)
        done = completion(response.content)
        ended = time.monotonic()
        usage = done.usage
        wait = self._waited(response.content, done, began, accepted, ended)
        self._records.append(
            CallRecord(
                began, ended, wait, usage.prompt_tokens, usage.cached_tokens, usage.completion_tokens, attempt
            )
        )
        self._count(self._records[-1])
        return done

    def _waited(self, body: bytes, done: Completion, began: float, accepted: float, ended: float) -> float:
        """From the request to the beginning of its prefill."""
        if self._mode.waiting == "kernel":
            return done.timings.queue_s
        if self._mode.waiting == "retry":
            return accepted - began
        told = msgspec.json.decode(body, type=EngineBody).timings
        return max(0.0, ended - began - (told.prompt_ms + told.predicted_ms) / 1000)

    def _count(self, record: CallRecord) -> None:
        row = self._row
        row.prompt += record.prompt
        row.cached += record.cached
        row.generated += record.generated
        row.waited += record.wait


@dataclass(slots=True)
class Run:
    """What one mode did. `finished` holds each agent's completion time, seconds."""

    makespan: float
    finished: list[float]
    right: list[bool]
    records: list[CallRecord]

    def row(self, mode: str) -> dict[str, Any]:
        """One row of the result."""
        prompt = sum(r.prompt for r in self.records)
        cached = sum(r.cached for r in self.records)
        waits = [r.wait for r in self.records]
        return {
            "mode": mode,
            "makespan_s": round(self.makespan, 2),
            "completion_mean_s": round(statistics.mean(self.finished), 2),
            "completion_p90_s": round(percentile(self.finished, 0.9), 2),
            "wait_p50_s": round(percentile(waits, 0.5), 3),
            "wait_p90_s": round(percentile(waits, 0.9), 3),
            "calls": len(self.records),
            "calls_per_s": round(len(self.records) / self.makespan, 3),
            "prompt_tokens": prompt,
            "prefilled_tokens": prompt - cached,
            "generated_tokens": sum(r.generated for r in self.records),
            "kv_hit": round(cached / prompt, 4) if prompt else 0.0,
            "refusals": sum(r.refused for r in self.records),
            "right": round(sum(self.right) / len(self.right), 4),
            "completions_s": [round(t, 2) for t in sorted(self.finished)],
        }


async def drive(mode: Mode, agents: int, seed: int, rows: list[Row], *, gap_s: float) -> Run:
    """Run `agents` ReAct agents at once, each on its own task, until all are done. `rows` (one an agent) shows
    what they do meanwhile. Raises the first error of any agent."""
    shop = Shop(seed, gap_s=gap_s)
    records: list[CallRecord] = []
    finished: list[float] = []
    right: list[bool] = []
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=None)
    async with httpx.AsyncClient(timeout=600.0, limits=limits, trust_env=False) as http:
        await warm_up(http, mode)
        began = time.monotonic()

        async def one(row: Row, task: Task) -> None:
            caller = Caller(http, mode, row, records)
            agent = Clerk(
                caller, tools=shop.tools(), max_turns=6, max_tokens=80, thought_length=60, watch=_watcher(row)
            )
            outcome = await agent.work(task.question)
            row.state, row.right = "done", task.right(outcome.answer)
            right.append(row.right)
            finished.append(time.monotonic() - began)

        async with asyncio.TaskGroup() as tasks:
            for i in range(agents):
                tasks.create_task(one(rows[i], shop.task(i)))
        return Run(time.monotonic() - began, finished, right, records)


async def warm_up(http: httpx.AsyncClient, mode: Mode) -> None:
    """One token, so that loading the weights is in nobody's time."""
    body = {"model": "", "messages": [{"role": "user", "content": "Hi"}], "max_tokens": 1}
    response = await http.post(f"{mode.url}/v1/chat/completions", json=body)
    if response.status_code != 200:
        raise CoreUnavailable(f"{mode.name}: the engine answers {response.status_code}.", response.text[:200])


def _watcher(row: Row) -> Any:
    def watch(phase: Phase, turn: Turn) -> None:
        row.turn = turn.number
        if phase == "llm":
            row.state = "asks"
        elif phase == "tool":
            row.state = f"tool {turn.action}"

    return watch
