"""Which files a phrase means: by their names, by what is known of them, and by searches of the kernel."""

from __future__ import annotations

from collections.abc import Sequence

from aios.errors import NotFound
from aios.sdk.plain.kernel import Calls
from aios.sdk.plain.phrases import Selection
from aios.sdk.plain.scene import Scene, joined
from aios.sdk.plain.words import alike, words
from aios.syscalls import storage
from aios.syscalls.storage_records import Filter, Hit, Stat

NAMED, HELD = 2, 1
"""What a word is worth that is in a file's name (or is its tag), and one that is in its text."""
NEAR = 3
"""Files that a search by meaning gives when several may be meant: it knows no end."""
SEARCHED = 200


async def select(said: Selection, scene: Scene, kernel: Calls, *, folders: bool = False) -> list[str]:
    """Paths of the files that `said` means, never none. `folders`: it may mean a folder itself, else what is in
    it. Raises NotFound, AiosError."""
    if said.unknown:
        raise NotFound(f"There is no {' or '.join(said.unknown)}.", "Name something that is there.")
    if said.names:
        inner = [path for path in said.names if path.startswith(joined(said.folder, ""))]
        return _opened(inner or list(said.names), scene, folders)
    if folders and said.itself and not said.period and not said.suffixes and not said.tags:
        return [said.folder]
    there = [file for file in scene.inside(said.folder) if passes(said, file)]
    if said.about:
        found = await _about(said, there, kernel)
    elif said.filtered or said.many:
        found = there
    else:
        found = []
    found = ordered(said, found)
    if not found:
        raise NotFound(f"No file is {said.text!r}.", "Say it in other words, or name the file.")
    return [file.path for file in found]


def passes(said: Selection, file: Stat) -> bool:
    """Whether what is known of the file fits."""
    period = said.period
    return (
        (not said.suffixes or file.path.lower().endswith(said.suffixes))
        and set(said.tags) <= set(file.tags)
        and (period is None or period.start is None or file.changed >= period.start)
        and (period is None or period.end is None or file.changed < period.end)
    )


def ordered(said: Selection, found: Sequence[Stat]) -> list[Stat]:
    """In the order that is asked for, and as many."""
    if said.order is None:
        return list(found)
    by_time = said.order in ("newest", "oldest")
    backwards = said.order in ("newest", "largest")
    made = sorted(found, key=lambda f: (f.changed if by_time else f.size, f.path), reverse=backwards)
    return made[: said.count]


def _opened(paths: list[str], scene: Scene, folders: bool) -> list[str]:
    """The files in folders, unless the folders themselves are meant."""
    opened: list[str] = []
    for path in paths:
        inner = [] if folders or not scene.is_folder(path) else [file.path for file in scene.inside(path)]
        opened += inner or [path]
    return list(dict.fromkeys(opened))


async def _about(said: Selection, there: Sequence[Stat], kernel: Calls) -> list[Stat]:
    """Files that have most of the words; the likeliest one, unless several may be meant. Those that have them
    in their names alone come first, unless the phrase speaks of contents."""
    worth: dict[str, list[int]] = {file.path: [] for file in there}
    for word in said.about:
        held = {hit.stat.path for hit in await _hits(said, word, kernel, meaning=False)}
        for file in there:
            named = any(alike(word, own) for own in (*words(file.path), *map(str.lower, file.tags)))
            if named or file.path in held:
                worth[file.path].append(NAMED if named else HELD)
    most = max(map(len, worth.values()), default=0)
    if most * 2 < len(said.about):
        hits = await _hits(said, said.text, kernel, meaning=True)
        near = [hit.stat.path for hit in hits[: NEAR if said.many else 1]]
        return [file for file in there if file.path in near]
    best = [file for file in there if len(worth[file.path]) == most]
    named = [file for file in best if sum(worth[file.path]) == NAMED * most]
    if named and not said.inside:
        best = named
    if said.many or said.order:
        return best
    return sorted(best, key=lambda f: (-sum(worth[f.path]), len(words(f.path)), -f.changed))[:1]


async def _hits(said: Selection, query: str, kernel: Calls, *, meaning: bool) -> tuple[Hit, ...]:
    period = said.period
    where = Filter(
        under=said.folder, tags=said.tags,
        after=period.start if period else None, before=period.end if period else None,
    )  # fmt: skip
    return (await kernel.syscall(storage.Find(query=query, where=where, meaning=meaning, limit=SEARCHED))).hits
