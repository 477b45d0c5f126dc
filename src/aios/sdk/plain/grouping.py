"""The step that puts files into groups."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING

from aios.sdk.plain import plan
from aios.sdk.plain.scene import joined, name, shared_folder
from aios.sdk.plain.when import number
from aios.sdk.plain.words import STOP, words
from aios.syscalls import storage
from aios.syscalls.storage_records import Filter, Stat

if TYPE_CHECKING:
    from aios.sdk.plain.compiler import Compiler

_LOOKS = re.compile(
    r"\b(?:do not|don'?t|without|never) (?:mov|chang|touch)\w*"
    r"|\b(?:only|just)\b.*\b(?:see|show|tell|look|list)\b"
    r"|\bshow me\b|\bwhich\b", re.I,
)  # fmt: skip
Groups = list[tuple[str, tuple[str, ...]]]


async def group(compiler: Compiler, step: plan.Group) -> None:
    """Answer by the groups; with `folders` move each into one of its own, beside the files."""
    said = compiler.said(step.what)
    paths = await compiler.files(said)
    files = [file for path in paths if (file := compiler.scene.get(path))]
    moves = step.folders and not _LOOKS.search(compiler.command)
    match step.by:
        case "tag":
            made = _by_tag(files, once=moves)
        case "type":
            made = _by(files, {file.path: _ending(file.path) for file in files})
        case "month":
            zone = compiler.now.tzinfo
            made = _by(files, {f.path: f"{datetime.fromtimestamp(f.changed, zone):%Y-%m}" for f in files})
        case "topic":
            made = await _by_topic(compiler, said.folder, files, step.groups)
    compiler.groups = tuple(made)
    compiler.text = "\n".join(f"{label}: {', '.join(inside)}" for label, inside in made)
    compiler.before = paths
    if moves:
        above = said.folder if said.folder != "/" else shared_folder(paths)
        compiler.into_folders(above, made)
        compiler.before = [joined(above, label, name(path)) for label, inside in made for path in inside]


def _by(files: Sequence[Stat], labels: dict[str, str]) -> Groups:
    """Files by their labels, the largest group first."""
    found: dict[str, list[str]] = {}
    for file in files:
        found.setdefault(labels[file.path], []).append(file.path)
    return sorted(((label, tuple(paths)) for label, paths in found.items()), key=lambda g: (-len(g[1]), g[0]))


def _ending(path: str) -> str:
    return name(path).rpartition(".")[2] if "." in name(path) else "other"


def _by_tag(files: Sequence[Stat], *, once: bool) -> Groups:
    """A file is in the group of each of its tags; `once`: of the one that most files have."""
    used = Counter(tag for file in files for tag in file.tags)
    if once:
        return _by(files, {f.path: max(f.tags, key=lambda t: (used[t], t), default="untagged") for f in files})
    found = [(tag, tuple(f.path for f in files if tag in f.tags)) for tag in sorted(used)]
    rest = tuple(file.path for file in files if not file.tags)
    return [*found, ("untagged", rest)] if rest else found


async def _by_topic(compiler: Compiler, folder: str, files: Sequence[Stat], groups: int) -> Groups:
    """By the kernel's own grouping. The number counts only if the command says it."""
    told = {number(word) for word in words(compiler.command)}
    call = storage.GroupFiles(
        where=Filter(under=folder), groups=groups if groups > 1 and groups in told else None
    )
    answer = await compiler.kernel.syscall(call)
    wanted = {file.path for file in files}
    made: Groups = []
    for each in answer.groups:
        inside = tuple(path for path in each.paths if path in wanted)
        if inside:
            made.append((_label(each.label, [label for label, _ in made]), inside))
    left = tuple(sorted(wanted - {path for _, inside in made for path in inside}))
    return [*made, ("other", left)] if left else made


def _label(given: str, taken: Sequence[str]) -> str:
    """The first word that says something and that no other group has."""
    free = [word for word in given.split() if word not in taken and word not in STOP]
    return free[0] if free else f"group-{len(taken) + 1}"
