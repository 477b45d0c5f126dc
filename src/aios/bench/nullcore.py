"""A core that answers nothing at once: what is left is the kernel. For benchmarks of it only."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncGenerator

from aios.cores.core import Capabilities, Ended, Seat, Sequence, Step
from aios.errors import BadRequest
from aios.syscalls import Embed, Embeddings, Generate


class NullCore:
    """`capacity` calls at once, each over before it began."""

    models = ("null",)
    capabilities = Capabilities()
    epoch = 0

    def __init__(self, capacity: int = 64) -> None:
        self.name, self.capacity = "null", capacity
        self._ids = itertools.count(1)

    async def start(self, tasks: asyncio.TaskGroup) -> None:
        pass

    async def close(self) -> None:
        pass

    async def prepare(self, call: Generate, pid: int, group: str) -> list[Sequence]:
        return [Sequence(id=next(self._ids), call=call, pid=pid, group=group)]

    async def run(self, sequence: Sequence, seat: Seat) -> AsyncGenerator[Step, None]:
        yield Ended(reasons={0: "stop"})

    def interrupt(self, sequence: Sequence) -> None:
        pass

    async def embed(self, call: Embed) -> Embeddings:
        raise BadRequest("The null core makes no vectors.", "Use another.")
