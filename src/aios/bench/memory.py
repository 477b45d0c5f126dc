"""`aios bench memory`: what stays in RAM, and what history costs.

Paging: hit rates of LRU-K for K = 1 (plain LRU), 2 and 3 at three budgets, on a skewed load (Zipf) and on one
where scans come between. The traces are made from seeds; this is the policy itself, no timing.

History: conversations of many turns, each recorded again after every turn, as agents send them. `once` is the
size of the finished conversations, `sent` of all states of them. `recorded` are real ones (by default those
that ship, `aios bench conversations`; `--data`: others). Of `composed` the texts are real, the conversations
are not: users ask an assistant for the help of a Python module's members one after the other, under a few
shared system prompts."""

from __future__ import annotations

import asyncio
import importlib
import inspect
import random
import statistics
import tempfile
import time
from collections.abc import Sequence
from importlib.resources import as_file, files
from pathlib import Path
from typing import Any

from aios.bench.conversations import NAME, read
from aios.bench.report import machine, save_bars, write_result
from aios.memory.conversations import to_text
from aios.memory.manager import MemoryManager
from aios.memory.paging import LruK, Pages
from aios.memory.records import Identity, MemoryLimits
from aios.syscalls import Message

PAGES = 10_000
READS = 100_000
BUDGETS = (0.02, 0.05, 0.1)
"""Share of the pages that fit into RAM."""
SYSTEMS = (
    "You are a terse assistant for Python programmers. Quote the documentation word for word, add nothing, and"
    " say so when there is none. Never guess the behaviour of code that you have not seen.",
    "You help a team that moves an old code base to a new Python. For each thing that is named, give its help"
    " text, then stop. Your answers are read by a program: no greetings, no lists of alternatives.",
    "You are the documentation desk of a company. People ask for one function or class after the other.",
)
MODULES = """
    asyncio argparse ast base64 bisect calendar cmath codecs collections configparser contextlib copy csv
    datetime decimal difflib dis email enum fractions functools gc glob gzip hashlib heapq html http
    imaplib inspect io ipaddress itertools json linecache locale logging lzma mailbox math mimetypes
    operator os pathlib pickle platform pprint queue random re sched secrets select shelve shlex shutil
    signal smtplib socket sqlite3 ssl statistics string struct subprocess sys tarfile tempfile textwrap
    threading time timeit tokenize traceback types unittest urllib.parse urllib.request uuid
    warnings weakref xml.dom zipfile zlib
""".split()  # noqa: SIM905


RECORDED = files("aios.bench").joinpath("data", NAME)
PARTS = 5


def run(out: Path, *, seeds: int = 5, quick: bool = False, data: Path | None = None, **_: Any) -> None:
    """Measure and write `result.json` and `plot.png` to `out`. `data`: recorded conversations. Raises
    ConfigError."""
    with as_file(RECORDED) as shipped:
        recorded = read(data or shipped)
    paging = [_paging(name, trace, 2 if quick else seeds) for name, trace in (("zipf", zipf), ("scans", scans))]
    talks = {"recorded": recorded, "composed": conversations()}
    history = {name: asyncio.run(_histories(name, each)) for name, each in talks.items()}
    source = str(data or NAME)
    write_result(out, {"bench": "memory", "paging": paging, "history": history, "data": source, **machine()})
    save_bars(
        out / "plot.png",
        title=f"Hit rate of LRU-K with {BUDGETS[1]:.0%} of the pages in RAM",
        labels=[load["load"] for load in paging],
        series={
            f"K = {k}": [load["hit_rate"][f"{BUDGETS[1]}"][f"K={k}"]["median"] for load in paging]
            for k in (1, 2, 3)
        },
        unit="hit rate",
    )


def zipf(random: random.Random, count: int = READS) -> list[int]:
    """Reads of pages with the probability 1 / rank."""
    return random.choices(range(PAGES), [1 / rank for rank in range(1, PAGES + 1)], k=count)


def scans(random: random.Random) -> list[int]:
    """Skewed reads, and between them, as much again, scans over runs of pages from a random start."""
    trace: list[int] = []
    while len(trace) < READS:
        trace += zipf(random, 2000)
        start = random.randrange(PAGES)
        trace += [(start + i) % PAGES for i in range(2000)]
    return trace[:READS]


