"""Steps that go back: to an old version, or to what is in the bin."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aios.errors import BadRequest, NotFound
from aios.sdk.plain import actions, plan
from aios.sdk.plain.when import state_at, version_of
from aios.sdk.plain.words import GENERIC, MANY, STOP, alike, singular, words
from aios.syscalls import storage
from aios.syscalls.storage_records import Binned, Version

if TYPE_CHECKING:
    from aios.sdk.plain.compiler import Compiler


async def go_back(compiler: Compiler, step: plan.Undelete | plan.Rollback) -> None:
    """What is there is rolled back, what is in the bin is taken out: whichever the phrase means, the verb of
    the step first. Raises NotFound, BadRequest."""
    when = step.when if isinstance(step, plan.Rollback) else ""
    if isinstance(step, plan.Undelete) and await _undelete(compiler, step.what):
        return
    try:
        said = compiler.said(step.what, timed=False)
        paths = await compiler.files(said)
    except NotFound:
        if isinstance(step, plan.Rollback) and await _undelete(compiler, step.what):
            return
        raise
    for path in paths:
        version, told = await _version(compiler, path, when)
        compiler.add(actions.rollback(path, version, told))
    compiler.before = paths


async def _undelete(compiler: Compiler, what: str) -> bool:
    """Whether there was such a thing in the bin."""
    binned = (await compiler.kernel.syscall(storage.ListBin())).entries
    wanted = [w for w in words(what) if w not in STOP and singular(w) not in GENERIC]
    found = [entry for entry in binned if _has(entry, wanted)]
    if wanted and not set(words(what)) & MANY:
        found = found[-1:]
    elif not set(words(what)) & MANY:
        found = []
    for entry in found:
        compiler.add(actions.restore(entry.id, entry.path))
        compiler.scene.put(entry.path)
    compiler.before = [entry.path for entry in found]
    return bool(found)


def _has(entry: Binned, wanted: list[str]) -> bool:
    own = words(entry.path)
    return all(any(alike(word, other) for other in own) for word in wanted)


async def _version(compiler: Compiler, path: str, when: str) -> tuple[int, str]:
    """The version that is meant (the one before the newest, if nothing is said of it), and how it is told."""
    told = (await compiler.kernel.syscall(storage.FileHistory(path=path, limit=1_000))).versions
    versions = _contents(told)
    at = None
    for text in (when, compiler.command):
        time = state_at(text, compiler.now) if text else None
        if time is not None:
            earlier = [n for n, version in enumerate(versions) if version.at <= time]
            if not earlier:
                raise NotFound(f"{path} was not there then.", "Say another time, or see its history.")
            at = earlier[-1]
        else:
            at = version_of(text, len(versions)) if text else None
        if at is not None:
            break
    at = len(versions) - 2 if at is None else at
    if at < 0:
        raise NotFound(f"{path} has no older version.", "Name another file.")
    if at == len(versions) - 1:
        raise BadRequest(f"{path} is at that version.", "Say another version or time.")
    return versions[at].version, f"version {at + 1} of {len(versions)}"


def _contents(told: tuple[Version, ...]) -> list[Version]:
    """The oldest first; a change of tags alone is no version to a person."""
    kept: list[Version] = []
    for version in reversed(told):
        if not kept or kept[-1].digest != version.digest:
            kept.append(version)
    return kept
