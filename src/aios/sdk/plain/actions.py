"""What a plan comes to in a tree: syscalls with all their arguments, and the answer."""

from __future__ import annotations

from typing import Any

import msgspec

from aios.syscalls import storage
from aios.syscalls.base import Call


class Action(msgspec.Struct, frozen=True):
    """One change. `line` says it to a person; `destroys`: why it is asked for before, "" if it is not."""

    call: Call[Any]
    line: str
    destroys: str = ""


class Summary(msgspec.Struct, frozen=True):
    """A summary to be made of `paths` when the program runs, and written to `to` ("": only answered)."""

    paths: tuple[str, ...]
    to: str
    line: str
    destroys: str = ""


class Program(msgspec.Struct, frozen=True):
    """What a command comes to. `text`, `paths` and `groups` answer it."""

    actions: tuple[Action | Summary, ...] = ()
    text: str = ""
    paths: tuple[str, ...] = ()
    groups: tuple[tuple[str, tuple[str, ...]], ...] = ()

    @property
    def destroys(self) -> tuple[str, ...]:
        """What must be asked for."""
        return tuple(action.destroys for action in self.actions if action.destroys)


def make_folder(path: str) -> Action:
    return Action(storage.MakeFolder(path=path), f"make folder {path}")


def write(path: str, text: str, *, over: bool, expect: int | None) -> Action:
    """`over`: there is a file, of version `expect`."""
    call = storage.WriteFile(path=path, text=text, expect=expect, parents=False)
    return Action(call, f"write {path}: {_short(text)}", f"overwrites {path}" if over else "")


def append(path: str, line: str, *, starts: bool) -> Action:
    """`starts`: the text so far ends with its line."""
    text = line.rstrip("\n") + "\n"
    call = storage.AppendFile(path=path, text=text if starts else "\n" + text)
    return Action(call, f"append to {path}: {_short(line)}")


def move(path: str, to: str) -> Action:
    return Action(storage.Move(path=path, to=to), f"move {path} -> {to}")


def copy(path: str, to: str) -> Action:
    return Action(storage.Copy(path=path, to=to), f"copy {path} -> {to}")


def delete(path: str) -> Action:
    return Action(storage.DeleteFile(path=path, recursive=True), f"delete {path}", f"deletes {path}")


def restore(id: int, path: str) -> Action:
    return Action(storage.Restore(id=id), f"take {path} out of the bin")


def rollback(path: str, version: int, told: str) -> Action:
    call = storage.Rollback(path=path, version=version)
    return Action(call, f"roll back {path} to {told}", f"puts {path} back to {told}")


def share(path: str, expires_s: float, password: str) -> Action:
    call = storage.ShareFile(path=path, expires_s=expires_s, password=password)
    told = f"share {path} for {_length(expires_s)}" + (" with a password" if password else "")
    return Action(call, told, f"lets whoever has the link read {path}")


def revoke(id: int, path: str) -> Action:
    return Action(storage.RevokeShare(id=id), f"stop sharing {path}", f"makes the link to {path} useless")


def summary(paths: tuple[str, ...], to: str, *, over: bool) -> Summary:
    told = f"summarise {', '.join(paths)}" + (f" in {to}" if to else "")
    return Summary(paths, to, told, f"overwrites {to}" if over else "")


def _short(text: str) -> str:
    return repr(text if len(text) <= 60 else text[:59] + "…")


def _length(seconds: float) -> str:
    for unit, size in (("days", 86_400), ("hours", 3_600), ("minutes", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.3g} {unit}"
    return f"{seconds:.0f} seconds"
