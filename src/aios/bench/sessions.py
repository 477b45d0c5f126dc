"""Agents with forced lengths: what a scheduler is compared on. Everything is drawn from a seed.

Every agent has one conversation of several calls, with a tool's pause between two. All share their
instructions. Answers have the length they are told (`ignore_eos`), so every mode does the same work, whatever
the model says."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import httpx

from aios.bench.drive import Caller, CallRecord, Mode, Row, warm_up
from aios.bench.report import percentile
from aios.sdk import requests
from aios.sdk.answers import raise_for
from aios.syscalls import DeclarePlan, Exit, Message, PlanStep

WORDS = tuple(
    "river stone market letter garden window captain bridge winter silver forest engine harbour lantern"  # noqa: SIM905
    " copper village thunder meadow compass orchard".split()
)
INSTRUCTIONS = "You are one of many agents that work on long tasks. " + " ".join(
    f"Rule {n}: mind the {WORDS[n % 20]} and report every {WORDS[(7 * n) % 20]}." for n in range(1, 13)
)


ROLES: tuple[tuple[str, float, tuple[int, int]], ...] = (
    ("triage", 0.6, (1, 3)),
    ("writer", 0.3, (3, 6)),
    ("research", 0.1, (8, 14)),
)
"""What agents are, how many of them are so, and how many calls those make: most do little, some do much. Over
all roles the spread (coefficient of variation about 0.9) is near that of real coding agents' sessions (1.0 in
471 of them)."""


@dataclass(frozen=True, slots=True)
class Plan:
    """One agent: it comes after `arrival` seconds and makes a call for each (words to read, tokens to write,
    seconds of the tool afterwards)."""

    name: str
    arrival: float
    steps: tuple[tuple[int, int, float], ...]


def plans(agents: int, seed: int, *, per_s: float = 4.0) -> list[Plan]:
    """Agents of all roles in random order, `per_s` a second on the average (a Poisson process)."""
    draw = random.Random(seed)
    roles = [role for role in ROLES[1:] for _ in range(round(role[1] * agents))]
    roles += [ROLES[0]] * (agents - len(roles))
    draw.shuffle(roles)
    made: list[Plan] = []
    arrival = 0.0
    for index, (role, _, (least, most)) in enumerate(roles):
        steps = [
            (draw.randint(15, 60), draw.randint(16, 64), draw.expovariate(2.0))
            for _ in range(draw.randint(least, most))
        ]
        made.append(Plan(f"{role}-{index:02}", arrival, tuple(steps)))
        arrival += draw.expovariate(per_s)
    return made


@dataclass(slots=True)
class Outcome:
    """What one mode did. Of each agent, seconds: `took` from its arrival to its end; `waited` for slots, over
    all its calls."""

    makespan: float
    took: list[float]
    waited: list[float]
    records: list[CallRecord]

    def row(self, mode: str) -> dict[str, Any]:
        """One row of the result. `slowdown`: of an agent, its time over what it would have been alone."""
        waits = [record.wait for record in self.records]
        slow = [took / max(1e-9, took - waited) for took, waited in zip(self.took, self.waited, strict=True)]
        prompt = sum(record.prompt for record in self.records)
        cached = sum(record.cached for record in self.records)
        return {
            "mode": mode,
            "makespan_s": round(self.makespan, 2),
            "completion_mean_s": round(sum(self.took) / len(self.took), 2),
            "completion_p50_s": round(percentile(self.took, 0.5), 2),
            "completion_p99_s": round(percentile(self.took, 0.99), 2),
            "waited_mean_s": round(sum(self.waited) / len(self.waited), 3),
            "slowdown_mean": round(sum(slow) / len(slow), 3),
            "slowdown_p99": round(percentile(slow, 0.99), 3),
            "wait_p50_s": round(percentile(waits, 0.5), 3),
            "wait_p99_s": round(percentile(waits, 0.99), 3),
            "calls": len(self.records),
            "prompt_tokens": prompt,
            "prefilled_tokens": prompt - cached,
            "generated_tokens": sum(record.generated for record in self.records),
            "kv_hit": round(cached / prompt, 4) if prompt else 0.0,
            "completions_s": [round(t, 2) for t in sorted(self.took)],
        }


async def run_sessions(
    mode: Mode, crowd: Sequence[Plan], seed: int, rows: list[Row], *, declare: bool = False
) -> Outcome:
    """Run all agents to their ends; with `declare` each says first what it will do. Raises the first error of
    any."""
    records: list[CallRecord] = []
    took: list[float] = []
    waited: list[float] = []
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=None)
    async with httpx.AsyncClient(timeout=1200.0, limits=limits, trust_env=False) as http:
        await warm_up(http, mode)
        began = time.monotonic()

        async def one(index: int, plan: Plan) -> None:
            await asyncio.sleep(plan.arrival)
            arrived = time.monotonic()
            mine: list[CallRecord] = []
            if declare:
                await _tell(http, mode, rows[index], DeclarePlan(steps=_declared(plan)))
            await _work(Caller(http, mode, rows[index], mine), plan, random.Random(f"{seed}/{index}"))
            took.append(time.monotonic() - arrived)
            waited.append(sum(record.wait for record in mine))
            records.extend(mine)
            rows[index].state = "done"
            if mode.waiting == "kernel":
                # The kernel learns how long such programs are.
                await _tell(http, mode, rows[index], Exit())

        async with asyncio.TaskGroup() as tasks:
            for index, plan in enumerate(crowd):
                tasks.create_task(one(index, plan))
        return Outcome(time.monotonic() - began, took, waited, records)


async def _work(caller: Caller, plan: Plan, draw: random.Random) -> None:
    talk = [Message(role="system", content=INSTRUCTIONS)]
    for turn, (words, tokens, gap_s) in enumerate(plan.steps):
        told = " ".join(draw.choice(WORDS) for _ in range(words))
        talk.append(Message(role="user", content=f"{turn}: {told}"))
        done = await caller.chat(talk, max_tokens=tokens, temperature=0.0, ignore_eos=True)
        talk.append(Message(role="assistant", content=done.choices[0].content))
        if turn + 1 < len(plan.steps):
            await asyncio.sleep(gap_s)


def _declared(plan: Plan) -> tuple[PlanStep, ...]:
    """What an agent knows of its own work: how many calls, about how long, with a tool between."""
    steps: list[PlanStep] = []
    for turn, (words, tokens, gap_s) in enumerate(plan.steps):
        before = (f"tool {turn - 1}",) if turn else ()
        steps.append(PlanStep(name=f"call {turn}", tokens=2 * words + tokens, depends_on=before))
        steps.append(PlanStep(name=f"tool {turn}", kind="tool", seconds=gap_s, depends_on=(f"call {turn}",)))
    return tuple(steps[:-1])


async def _tell(http: httpx.AsyncClient, mode: Mode, row: Row, call: Exit | DeclarePlan) -> None:
    request = requests.process(call)
    response = await http.post(f"{mode.url}{request.path}", json=request.body, headers={"X-Agent-Id": row.name})
    raise_for(response.status_code, response.content)