def hit_rate(k: int, trace: Sequence[int], room: int) -> float:
    """Share of the reads that find their page (of one byte) in RAM, with `room` bytes of it."""
    pages = Pages(LruK(k, retained=PAGES), total=room, per_owner=room)
    hits = 0
    for number in trace:
        key = str(number)
        if pages.get(key) is not None:
            hits += 1
            continue
        pages.put(key, "one", b"x")
        for victim, _ in pages.crowded("one"):
            pages.remove(victim)
    return hits / len(trace)


def _paging(name: str, make: Any, seeds: int) -> dict[str, Any]:
    traces = [make(random.Random(seed)) for seed in range(seeds)]
    rates: dict[str, Any] = {}
    for budget in BUDGETS:
        by_k = {f"K={k}": [hit_rate(k, trace, int(PAGES * budget)) for trace in traces] for k in (1, 2, 3)}
        rates[f"{budget}"] = {
            k: {"median": round(statistics.median(v), 4), "range": [round(min(v), 4), round(max(v), 4)]}
            for k, v in by_k.items()
        }
        medians = "  ".join(f"{k} {statistics.median(v):.3f}" for k, v in by_k.items())
        print(f"  {name:6} {budget:4.0%} in RAM: {medians}")
    return {"load": name, "pages": PAGES, "reads": READS, "seeds": seeds, "hit_rate": rates}


def conversations() -> list[list[Message]]:
    """At least 100, of 4 to 25 messages."""
    draw = random.Random(1)
    found: list[list[Message]] = []
    for name in MODULES:
        members = _documented(name)
        for _ in range(2 if len(members) >= 2 else 0):
            asked = draw.sample(members, min(len(members), draw.randint(2, 12)))
            asked.sort()  # people read a page from its top
            talk = [Message(role="system", content=draw.choice(SYSTEMS))]
            for member, text in asked:
                talk.append(Message(role="user", content=f"Show me the help of {name}.{member}."))
                talk.append(Message(role="assistant", content=text))
            found.append(talk)
    return found


def _documented(module: str) -> list[tuple[str, str]]:
    loaded = importlib.import_module(module)
    names = [name for name in dir(loaded) if not name.startswith("_")]
    texts = ((name, inspect.getdoc(getattr(loaded, name, None))) for name in names)
    return [(name, text) for name, text in texts if text and len(text) > 40]


async def _histories(name: str, talks: Sequence[Sequence[Message]]) -> dict[str, Any]:
    """Of all conversations together, and how much less some of them save: ratios of PARTS parts."""
    parts = [await _history(talks[i::PARTS]) for i in range(PARTS)] if len(talks) >= 2 * PARTS else []
    result = await _history(talks)
    print(
        f"  history, {name}: {len(talks)} conversations, {result['states']} states: {result['ratio_sent']:.1f}x"
        f" smaller than what was sent, {result['ratio_once']:.2f}x smaller than the finished conversations"
    )
    return {**result, "ratio_sent_of_parts": sorted(part["ratio_sent"] for part in parts)}


async def _history(talks: Sequence[Sequence[Message]]) -> dict[str, Any]:
    """Record every state of every conversation, all of one agent."""
    who, sent, states = Identity(agent="one"), 0, 0
    once = sum(len(to_text(talk)) for talk in talks)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder)
        began = time.perf_counter()
        async with MemoryManager(path, MemoryLimits(agent_bytes=2**40)) as memory:
            for talk in talks:
                id, end = "", 0
                for end in [i for i, message in enumerate(talk, 1) if message.role == "assistant"]:
                    id = (await memory.conversations.record(who, talk[:end], id=id)).id
                    sent += len(to_text(talk[:end]))
                    states += 1
                if await memory.conversations.messages(who, id) != tuple(talk[:end]):
                    raise RuntimeError("a conversation came back changed")
            elapsed = time.perf_counter() - began
            stored, _ = await memory.conversations.stored(who)
    return {
        "conversations": len(talks), "messages": sum(map(len, talks)), "states": states, "sent_chars": sent,
        "once_chars": once, "stored_chars": stored, "ratio_sent": round(sent / stored, 2),
        "ratio_once": round(once / stored, 3), "ms_a_state": round(1000 * elapsed / states, 2),
    }  # fmt: skip
