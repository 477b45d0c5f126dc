"""`aios bench plain`: how many commands in plain language come out right?

The commands, the trees they are said in and what must come of them are in commands.py: `tune` and `report` have
been worked on (`report` was not until its failures were read), `fresh` is only reported. Each command gets a
tree of its own, planted at the times that it speaks of (so the calls go straight to a storage manager, whose
clock can be set); the models run in a kernel of their own. A command counts if the tree, the shares and the
answer are as they must be. What it changed is then taken back, and the tree compared with what it was before.

`as built`: the model's plans are held to the words of the command, and it is shown what is in the tree near
them only when its first plan can't be done. `tree shown at once`: with the command already. `without grammar`:
the model may write what it likes."""

from __future__ import annotations

import asyncio
import json
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

import msgspec

from aios.bench import commands
from aios.bench.commands import Answered, Case, Clock, Direct
from aios.bench.daemon import serving
from aios.bench.report import machine, percentile, save_bars, write_result
from aios.errors import AiosError
from aios.memory.minilm import MiniLm
from aios.models.store import ModelStore
from aios.sdk.client import AsyncClient
from aios.sdk.plain.interpreter import PlainLanguage
from aios.sdk.plain.kernel import Calls, Chats
from aios.storage.manager import StorageManager

MODELS = ("qwen2.5-coder-0.5b-instruct", "smollm2-135m-instruct")
WAYS: dict[str, dict[str, Any]] = {
    "as built": {},
    "tree shown at once": {"eager": True},
    "without grammar": {"grammar": False},
}
UNSEEN = "fresh"
"""The part whose failures nobody has read yet."""
OWNER = "ann"
Now = Callable[[], datetime]
Keep = Callable[[str, str, dict[str, Any]], None]
CONTEXT = 4096


class Row(msgspec.Struct):
    """What became of one command. `wrong`: how it failed; `undone`: whether the tree was as before after taking
    it back, None if it changed nothing. `seconds`: from the words to the end of the last call."""

    id: str
    kind: str
    say: str
    wrong: str
    seconds: float
    rounds: int = 0
    plan: str = ""
    undone: bool | None = None


def run(out: Path, *, model: str = "", quick: bool = False, full: bool = False, **_: Any) -> None:
    """Measure one `model` (else both of the catalogue) and write a file for each, and all together as
    `result.json` and `plot.png`, to `out`. `full`: the baselines; what was measured before of the way `as
    built` stays. `quick`: the commands for tuning only."""
    ways = list(WAYS)[1:] if full else list(WAYS)[:1]
    for name in [model] if model else MODELS:
        file = out / f"{Path(name).name}.json"
        known: dict[str, Any] = json.loads(file.read_text("utf-8")) if full and file.exists() else {"ways": {}}
        out.mkdir(parents=True, exist_ok=True)

        def keep(way: str, part: str, told: dict[str, Any], file: Path = file, known: Any = known) -> None:
            known["ways"].setdefault(way, {})[part] = told
            file.write_text(json.dumps(known, indent=1) + "\n", "utf-8")

        asyncio.run(_model(name, ways, keep, quick=quick))
    _together(out, "tune" if quick else UNSEEN)


def _together(out: Path, part: str) -> None:
    """`result.json` of all models that were measured, and the plot of `part`."""
    models = {
        path.name.removesuffix(".json"): json.loads(path.read_text("utf-8"))
        for path in sorted(out.glob("*.json"))
        if path.name != "result.json"
    }
    shares = {
        name: {
            way: {part: told["share"] for part, told in parts.items()} for way, parts in each["ways"].items()
        }
        for name, each in models.items()
    }
    write_result(out, {"bench": "plain", "right": shares, "models": models, **machine()})
    kinds = list(dict.fromkeys(case.kind for case in commands.cases(part)))
    save_bars(
        out / "plot.png",
        title=f"Commands that came out right ({part} part)",
        labels=["all", *kinds],
        series={
            name: [
                each["ways"]["as built"][part]["share"],
                *(each["ways"]["as built"][part]["kinds"][k] for k in kinds),
            ]
            for name, each in models.items()
        },
        unit="share right",
    )


