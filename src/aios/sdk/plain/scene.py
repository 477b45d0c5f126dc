"""The tree as it will be: what the kernel says is there, and what the steps so far will have done to it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec

from aios.errors import NotFound
from aios.sdk.plain.kernel import Calls
from aios.syscalls import storage
from aios.syscalls.storage_records import Stat

MOST = 5_000
"""Entries that are looked at. What a larger tree has beyond them is found by searches only."""
HIDDEN = "/."


class Scene:
    """Entries of a root by path; nothing hidden (a name that starts with a dot at the top). Pure bookkeeping:
    it calls nothing after `load`."""

    def __init__(self, entries: Iterable[Stat]) -> None:
        self._entries = {entry.path: entry for entry in entries}

    @classmethod
    async def load(cls, kernel: Calls) -> Scene:
        """Raises AiosError."""
        entries: list[Stat] = []
        cursor = ""
        while len(entries) < MOST:
            page = await kernel.syscall(storage.Glob(pattern="**", cursor=cursor))
            entries += [entry for entry in page.entries if not entry.path.startswith(HIDDEN)]
            cursor = page.cursor
            if not cursor:
                break
        return cls(entries)

    def files(self) -> list[Stat]:
        """By path."""
        return sorted((e for e in self._entries.values() if e.kind != "dir"), key=lambda entry: entry.path)

    def folders(self) -> list[str]:
        """By path, without the root."""
        return sorted(path for path, entry in self._entries.items() if entry.kind == "dir")

    def get(self, path: str) -> Stat | None:
        return self._entries.get(path)

    def is_folder(self, path: str) -> bool:
        return path == "/" or ((entry := self.get(path)) is not None and entry.kind == "dir")

    def inside(self, folder: str) -> list[Stat]:
        """Files below `folder`, however deep."""
        start = folder.rstrip("/") + "/"
        return [entry for entry in self.files() if entry.path.startswith(start)]

    # -- what steps will do ------------------------------------------------------------------------

    def put(self, path: str, like: Stat | None = None) -> None:
        """A file at `path`, and folders above it."""
        for folder in missing_above(self, path):
            self._entries[folder] = Stat(path=folder, kind="dir", version=0)
        blank = like or Stat(path=path, kind="file", version=0)
        self._entries[path] = msgspec.structs.replace(blank, path=path)

    def make_folder(self, path: str) -> None:
        for folder in (*missing_above(self, path), path):
            self._entries.setdefault(folder, Stat(path=folder, kind="dir", version=0))

    def remove(self, path: str) -> None:
        """With all that is in it."""
        for gone in [p for p in self._entries if p == path or p.startswith(path + "/")]:
            del self._entries[gone]

    def move(self, path: str, to: str) -> None:
        """With all that is in it. Raises NotFound."""
        moved = [p for p in self._entries if p == path or p.startswith(path + "/")]
        if not moved:
            raise NotFound(f"There is no {path}.", "Name something that is there.")
        entries = [(to + p[len(path) :], self._entries.pop(p)) for p in moved]
        for new, entry in entries:
            self.put(new, entry)


def parent(path: str) -> str:
    """The folder `path` is in."""
    return path.rpartition("/")[0] or "/"


def name(path: str) -> str:
    """The last part of `path`."""
    return path.rpartition("/")[2]


def joined(folder: str, *names: str) -> str:
    """`names` below `folder`."""
    return "/".join((folder.rstrip("/"), *(part.strip("/") for part in names)))


def missing_above(scene: Scene, path: str) -> list[str]:
    """Folders that `path` needs and that are not there, the topmost first."""
    found: list[str] = []
    above = parent(path)
    while not scene.is_folder(above):
        found.insert(0, above)
        above = parent(above)
    return found


def shared_folder(paths: Sequence[str]) -> str:
    """The deepest folder that all of `paths` are in."""
    folders = [parent(path).split("/") for path in paths]
    shared: list[str] = []
    for parts in zip(*folders, strict=False):
        if len(set(parts)) > 1:
            break
        shared.append(parts[0])
    return "/".join(shared) or "/"
