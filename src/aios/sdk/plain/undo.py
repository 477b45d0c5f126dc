"""Taking back what a command did: for each call the call that undoes it, kept in a file of the agent's own
root.

Only what the command changed is taken back, and only if nobody has changed it since: changes of contents stand
on the version that the command left."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from aios.errors import Conflict, NotFound
from aios.sdk.plain.kernel import Calls
from aios.syscalls import Record, storage
from aios.syscalls.base import Call
from aios.syscalls.storage import StorageCall
from aios.syscalls.storage_records import Binned, ShareInfo, Stat

FILE = "/.aios/undo.jsonl"
"""A command a line. It only grows: to write over it an agent would have to ask. Hidden from plain language, not
from the agent."""
KEPT = 20
"""Commands that can be taken back, the newest first."""


class Done(Record, frozen=True):
    """What a command did. `back`: the calls that undo it, in the order they are to be made. `lost`: what can't
    be taken back. `undone`: that the last one is taken back."""

    command: str
    at: float
    back: tuple[StorageCall, ...]
    lost: tuple[str, ...] = ()
    undone: bool = False


def changes(call: Call[Any]) -> str:
    """The path whose state before `call` must be known to undo it; "" if none."""
    match call:
        case storage.WriteFile() | storage.AppendFile() | storage.Rollback():
            return call.path
        case _:
            return ""


def inverse(call: Call[Any], before: Stat | None, answer: Any) -> StorageCall | None:
    """The call that undoes `call`, which was answered by `answer`. `before`: what was at `changes(call)`. None
    if nothing does."""
    match call, answer:
        case storage.WriteFile() | storage.AppendFile() | storage.Rollback(), Stat() if before:
            return storage.Rollback(path=answer.path, version=before.version, expect=answer.version)
        case storage.WriteFile() | storage.AppendFile(), Stat():
            return storage.DeleteFile(path=answer.path, expect=answer.version)
        case storage.MakeFolder(), Stat():
            return storage.DeleteFile(path=answer.path)
        case storage.Move(), Stat():
            return storage.Move(path=call.to, to=call.path)
        case storage.Copy(), Stat():
            return storage.DeleteFile(path=answer.path, recursive=True)
        case storage.DeleteFile(), Binned():
            return storage.Restore(id=answer.id)
        case storage.Restore(), Stat():
            return storage.DeleteFile(path=answer.path, recursive=True)
        case storage.ShareFile(), ShareInfo():
            return storage.RevokeShare(id=answer.id)
        case _:
            return None


async def take_back(kernel: Calls, back: Sequence[StorageCall]) -> None:
    """Make these calls. A folder that has got something else in it stays. Raises AiosError."""
    became: dict[int, int] = {}
    """A version that was rolled back to has a new number: what stands on the old one now stands on this."""
    for one in back:
        call: Call[Any] = one
        if isinstance(call, storage.DeleteFile | storage.Rollback) and call.expect is not None:
            call = msgspec.structs.replace(call, expect=became.get(call.expect, call.expect))
        try:
            answer: Any = await kernel.syscall(call)
        except Conflict:
            if not isinstance(call, storage.DeleteFile) or call.expect is not None:
                raise
        else:
            if isinstance(call, storage.Rollback) and call.version is not None:
                became[call.version] = answer.version


class History:
    """What was done, in `FILE`."""

    def __init__(self, kernel: Calls) -> None:
        self._kernel = kernel

    async def keep(self, done: Done) -> None:
        """Raises AiosError."""
        await self._add(done)

    async def undo(self) -> Done:
        """Take back the last command and forget it. Raises NotFound (there is none), VersionConflict (somebody
        has changed it since), AiosError: then the calls that were made stay made, and the command is still
        known."""
        known = await self._read()
        if not known:
            raise NotFound("There is nothing to undo.", "Only `aios do` can be undone; see: aios fs history")
        last = known[-1]
        await take_back(self._kernel, last.back)
        await self._add(Done(command=last.command, at=last.at, back=(), undone=True))
        return last

    async def _read(self) -> list[Done]:
        try:
            content = await self._kernel.syscall(storage.ReadFile(path=FILE))
        except NotFound:
            return []
        known: list[Done] = []
        for line in content.data.splitlines():
            done = msgspec.json.decode(line, type=Done)
            known = known[:-1] if done.undone else [*known, done]
        return known[-KEPT:]

    async def _add(self, done: Done) -> None:
        await self._kernel.syscall(storage.AppendFile(path=FILE, data=msgspec.json.encode(done) + b"\n"))
