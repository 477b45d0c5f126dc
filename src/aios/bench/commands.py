"""Commands in plain language, the trees they are said in, and what must come of them.

Those of the parts `tune` and `report` were written before any prompt; those of `fresh` afterwards, by someone
who had seen neither the prompt nor what came of the others. What is checked is the tree, the shares and the
answer, not the way there: any plan that gets them right counts. All that an expectation does not name must be
as it was.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import AsyncIterator, Iterable, Iterator
from datetime import datetime
from importlib.resources import files
from types import SimpleNamespace
from typing import Any, TypeVar

import msgspec

from aios.kernel.storagecalls import storage_calls
from aios.storage.manager import StorageManager
from aios.syscalls.base import Call
from aios.syscalls.storage import ShareFile
from aios.syscalls.storage_records import Stat

R = TypeVar("R")
DAY_S = 86_400.0
HIDDEN = "/."
PARTS = ("tune", "report", "fresh")


class Share(msgspec.Struct, forbid_unknown_fields=True):
    """A link that must be there. `hours`: its life, at least and at most; `password`: what opens it."""

    path: str
    hours: tuple[float, float] | None = None
    password: str = ""


class Together(msgspec.Struct, forbid_unknown_fields=True):
    """Files that must be in one folder of any name, with nothing else in it."""

    files: list[str]


class Expect(msgspec.Struct, forbid_unknown_fields=True):
    """One right outcome. `paths` (with or without some of `optional`), `number`, `groups`: what the answer must
    have. `facts`: words of which a summary must have `least` (one of each row), being shorter than the files
    `of`; it is the answer, or the file whose text is "facts". `files`: texts ("=PATH@N": that of version N of
    PATH, counted from the oldest; "has:A;B": with A and B in it). `moved`, `copied`: old path, new path.
    `clusters`: files moved to one folder for each row."""

    paths: list[str] | None = None
    optional: list[str] = []
    number: int | None = None
    groups: list[list[str]] | None = None
    facts: list[list[str]] = []
    least: int = 0
    of: list[str] = []
    files: dict[str, str] = {}
    folders: list[str] = []
    moved: dict[str, str] = {}
    copied: dict[str, str] = {}
    gone: list[str] = []
    together: Together | None = None
    clusters: list[list[str]] | None = None
    shares: list[Share] | None = None


class Case(msgspec.Struct, forbid_unknown_fields=True):
    """A command `say`, said in the tree `tree`. Any of `expect` is right."""

    id: str
    kind: str
    tree: str
    say: str
    expect: list[Expect]


class Seed(msgspec.Struct, forbid_unknown_fields=True):
    """A file of a tree (plain_trees.toml says what the fields mean)."""

    path: str
    days: float
    text: str
    tags: list[str] = []
    before: list[dict[str, Any]] = []
    binned: bool = False
    shared: bool = False

    def versions(self) -> list[tuple[float, str]]:
        """Age in days and text of each, the oldest first."""
        return [*((old["days"], old["text"]) for old in self.before), (self.days, self.text)]


class State(msgspec.Struct):
    """A root as it is: texts of files by path, folders, shares."""

    files: dict[str, str]
    folders: set[str]
    shares: list[tuple[str, float, bool]]
    """Path, hours left, whether it has a password."""


class Answered(msgspec.Struct):
    """What a command was answered by. `passwords`: of the shares it made, by path."""

    text: str = ""
    paths: tuple[str, ...] = ()
    groups: tuple[tuple[str, ...], ...] = ()
    passwords: dict[str, str] = {}


def cases(part: str) -> list[Case]:
    """The commands of `part` (one of PARTS)."""
    lines = files("aios.bench").joinpath("data", f"plain_{part}.jsonl").read_bytes().splitlines()
    return [msgspec.json.decode(line, type=Case) for line in lines]


def trees() -> tuple[datetime, dict[str, list[Seed]]]:
    """The time at which commands are said, and the trees by name."""
    read = tomllib.loads(files("aios.bench").joinpath("data", "plain_trees.toml").read_text("utf-8"))
    now = read.pop("now")
    return now, {name: msgspec.convert(seeds, list[Seed]) for name, seeds in read.items()}


class Clock:
    """Unix time that is set."""

    def __init__(self, now: float) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


class Direct:
    """Syscalls of `owner` straight to a storage manager whose `clock` is set: a kernel has only the real
    time."""

    def __init__(self, storage: StorageManager, owner: str, clock: Clock) -> None:
        self._storage, self._clock = storage, clock
        self._table = storage_calls(storage, {})
        self._process: Any = SimpleNamespace(agent=owner)
        self.passwords: dict[str, str] = {}
        """Of the shares that were made, by path."""

    async def syscall(self, call: Call[R]) -> R:
        """Raises AiosError."""
        if not isinstance(call, ShareFile):
            return await self._table[type(call)](self._process, call)
        self.passwords[call.path] = call.password
        made: Any = await self._storage.shares.create(
            self._process.agent, call.path, expires=self._clock() + call.expires_s, password=call.password
        )
        return made


async def plant(storage: StorageManager, owner: str, seeds: Iterable[Seed], clock: Clock) -> None:
    """Make the tree, each version at its time. `clock` is the storage's; it is as it was afterwards."""
    now, seeds = clock.now, list(seeds)
    writes = [(days, seed.path, text, seed.tags) for seed in seeds for days, text in seed.versions()]
    for days, path, text, tags in sorted(writes, key=lambda write: -write[0]):
        clock.now = now - days * DAY_S
        first = await storage.files.write(owner, path, text.encode())
        if tags and set(tags) != set(first.tags):
            await storage.files.describe(owner, path, tags=tuple(tags))
    for seed in seeds:
        clock.now = now - DAY_S / 24
        if seed.binned:
            await storage.files.delete(owner, seed.path)
        if seed.shared:
            await storage.shares.create(owner, seed.path, expires=now + DAY_S)
    clock.now = now


