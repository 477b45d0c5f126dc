"""Texts as vectors: what an embedder is, and one that waits for company."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import AsyncExitStack
from types import TracebackType
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

Vectors = NDArray[np.float32]

BATCH = 32
"""Texts that are embedded at once."""


class Embedder(Protocol):
    """`name`: vectors of different names can't be compared. `width`: numbers of one vector."""

    @property
    def name(self) -> str: ...

    @property
    def width(self) -> int: ...

    async def embed(self, texts: Sequence[str]) -> Vectors:
        """Shape (texts, width), each row of length 1."""
        ...


class Lazy:
    """`embedder` (an async context), opened when it is first needed: most kernels never are asked."""

    def __init__(self, embedder: Any) -> None:
        self._embedder = embedder
        self._life = AsyncExitStack()
        self._opening = asyncio.Lock()
        self._open = False

    @property
    def name(self) -> str:
        return self._embedder.name

    @property
    def width(self) -> int:
        return self._embedder.width

    async def embed(self, texts: Sequence[str]) -> Vectors:
        """Raises what the embedder raises."""
        async with self._opening:
            if not self._open:
                await self._life.enter_async_context(self._embedder)
                self._open = True
        return await self._embedder.embed(texts)

    async def __aenter__(self) -> Lazy:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._life.aclose()


class Batched:
    """`embedder` with the texts of callers that come while it works in one batch, the shortest first.

    An encoder pads every text of a batch to the longest: texts of one length cost least."""

    def __init__(self, embedder: Embedder) -> None:
        self._embedder = embedder
        self._waiting: list[tuple[str, asyncio.Future[Vectors]]] = []
        self._working = asyncio.Lock()

    @property
    def name(self) -> str:
        return self._embedder.name

    @property
    def width(self) -> int:
        return self._embedder.width

    async def embed(self, texts: Sequence[str]) -> Vectors:
        """Raises what the embedder raises."""
        if not texts:
            return np.zeros((0, self.width), np.float32)
        loop = asyncio.get_running_loop()
        mine = [(text, loop.create_future()) for text in texts]
        self._waiting += mine
        try:
            # Whoever gets the lock embeds for all that wait; the others then find their own done.
            while not all(future.done() for _, future in mine):
                async with self._working:
                    if not all(future.done() for _, future in mine):
                        await self._embed_some()
        finally:
            for _, future in mine:
                future.cancel()
        return np.stack([future.result() for _, future in mine])

    async def _embed_some(self) -> None:
        live = [item for item in self._waiting if not item[1].done()]
        live.sort(key=lambda item: len(item[0]))
        batch, self._waiting = live[:BATCH], live[BATCH:]
        try:
            vectors = await self._embedder.embed([text for text, _ in batch])
        except BaseException:
            # A call that is cancelled must not lose what others wait for.
            self._waiting += [item for item in batch if not item[1].done()]
            raise
        for (_, future), vector in zip(batch, vectors, strict=True):
            if not future.done():
                future.set_result(vector)
