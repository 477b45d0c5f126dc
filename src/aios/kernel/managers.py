"""Memory and storage of one kernel: opened together, on one embedder and one store."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from typing import Any

from aios import plugins
from aios.access.grants import Grants
from aios.config import MemorySettings, Settings, StorageSettings
from aios.errors import NotFound
from aios.kernel.flows import Files, Labelled
from aios.kernel.folders import SharedRoots
from aios.kernel.lane import Lane
from aios.kernel.memorycalls import MemoryStakes, memory_calls
from aios.kernel.services import Service
from aios.kernel.storagecalls import FileStakes, storage_calls
from aios.memory.embed import Lazy
from aios.memory.manager import MemoryManager
from aios.memory.records import Identity, MemoryLimits
from aios.storage.manager import StorageManager
from aios.storage.records import StorageLimits
from aios.syscalls import Completion, Generate, Message, ResponseFormat, Sampling

Ask = Callable[[int, Generate], Awaitable[Completion]]

SWAPPED = "kernel/memory"
"""The root whose blobs are the bodies that memory has swapped out."""
MOST_WAITING = 10_000
THOUGHT_TOKENS = 300
"""Longest answer about a note."""
MB = 1e6


class Managers:
    """`memory`, `storage`, the shared `roots`, the `services` that carry out their calls, and what of theirs is
    `labelled`."""

    def __init__(
        self, memory: MemoryManager, storage: StorageManager, roots: SharedRoots, lanes: tuple[Lane, Lane]
    ) -> None:
        self.memory, self.storage, self.roots = memory, storage, roots
        self.services = (
            Service(memory_calls(memory), lanes[0], MemoryStakes(memory.stakes)),
            Service(storage_calls(storage, roots), lanes[1], FileStakes(storage.stakes)),
        )
        self.labelled: Mapping[str, Labelled] = {"file": Files(storage.versions), "memory": memory.labels}


@asynccontextmanager
async def managers(
    settings: Settings, tasks: asyncio.TaskGroup, ask: Ask, grants: Grants, on_trouble: Callable[[str], None],
    on_damage: Callable[[str, str], None],
) -> AsyncGenerator[Managers]:  # fmt: skip
    """Open them in the state folder. `ask` makes an llm call for a process, aside; `grants`: who lets whom at
    what. Raises ConfigError, Conflict, StorageUnavailable."""
    state = settings.state_dir()
    lanes = (
        Lane("memory", settings.memory.concurrency, MOST_WAITING),
        Lane("storage", settings.storage.concurrency, MOST_WAITING),
    )
    think = _thinking(settings.memory, ask, lanes[0])
    async with (
        _embedder(settings.memory.embedder) as embedder,
        StorageManager(
            state / "storage", _storage_limits(settings.storage), embedder=embedder, on_trouble=on_trouble,
            on_damage=on_damage,
        ) as storage,
        MemoryManager(
            state / "memory", _memory_limits(settings.memory), embedder=embedder, backing=BlobBacking(storage),
            think=think, grants=grants,
        ) as memory,
    ):  # fmt: skip
        await storage.set_quota(SWAPPED, 1 << 60)  # what an agent may keep is said by the memory's own limits
        indexing = tasks.create_task(storage.run(), name="storage")
        roots = SharedRoots(storage, state / "roots.json", settings.storage.roots, tasks)
        await roots.start()
        try:
            yield Managers(memory, storage, roots, lanes)
        finally:
            await roots.stop()
            indexing.cancel()
            await asyncio.wait([indexing])


class BlobBacking:
    """Swapped bodies as blobs of the store, in the same chunks and under the same checks as files."""

    def __init__(self, storage: StorageManager) -> None:
        self._storage = storage

    async def put(self, key: str, data: bytes) -> None:
        """Raises StorageUnavailable."""
        await self._storage.blobs.put(SWAPPED, data, name=key)

    async def get(self, key: str) -> bytes:
        """Raises KeyError, StorageCorrupt, StorageUnavailable."""
        try:
            held = await self._storage.blobs.find(SWAPPED, key)
            return await self._storage.blobs.get(SWAPPED, held.digest)
        except NotFound as error:
            raise KeyError(key) from error

    async def delete(self, key: str) -> None:
        """Raises StorageUnavailable."""
        with suppress(NotFound):
            await self._storage.blobs.release(SWAPPED, key)


@asynccontextmanager
async def _embedder(name: str) -> AsyncGenerator[Lazy | None]:
    if name == "none":
        yield None
        return
    async with Lazy(plugins.load(plugins.EMBEDDERS, name)()) as embedder:
        yield embedder


def _thinking(settings: MemorySettings, ask: Ask, lane: Lane) -> Any:
    """What asks the default model for memory, or None."""
    if settings.thinking == "extract":
        return None

    async def think(who: Identity, messages: tuple[Message, ...], schema: dict[str, Any]) -> str:
        call = Generate(
            messages=messages,
            response_format=ResponseFormat(type="json_schema", schema=schema),
            sampling=Sampling(temperature=0.0),
            max_tokens=THOUGHT_TOKENS,
            deadline_s=settings.thinking_s,
            window="truncate",
            stream=False,
        )
        async with lane.stepped_out():  # memory has nothing to do for it meanwhile
            done = await ask(who.pid, call)
        return done.choices[0].content or ""

    return think


def _memory_limits(settings: MemorySettings) -> MemoryLimits:
    return MemoryLimits(
        ram_bytes=int(settings.ram_mb * MB),
        ram_agent_bytes=int(settings.ram_agent_mb * MB),
        k=settings.k,
        agent_bytes=int(settings.agent_mb * MB),
        agent_entries=settings.agent_entries,
    )


def _storage_limits(settings: StorageSettings) -> StorageLimits:
    return StorageLimits(
        file_bytes=int(settings.file_mb * MB),
        quota_bytes=int(settings.quota_mb * MB),
        versions=settings.versions,
    )
