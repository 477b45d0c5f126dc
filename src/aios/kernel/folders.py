"""Roots that agents may mount: those of the configuration and those the operator adds, which outlive the
kernel. One that follows a folder of this machine is kept like it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator, Mapping
from pathlib import Path

import msgspec

from aios.access.files import write_private
from aios.config import SharedRoot
from aios.errors import AiosError, BadRequest, ConfigError, Conflict, NotFound
from aios.storage.manager import StorageManager

log = logging.getLogger(__name__)

AGAIN_S = 10.0
"""After which a folder that could not be followed is tried again."""


class SharedRoots(Mapping[str, SharedRoot]):
    """By name. `path`: where those are kept that the operator added (JSON, 0600)."""

    def __init__(
        self, storage: StorageManager, path: Path, configured: tuple[SharedRoot, ...], tasks: asyncio.TaskGroup
    ) -> None:
        self._storage, self._path, self._tasks = storage, path, tasks
        self._configured = {root.name: root for root in configured}
        self._added: dict[str, SharedRoot] = {}
        self._following: dict[str, asyncio.Task[None]] = {}
        self.trouble: dict[str, str] = {}
        """Why a root is not like its folder, by name."""

    def __getitem__(self, name: str) -> SharedRoot:
        return self._added[name] if name in self._added else self._configured[name]

    def __iter__(self) -> Iterator[str]:
        return iter({**self._configured, **self._added})

    def __len__(self) -> int:
        return len({**self._configured, **self._added})

    async def start(self) -> None:
        """Follow what is to be followed. Raises ConfigError."""
        for root in await asyncio.to_thread(self._load):
            self._added[root.name] = root
        for name in self:
            self._follow(self[name])

    async def stop(self) -> None:
        tasks = list(self._following.values())
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    async def add(self, root: SharedRoot) -> SharedRoot:
        """Raises BadRequest (no such folder, a bad name), Conflict (the name is taken)."""
        if root.name in self:
            raise Conflict(f"There is a shared root {root.name!r}.", "Choose another name.", param="name")
        _check(root)
        if root.folder and not await asyncio.to_thread(Path(root.folder).is_dir):
            raise BadRequest(f"There is no folder {root.folder}.", "Name one of this machine.", param="folder")
        await self._storage.files.stat(root.name, "/")  # its name must be fit for one
        self._added[root.name] = root
        await self._keep()
        self._follow(root)
        return root

    async def remove(self, name: str) -> SharedRoot:
        """Follow and offer it no more; what is mounted stays as it is. Raises NotFound, Conflict."""
        if name not in self._added:
            if name in self._configured:
                raise Conflict(f"{name!r} is in the configuration.", "Remove it there.", param="name")
            raise NotFound(f"There is no shared root {name!r}.", "List them.", param="name")
        root = self._added.pop(name)
        await self._keep()
        if (task := self._following.pop(name, None)) is not None:
            task.cancel()
            await asyncio.wait([task])
        self.trouble.pop(name, None)
        return root

    def _follow(self, root: SharedRoot) -> None:
        if root.folder:
            task = self._tasks.create_task(self._keep_like(root), name=f"folder {root.name}")
            self._following[root.name] = task

    async def _keep_like(self, root: SharedRoot) -> None:
        while True:
            try:
                async for done in self._storage.folders.follow(root.name, Path(root.folder)):
                    self.trouble.pop(root.name, None)
                    for path, why in done.skipped.items():
                        log.warning("%s: %s is left out: %s", root.name, path, why)
            except (AiosError, OSError) as error:
                self.trouble[root.name] = str(error)
                log.warning("%s is not followed: %s", root.folder, error)
                if isinstance(error, ConfigError):
                    return
            await asyncio.sleep(AGAIN_S)

    def _load(self) -> list[SharedRoot]:
        try:
            return msgspec.json.decode(self._path.read_bytes(), type=list[SharedRoot])
        except FileNotFoundError:
            return []
        except (OSError, msgspec.MsgspecError) as error:
            raise ConfigError(f"{self._path} can't be read: {error}.", "Mend or delete it.") from error

    async def _keep(self) -> None:
        await asyncio.to_thread(write_private, self._path, msgspec.json.encode(list(self._added.values())))


def _check(root: SharedRoot) -> None:
    if not root.name or ":" in root.name or root.name.startswith("kernel/"):
        raise BadRequest(
            f"{root.name!r} is no name for a shared root.", "Use a name without a colon.", param="name"
        )
    if root.folder and root.writable:
        raise BadRequest("A root that follows a folder is only read.", "Write the folder.", param="writable")