async def state(storage: StorageManager, owner: str, now: float) -> State:
    """The root of `owner`, but what is hidden in it."""
    found = State({}, set(), [])
    async for entry in _walk(storage, owner, "/"):
        if entry.kind == "dir":
            found.folders.add(entry.path)
        else:
            found.files[entry.path] = (await storage.files.read(owner, entry.path)).data.decode()
    for share in await storage.shares.list(owner):
        found.shares.append((share.path, (share.expires - now) / 3600, share.password))
    return found


async def _walk(storage: StorageManager, owner: str, path: str) -> AsyncIterator[Stat]:
    for entry in (await storage.files.list(owner, path)).entries:
        if not entry.path.startswith(HIDDEN):
            yield entry
            if entry.kind == "dir":
                async for inner in _walk(storage, owner, entry.path):
                    yield inner


# -- right or wrong --------------------------------------------------------------------------------


def wrong(case: Case, seeds: Iterable[Seed], start: State, end: State, answer: Answered) -> str:
    """What is wrong with the outcome, by the expectation it comes nearest to; "" if it is right."""
    texts = {f"{seed.path}@{n}": text for seed in seeds for n, (_, text) in enumerate(seed.versions(), 1)}
    texts |= {seed.path: seed.text for seed in seeds}
    faults = [list(_faults(expect, texts, start, end, answer)) for expect in case.expect]
    return "; ".join(min(faults, key=len))


