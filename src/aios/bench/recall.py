"""`aios bench recall`: does memory find what was said, and how fast?

Finding: dialogues of several sessions in LoCoMo's JSON format (Maharana et al. 2024), each turn an entry, each
question with the turns that answer it. Recall@k is the share of those among the first k hits, averaged over
questions. The same entries are searched by words alone (BM25), by meaning alone, and fused; once as bare turns,
once as notes whose context is the turn before. The dialogues of the first half of the file may be tuned on; the
rest is `held out`.

Speed: one agent's memory of many entries (sentences of Python's own documentation, vectors drawn at random:
comparing takes the same time whatever they say), asked the dialogues' questions and its own sentences, one
after the other; the time of embedding them is told apart.
"""

from __future__ import annotations

import ast
import asyncio
import re
import statistics
import sysconfig
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import msgspec
import numpy as np

from aios.bench.report import machine, percentile, save_bars, write_result
from aios.errors import ConfigError
from aios.memory.embed import Vectors
from aios.memory.manager import MemoryManager
from aios.memory.minilm import MiniLm
from aios.memory.records import Identity, MemoryLimits
from aios.syscalls.memory import AddNote, Alloc, Search

By = Literal["words", "meaning", "both"]
WAYS: dict[str, By] = {"BM25 alone": "words", "vectors alone": "meaning", "fused": "both"}
TOP = (5, 10)
SIZES = (10_000, 100_000)
AT_ONCE = 512
"""Entries that are written together."""
OWN = Path("tests") / "data" / "dialogues.json"


class Question(msgspec.Struct):
    """`evidence`: the turns that answer it."""

    question: str
    evidence: list[str]


class Turn(msgspec.Struct):
    speaker: str
    dia_id: str
    text: str
    blip_caption: str = ""
    """Of an image that was shown with it."""


class Sample(msgspec.Struct):
    """One dialogue. `conversation`: `session_<n>` (turns) and `session_<n>_date_time`."""

    sample_id: str
    conversation: dict[str, Any]
    qa: list[Question]

    def turns(self) -> list[Turn]:
        sessions = [key for key in self.conversation if re.fullmatch(r"session_\d+", key)]
        sessions.sort(key=lambda key: int(key.rpartition("_")[2]))
        return [turn for key in sessions for turn in msgspec.convert(self.conversation[key], list[Turn])]


class Drawn:
    """Random vectors of length 1 in no time."""

    name, width = "drawn", MiniLm.width

    def __init__(self) -> None:
        self._random = np.random.default_rng(1)

    async def embed(self, texts: Sequence[str]) -> Vectors:
        vectors = self._random.standard_normal((len(texts), self.width), np.float32)
        return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def run(out: Path, *, data: Path = OWN, quick: bool = False, seeds: int = 200, **_: Any) -> None:
    """Measure and write `result.json` and `plot.png` to `out`. `data`: a file in LoCoMo's format."""
    samples = load(data)
    print(f"recall: {data.name}, {len(samples)} dialogues, {sum(len(s.qa) for s in samples)} questions")
    found = asyncio.run(_find(samples))
    speed = asyncio.run(_speed(samples, SIZES[:1] if quick else SIZES, 50 if quick else seeds))
    write_result(out, {"bench": "recall", "data": data.name, "recall": found, "speed": speed, **machine()})
    held = found["notes"]["held out"]
    save_bars(
        out / "plot.png",
        title="Answering turns among the first hits (held out, notes)",
        labels=[f"recall@{k}" for k in TOP],
        series={way: [held[way][f"recall@{k}"] for k in TOP] for way in WAYS},
        unit="recall",
    )