async def _model(name: str, ways: Sequence[str], keep: Keep, *, quick: bool) -> None:
    """Give `keep` shares and rows of each way and part. Baselines have the unseen part alone."""
    path = ModelStore().resolve(name)
    tables = f'[[cores]]\nname = "local"\nmodel = "{path}"\nslots = 2\ncontext = {CONTEXT}\nthreads = 1\n'
    with tempfile.TemporaryDirectory() as folder:
        async with (
            serving(Path(folder), tables) as url,
            AsyncClient(url, agent="plain") as client,
            MiniLm() as embedder,
        ):
            for way in ways:
                parts = ("tune",) if quick else commands.PARTS if not WAYS[way] else (UNSEEN,)
                for part in parts:
                    language = partial(_language, client, WAYS[way])
                    rows = [_seen(await one(case, language, embedder)) for case in commands.cases(part)]
                    told = _told(rows)
                    _show(f"{name}, {way}, {part}", told)
                    keep(way, part, told)


def _language(client: Chats, how: dict[str, Any], kernel: Calls, now: Now) -> PlainLanguage:
    return PlainLanguage(kernel, client, now=now, **how)


async def one(case: Case, language: Callable[[Calls, Now], PlainLanguage], embedder: Any = None) -> Row:
    """Plant the tree, say the command, look at what came of it, take it back. `language(kernel, now)` makes
    what understands it."""
    now, trees = commands.trees()
    clock, seeds = Clock(now.timestamp()), trees[case.tree]
    with tempfile.TemporaryDirectory() as folder:
        async with StorageManager(Path(folder), embedder=embedder, clock=clock) as storage:
            await commands.plant(storage, OWNER, seeds, clock)
            await storage.search.settled()
            start = await commands.state(storage, OWNER, clock.now)
            kernel = Direct(storage, OWNER, clock)
            plain = language(kernel, lambda: now)
            row, answer, error = Row(case.id, case.kind, case.say, "", 0.0), Answered(), ""
            began = time.perf_counter()
            try:
                prepared = await plain.prepare(case.say)
                row.rounds, row.plan = prepared.rounds, msgspec.json.encode(prepared.plan.steps).decode()
                outcome = await plain.run(prepared)
                groups = tuple(paths for _, paths in outcome.groups)
                answer = Answered(outcome.text, outcome.paths, groups, kernel.passwords)
            except AiosError as problem:
                error = f"{type(problem).__name__}: {problem}"
            row.seconds = round(time.perf_counter() - began, 3)
            end = await commands.state(storage, OWNER, clock.now)
            row.wrong = error or commands.wrong(case, seeds, start, end, answer)
            if (end.files, end.folders, end.shares) != (start.files, start.folders, start.shares):
                row.undone = await _undone(plain, storage, start, clock)
            return row


async def _undone(plain: PlainLanguage, storage: StorageManager, start: commands.State, clock: Clock) -> bool:
    """Whether taking it back leaves all as it was (a link that was revoked stays so)."""
    try:
        done = await plain.undo()
    except AiosError:
        return False
    now = await commands.state(storage, OWNER, clock.now)
    return (now.files, now.folders) == (start.files, start.folders) and (
        bool(done.lost) or now.shares == start.shares
    )


def _told(rows: Sequence[Row]) -> dict[str, Any]:
    def share(some: Sequence[Row]) -> float:
        return round(statistics.mean(not row.wrong for row in some), 4)

    seconds = [row.seconds for row in rows]
    undone = [row.undone for row in rows if row.undone is not None]
    return {
        "commands": len(rows),
        "share": share(rows),
        "kinds": {
            kind: share([r for r in rows if r.kind == kind]) for kind in dict.fromkeys(r.kind for r in rows)
        },
        "seconds": {"p50": round(percentile(seconds, 0.5), 2), "p95": round(percentile(seconds, 0.95), 2)},
        "second_rounds": sum(row.rounds > 1 for row in rows),
        "undone": f"{sum(undone)} of {len(undone)}",
        "rows": msgspec.to_builtins(rows),
    }


def _show(title: str, told: dict[str, Any]) -> None:
    kinds = ", ".join(f"{kind} {share:.0%}" for kind, share in told["kinds"].items())
    print(f"{title}: {told['share']:.1%} right ({kinds}); {told['seconds']['p50']} s a command", flush=True)


def _seen(row: Row) -> Row:
    if row.wrong:
        print(f"  {row.id}: {row.say}\n    {row.plan}\n    {row.wrong}", flush=True)
    return row