def _faults(expect: Expect, texts: dict[str, str], start: State, end: State, answer: Answered) -> Iterator[str]:
    yield from _tree_faults(expect, texts, start, end)
    yield from _share_faults(expect, start, end, answer)
    if expect.paths is not None:
        wanted, got = set(expect.paths), set(answer.paths)
        if not wanted <= got <= wanted | set(expect.optional):
            yield f"answered {sorted(got)}"
    if expect.number is not None and str(expect.number) not in re.findall(r"\d+", answer.text):
        yield f"answered {answer.text!r}"
    if expect.groups is not None and _partition(expect.groups) != _partition(answer.groups):
        yield f"grouped {sorted(map(sorted, answer.groups))}"
    if expect.facts:
        places = [path for path, text in expect.files.items() if text == "facts"]
        text = end.files.get(places[0], "") if places else answer.text
        told = sum(any(word in text.lower() for word in row) for row in expect.facts)
        longest = sum(len(texts[path].split()) for path in expect.of)
        if told < expect.least:
            yield f"says {told} of {expect.least} facts: {text!r}"
        if len(text.split()) >= longest:
            yield "the summary is as long as the text"


def _tree_faults(expect: Expect, texts: dict[str, str], start: State, end: State) -> Iterator[str]:
    wanted, got = dict(start.files), dict(end.files)
    for old, new in expect.copied.items():
        wanted[new] = wanted[old]
    for old, new in expect.moved.items():
        wanted[new] = wanted.pop(old)
    for path in expect.gone:
        del wanted[path]
    wanted.update(expect.files)
    rows = expect.clusters or ([expect.together.files] if expect.together else [])
    homes = [_home(row, texts, wanted, got) for row in rows]
    if None in homes or len(set(homes)) < len(rows):
        yield f"not one folder for each of {rows}"
    for path in sorted(wanted.keys() | got.keys()):
        if path not in got:
            yield f"{path} is missing"
        elif path not in wanted:
            yield f"{path} should not be there"
        elif not _same(got[path], wanted[path], texts):
            yield f"{path} holds {got[path]!r}"
    for folder in expect.folders:
        if folder not in end.folders:
            yield f"no folder {folder}"


def _home(row: list[str], texts: dict[str, str], wanted: dict[str, str], got: dict[str, str]) -> str | None:
    """The folder that holds exactly the files `row` under their names, moved. They are taken off both sides."""
    names = sorted(path.rpartition("/")[2] for path in row)
    for path in row:
        wanted.pop(path)
    folders = {path.rpartition("/")[0] for path in got} - {
        path.rpartition("/")[0] for path in row if path in got
    }
    for folder in sorted(folders):
        inside = sorted(path for path in got if path.rpartition("/")[0] == folder)
        if [path.rpartition("/")[2] for path in inside] == names:
            moved = {path.rpartition("/")[2]: texts[path] for path in row}
            if all(_same(got[path], moved[path.rpartition("/")[2]], texts) for path in inside):
                for path in inside:
                    del got[path]
                return folder
    return None


def _same(got: str, wanted: str, texts: dict[str, str]) -> bool:
    if wanted == "facts":
        return True
    if wanted.startswith("="):
        return got.strip() == texts[wanted[1:]].strip()
    if wanted.startswith("has:"):
        return all(part.lower() in got.lower() for part in wanted[4:].split(";"))
    return _plain(got) == _plain(wanted)


def _plain(text: str) -> str:
    return " ".join(text.split()).strip(" .'\"").lower()


def _share_faults(expect: Expect, start: State, end: State, answer: Answered) -> Iterator[str]:
    if expect.shares is None:
        if start.shares != end.shares:
            yield f"shares are {end.shares}"
        return
    left = list(end.shares)
    for share in expect.shares:
        low, high = share.hours or (0.0, float("inf"))
        fitting = [
            s for s in left if s[0] == share.path and low <= s[1] <= high and s[2] == bool(share.password)
        ]
        if not fitting:
            yield f"no such share of {share.path} in {end.shares}"
        else:
            left.remove(fitting[0])
        if share.password != answer.passwords.get(share.path, ""):
            yield f"{share.path} opens with {answer.passwords.get(share.path)!r}"
    if left:
        yield f"shares too much: {left}"


def _partition(groups: Iterable[Iterable[str]]) -> set[frozenset[str]]:
    return {frozenset(group) for group in groups}
