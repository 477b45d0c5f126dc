"""Recorded loads for the simulator: files of the formats named below, read from a folder.

`agent_sessions.jsonl.gz`: a coding agent's session a line: `system_tokens`, `tool_tokens` (the front of its
prompts) and `requests`, each with `in` and `out` (tokens), `think_time` (seconds since the answer before) and
`shared` (prompt tokens shared with the call before). Subagents inside a session are left out.
`azure_llm_2023_{code,conv}.csv.gz`: TIMESTAMP,ContextTokens,GeneratedTokens: calls that know nothing of each
other (Azure public dataset, Patel et al. 2024).
"""

from __future__ import annotations

import csv
import gzip
import random
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import msgspec

from aios.errors import BadRequest
from aios.scheduler.load import Call, Session

SESSIONS = "agent_sessions.jsonl.gz"
AZURE = ("azure_llm_2023_code.csv.gz", "azure_llm_2023_conv.csv.gz")
LONGEST_GAP_S = 600.0
"""Whoever is silent for longer has gone home: cut to this."""


@dataclass(frozen=True, slots=True)
class Program:
    """One recorded session, ready to be replayed: the front it shares with those of its `family`, its calls."""

    family: int
    shared: int
    calls: tuple[Call, ...]


class Request(msgspec.Struct):
    """One line's call; those of subagents have no `in`."""

    prompt: int = msgspec.field(name="in", default=0)
    out: int = 0
    shared: int = 0
    think_time: float = 0.0


class Recorded(msgspec.Struct):
    """One line."""

    requests: list[Request]
    system_tokens: int = 0
    tool_tokens: int = 0


def agent_programs(folder: Path, *, scale: int) -> list[Program]:
    """All sessions, tokens and seconds divided by `scale`, so that contexts fit a small model's window and the
    ratio of thinking to computing stays. Raises BadRequest."""
    found: list[Program] = []
    families: dict[tuple[int, int], int] = {}
    with gzip.open(_there(folder / SESSIONS), "rt", encoding="utf-8") as lines:
        for line in lines:
            recorded = _decoded(line)
            front = (recorded.system_tokens, recorded.tool_tokens)
            calls = [request for request in recorded.requests if request.prompt > 0]
            if calls:
                family = families.setdefault(front, len(families))
                found.append(_program(family, min(sum(front), calls[0].prompt), calls, scale))
    return found


def _program(family: int, shared: int, requests: Sequence[Request], scale: int) -> Program:
    calls: list[Call] = []
    for index, request in enumerate(requests):
        kept = request.shared if index else shared
        gap = requests[index + 1].think_time if index + 1 < len(requests) else 0.0
        keep = kept // scale
        calls.append(
            Call(
                fresh=max(1, request.prompt // scale - keep),
                output=max(1, round(request.out / scale)),
                gap_s=min(gap, LONGEST_GAP_S) / scale,
                keep=keep,
            )
        )
    return Program(family, shared // scale, tuple(calls))


def azure_calls(path: Path) -> list[tuple[float, Call]]:
    """(seconds since the first, call) in order. Raises BadRequest."""
    found: list[tuple[float, Call]] = []
    with gzip.open(_there(path), "rt", encoding="utf-8", newline="") as lines:
        for row in csv.DictReader(lines):
            at = datetime.fromisoformat(row["TIMESTAMP"][:26]).timestamp()
            output = max(1, int(row["GeneratedTokens"]))
            found.append((at, Call(max(1, int(row["ContextTokens"])), output)))
    began = min(at for at, _ in found)
    return sorted(((at - began, call) for at, call in found), key=lambda pair: pair[0])


def arriving(
    programs: Sequence[Program], count: int, rate: float, seed: int, *, mixed: bool = False, **fields: Any
) -> list[Session]:
    """`count` sessions drawn from `programs` that come as a Poisson process of `rate` a second. `mixed`: two of
    three are of one group, the rest of two others, and they are of several classes, which the traces have not;
    so that these rules have something to do."""
    draw = random.Random(seed)
    now = 0.0
    found: list[Session] = []
    for pid in range(1, count + 1):
        now += draw.expovariate(rate)
        program = draw.choice(programs)
        group = draw.choices(("large", "small", "tiny"), (4, 1, 1))[0] if mixed else "default"
        urgent = draw.choices(("normal", "interactive", "batch"), (6, 2, 2))[0] if mixed else "normal"
        found.append(
            Session(
                pid, program.calls, now, shared=program.shared, family=program.family, group=group,
                scheduling_class=urgent, **fields,
            )
        )  # fmt: skip
    return found


def independent(calls: Sequence[tuple[float, Call]], count: int, rate: float, seed: int) -> list[Session]:
    """`count` calls in a row from a point drawn from `seed` on, each a program of its own, in the rhythm of the
    trace, stretched so that `rate` come a second."""
    count = min(count, len(calls))
    first = random.Random(seed).randrange(len(calls) - count + 1)
    chosen = calls[first : first + count]
    began, span = chosen[0][0], chosen[-1][0] - chosen[0][0]
    stretch = count / rate / span if span > 0 else 1.0
    return [Session(pid, [call], (at - began) * stretch) for pid, (at, call) in enumerate(chosen, 1)]


def _decoded(line: str) -> Recorded:
    try:
        return msgspec.json.decode(line, type=Recorded)
    except msgspec.DecodeError as error:
        raise BadRequest(
            f"A session can't be read: {error}.", "See aios/bench/traces.py for the form."
        ) from error


def _there(path: Path) -> Path:
    if not path.is_file():
        raise BadRequest(f"There is no trace {path}.", "Name the folder that has it with --data.")
    return path
