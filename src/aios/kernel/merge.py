"""Several streams as one."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing

from aios.cores.core import Step


async def merged(
    streams: Sequence[AsyncGenerator[Step, None]], tasks: asyncio.TaskGroup
) -> AsyncGenerator[Step, None]:
    """The steps of all `streams` as they come, each read by one of `tasks`. The first error of any is raised,
    and closing this closes all."""
    inbox: asyncio.Queue[Step | BaseException | None] = asyncio.Queue()

    async def read(stream: AsyncGenerator[Step, None]) -> None:
        try:
            async with aclosing(stream):
                async for step in stream:
                    inbox.put_nowait(step)
            inbox.put_nowait(None)
        except Exception as error:  # noqa: BLE001 - it is raised below, where the caller is
            inbox.put_nowait(error)

    readers = [tasks.create_task(read(stream)) for stream in streams]
    left = len(readers)
    try:
        while left:
            step = await inbox.get()
            if isinstance(step, BaseException):
                raise step
            if step is None:
                left -= 1
            else:
                yield step
    finally:
        for reader in readers:
            reader.cancel()
