"""A root that follows a real folder: what changes there becomes versions here. The folder is the truth.

`Mounts.mount(owner, path, name)` shows such a root to an owner, to read. Symbolic links are not followed and
special files are left out, so nothing outside of the folder is ever read.
"""

from __future__ import annotations

import asyncio
import os
import stat
from collections.abc import AsyncIterator, Callable
from pathlib import Path

from aios.errors import AiosError, ConfigError, InvalidPath, NotFound, StorageUnavailable
from aios.storage.files import Files
from aios.storage.paths import Parts, parse_inner, show
from aios.storage.records import Followed
from aios.storage.staging import Staging
from aios.syscalls.storage_records import Stat

AUTHOR = "folder"
SETTLE_MS = 200
"""How long changes are gathered before they are taken over."""

Seen = dict[Parts, tuple[int, int, int]]
"""Real files as they were last: size, time of change (ns), inode."""


class Folders:
    """Keeps roots like real folders."""

    def __init__(self, files: Files, staging: Staging) -> None:
        self._files, self._staging = files, staging

    async def sync(self, name: str, folder: Path, seen: Seen | None = None) -> Followed:
        """Make root `name` like `folder`, once. What is unchanged in `seen` is not read again, and `seen` is
        brought up to date. Raises NotFound if the folder is not there: then the root stays as it is."""
        seen = {} if seen is None else seen
        real, folders, skipped = await asyncio.to_thread(_scan, folder)
        here = {entry.path: entry async for entry in self._entries(name)}
        removed = await self._remove(name, here, real, folders, skipped)
        for parts in sorted(folders - {parse_inner(path) for path in here}):
            await self._files.mkdir(name, show(parts), parents=True, author=AUTHOR)
        written = 0
        for parts, state in real.items():
            if seen.get(parts) == state and show(parts) in here:
                continue
            try:
                written += await self._take(name, folder, parts, here.get(show(parts)))
            except StorageUnavailable:
                raise
            except (AiosError, OSError) as error:
                skipped[show(parts)] = str(error)  # too large, over quota, or gone meanwhile
            else:
                seen[parts] = state
        for parts in seen.keys() - real.keys():
            del seen[parts]
        return Followed(written=written, removed=removed, skipped=skipped)

    async def follow(self, name: str, folder: Path) -> AsyncIterator[Followed]:
        """`sync` now and whenever something changes in `folder`, for ever. Raises ConfigError without the extra
        `watch`, and as `sync`."""
        try:
            from watchfiles import awatch  # pyright: ignore[reportUnknownVariableType]
        except ImportError as error:
            raise ConfigError("Following a folder needs watchfiles.", "Install aios[watch].") from error
        seen: Seen = {}
        yield await self.sync(name, folder, seen)
        caught_up = False
        watching = awatch(folder, watch_filter=None, step=SETTLE_MS, rust_timeout=500, yield_on_timeout=True)
        async for changes in watching:
            # The first time it has nothing to tell, what changed before it watched is taken over.
            if changes or not caught_up:
                caught_up = caught_up or not changes
                done = await self.sync(name, folder, seen)
                if done.written or done.removed:
                    yield done

    async def _entries(self, name: str) -> AsyncIterator[Stat]:
        cursor = ""
        while True:
            page = await self._files.glob(name, "**", cursor=cursor)
            for entry in page.entries:
                yield entry
            cursor = page.cursor
            if not cursor:
                return

    async def _remove(
        self, name: str, here: dict[str, Stat], real: Seen, folders: set[Parts], skipped: dict[str, str]
    ) -> int:
        """Put what the folder has not, or has as another kind, into the bin; not what could not be read."""
        removed: list[str] = []
        for path, entry in list(here.items()):
            parts = parse_inner(path)
            if any(path == top or path.startswith(top + "/") for top in removed):
                del here[path]
            elif parts not in (folders if entry.kind == "dir" else real) and not _unread(path, skipped):
                await self._files.delete(name, path, recursive=True, author=AUTHOR)
                removed.append(path)
                del here[path]
        return len(removed)

    async def _take(self, name: str, folder: Path, parts: Parts, here: Stat | None) -> bool:
        """Write one file if its content is new. Whether it was."""
        data = await asyncio.to_thread(_read, folder, parts, self._staging.check_size)
        if here is not None and (await self._staging.recipe(data)).digest.hex() == here.digest:
            return False
        await self._files.write(name, show(parts), data, author=AUTHOR)
        return True


def _unread(path: str, skipped: dict[str, str]) -> bool:
    return any(path == top or path.startswith(top + "/") for top in skipped)


def _scan(folder: Path) -> tuple[Seen, set[Parts], dict[str, str]]:
    """Regular files and folders in `folder`, and what is left out with the reason. Raises NotFound."""
    found: Seen = {}
    folders: set[Parts] = set()
    skipped: dict[str, str] = {}

    def failed(error: OSError) -> None:
        relative = os.path.relpath(error.filename, folder)
        if relative == ".":
            raise NotFound(f"The folder {folder} can't be read: {error.strerror}.", "Is it mounted?")
        skipped[_shown(relative)] = str(error.strerror)

    if not folder.is_dir():
        raise NotFound(f"There is no folder {folder}.", "Is it mounted?")
    for path, inner, names, handle in os.fwalk(folder, onerror=failed):
        above = () if path == str(folder) else tuple(os.path.relpath(path, folder).split(os.sep))
        for name in [*inner, *names]:
            try:
                _note(found, folders, (*above, name), os.stat(name, dir_fd=handle, follow_symlinks=False))
            except (InvalidPath, OSError) as error:
                skipped[_shown("/".join((*above, name)))] = str(error)
                if name in inner:
                    inner.remove(name)
    return found, folders, skipped


def _note(found: Seen, folders: set[Parts], parts: Parts, state: os.stat_result) -> None:
    if parse_inner(show(parts)) != parts:
        raise InvalidPath(f"{parts[-1]!a} is not in Unicode normal form C.", "Rename it.")
    if stat.S_ISDIR(state.st_mode):
        folders.add(parts)
    elif stat.S_ISREG(state.st_mode):
        found[parts] = (state.st_size, state.st_mtime_ns, state.st_ino)
    else:
        raise InvalidPath(f"{show(parts)} is no regular file.")


def _shown(path: str) -> str:
    return "/" + path.encode("utf-8", "backslashreplace").decode()


def _read(folder: Path, parts: Parts, check_size: Callable[[int], None]) -> bytes:
    """The file's bytes. No link is followed on the way, also not one that was put there just now."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        for part in parts[:-1]:
            inner = os.open(part, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=handle)
            os.close(handle)
            handle = inner
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        with os.fdopen(os.open(parts[-1], flags, dir_fd=handle), "rb") as file:
            state = os.fstat(file.fileno())
            if not stat.S_ISREG(state.st_mode):
                raise InvalidPath(f"{show(parts)} is no regular file.")
            check_size(state.st_size)
            return file.read(state.st_size)
    finally:
        os.close(handle)
