"""Contexts of the embedded core that do not run: how they are moved."""

from __future__ import annotations

import asyncio
import hashlib
import os
from collections.abc import Awaitable, Callable, Iterable
from importlib.metadata import version
from pathlib import Path

from aios.config import CoreSettings
from aios.cores.core import Extent, KvOp, Read
from aios.cores.llama.arena import Arena
from aios.cores.llama.messages import Move, to_wire
from aios.cores.llama.swapfile import write_swapfile

SAMPLE = 1 << 20


class LlamaKeeper:
    """The `ContextKeeper` of one embedded core. `ask`: send the worker a question and await its answer."""

    def __init__(
        self, fingerprint: str, arena: Arena, ask: Callable[[Callable[[int], Move]], Awaitable[object]]
    ) -> None:
        self._fingerprint, self._arena, self._ask = fingerprint, arena, ask
        self._damaged: list[tuple[Path, str]] = []
        self._reads: list[tuple[int, Read]] = []

    @property
    def fingerprint(self) -> str:
        return self._fingerprint

    async def move(self, ops: Iterable[KvOp]) -> None:
        wire = [to_wire(op) for op in ops]
        await self._ask(lambda request: Move(request=request, ops=wire))

    async def swap_out(self, extent: Extent, path: Path) -> bool:
        return await asyncio.to_thread(write_swapfile, self._arena, extent, path)

    def damaged(self) -> list[tuple[Path, str]]:
        found, self._damaged = self._damaged, []
        return found

    def reads(self) -> list[tuple[int, Read]]:
        found, self._reads = self._reads, []
        return found

    def took(self, sequence: int, reads: Iterable[Read]) -> None:
        """The worker brought KV back for `sequence`."""
        self._reads += [(sequence, read) for read in reads]

    def report(self, path: Path, why: str) -> None:
        """The worker could not use the file."""
        self._damaged.append((path, why))


def fingerprint(model: Path, settings: CoreSettings) -> str:
    """Of all that the bytes of a context depend on. Of the model's file the ends and the size: they hold its
    metadata and its last tensors, and reading all of it would take seconds at each start."""
    digest = hashlib.sha256()
    with open(model, "rb") as file:
        size = os.fstat(file.fileno()).st_size
        digest.update(file.read(SAMPLE))
        file.seek(max(0, size - SAMPLE))
        digest.update(file.read(SAMPLE))
    chunk = settings.prefill_chunk if settings.deterministic else 0
    exact = settings.exact or settings.deterministic
    digest.update(f"{size} {version('xllamacpp')} {exact} {chunk}".encode())
    return digest.hexdigest()