def load(path: Path) -> list[Sample]:
    """Raises ConfigError if there are no such dialogues."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=list[Sample])
    except (OSError, ValueError) as error:  # msgspec's errors are ValueErrors
        raise ConfigError(
            f"{path} holds no dialogues: {error}.", "Name a file in LoCoMo's format: --data"
        ) from error


# -- what is found -----------------------------------------------------------------------------------------


async def _find(samples: Sequence[Sample]) -> dict[str, Any]:
    """Recall by kind of entry, half of the file and way of searching."""
    tuned = max(1, len(samples) // 2)
    result: dict[str, Any] = {}
    for kind in ("turns", "notes"):
        with tempfile.TemporaryDirectory() as folder:
            async with MiniLm(threads=0) as model, MemoryManager(Path(folder), embedder=model) as memory:
                rows = [await _ask(memory, sample, kind) for sample in samples]
        result[kind] = {
            half: {way: _means([row for each in part for row in each[way]]) for way in WAYS}
            for half, part in (("tuned on", rows[:tuned]), ("held out", rows[tuned:]), ("all", rows))
            if part
        }
        for way, means in result[kind]["held out" if rows[tuned:] else "all"].items():
            print(f"  {kind:6} {way:14}", "  ".join(f"{name} {value:.3f}" for name, value in means.items()))
    return result


async def _ask(memory: MemoryManager, sample: Sample, kind: str) -> dict[str, list[dict[str, float]]]:
    """Store a dialogue as one agent's memory and ask its questions: recalls of each, by way."""
    who, turn_of, before = Identity(agent=sample.sample_id), dict[str, str](), ""
    for turn in sample.turns():
        text = f"{turn.speaker}: {turn.text} {turn.blip_caption}".strip()
        if kind == "notes":
            id = (await memory.notes.add(who, AddNote(content=text, context=before))).id
        else:
            id = (await memory.alloc(who, Alloc(data=text.encode()))).id
        turn_of[id], before = turn.dia_id, text
    known = set(turn_of.values())
    rows: dict[str, list[dict[str, float]]] = {way: [] for way in WAYS}
    for question in sample.qa:
        wanted = set(question.evidence) & known  # some of LoCoMo's evidence names no turn
        if not wanted:
            continue
        for way, by in WAYS.items():
            hits = (await memory.search(who, Search(query=question.question, limit=max(TOP), by=by))).hits
            got = [turn_of[hit.id] for hit in hits]
            rows[way].append({f"recall@{k}": len(wanted & set(got[:k])) / len(wanted) for k in TOP})
    return rows


def _means(rows: Sequence[dict[str, float]]) -> dict[str, float]:
    return {name: round(statistics.mean(row[name] for row in rows), 4) for name in rows[0]}


# -- how fast ----------------------------------------------------------------------------------------------


async def _speed(samples: Sequence[Sample], sizes: Sequence[int], count: int) -> list[dict[str, Any]]:
    questions = [question.question for sample in samples for question in sample.qa]
    sentences, rows = _sentences(max(sizes)), list[dict[str, Any]]()
    # Questions share few words with what is stored, its own sentences share all of theirs: half of each.
    asked = [(questions if i % 2 else sentences)[i * 7 % len(questions)] for i in range(count)]
    embedding = await _embedding_ms(asked)
    limits = MemoryLimits(agent_entries=max(sizes) + 1, agent_bytes=2**40)
    who, done = Identity(agent="one"), 0
    with tempfile.TemporaryDirectory() as folder:
        async with MemoryManager(Path(folder), limits, embedder=Drawn()) as memory:
            for size in sizes:
                began = time.perf_counter()
                for at in range(done, size, AT_ONCE):
                    async with asyncio.TaskGroup() as group:
                        for text in sentences[at : min(size, at + AT_ONCE)]:
                            group.create_task(memory.alloc(who, Alloc(data=text.encode())))
                written = (size - done) / (time.perf_counter() - began)
                done = size
                row: dict[str, Any] = {
                    "entries": size,
                    "written_per_s": round(written),
                    "embedding_ms": embedding,
                }
                for way, by in WAYS.items():
                    row[way] = await _query_ms(memory, who, asked, by)
                rows.append(row)
                fused = row["fused"]
                print(f"  {size:7} entries: {fused['p50_ms']:.1f} ms a query (p99 {fused['p99_ms']:.1f}),"
                      f" and {embedding['p50_ms']:.1f} for its embedding")  # fmt: skip
    return rows


async def _query_ms(memory: MemoryManager, who: Identity, queries: Sequence[str], by: By) -> dict[str, float]:
    await memory.search(who, Search(query=queries[0], by=by))  # loads the vectors
    times: list[float] = []
    for query in queries:
        began = time.perf_counter()
        await memory.search(who, Search(query=query, by=by))
        times.append((time.perf_counter() - began) * 1000)
    return _spread(times)


async def _embedding_ms(queries: Sequence[str]) -> dict[str, float]:
    times: list[float] = []
    async with MiniLm(threads=0) as model:
        await model.embed([queries[0]])
        for query in queries:
            began = time.perf_counter()
            await model.embed([query])
            times.append((time.perf_counter() - began) * 1000)
    return _spread(times)


def _spread(times: Sequence[float]) -> dict[str, float]:
    return {f"p{share}_ms": round(percentile(times, share / 100), 2) for share in (50, 99)}


def _sentences(count: int) -> list[str]:
    """Real sentences: the docstrings of the standard library, over again with a number if there are too few."""
    found: list[str] = []
    for path in sorted(Path(sysconfig.get_path("stdlib")).rglob("*.py")):
        if "site-packages" in path.parts or "test" in path.parts or "lib2to3" in path.parts:
            continue
        try:
            tree = ast.parse(path.read_bytes())
        except (SyntaxError, ValueError):
            continue
        for node in ast.walk(tree):
            if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
                text = " ".join((ast.get_docstring(node) or "").split())
                found += [part for part in re.split(r"(?<=[.!?]) ", text) if len(part) > 20]
    return [found[i % len(found)] + (f" ({i // len(found)})" if i >= len(found) else "") for i in range(count)]
