"""The only way out of a box, where it has one: an HTTP proxy of the host's that reaches allowed hosts alone.

It listens on a Unix socket that is shown in the box. It resolves names itself, so a box needs no name service
and can't be lied to by one. It sees which hosts are reached, not what is said to them under TLS. A
connection is for one host: a tunnel, or one request.
"""

from __future__ import annotations

import asyncio
import os
import tempfile
from asyncio import StreamReader, StreamWriter
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Self

from aios.errors import AiosError
from aios.tools.hosts import check_allowed, public_address
from aios.tools.sandbox.exchange import CHUNK, asked, exchange, tunnel

Dial = Callable[[str, int], Awaitable[tuple[StreamReader, StreamWriter]]]
"""Connects to a host and port that are allowed."""
MOST = 32
"""Connections of one box at once; more wait."""
HEAD_S = 10.0


async def dial(host: str, port: int) -> tuple[StreamReader, StreamWriter]:
    """Raises ToolError, ToolUnavailable, OSError."""
    return await asyncio.open_connection(await public_address(host, port), port)


class Proxy:
    """Serves from `open` to `close`. `hosts` as of `check_allowed`; `most`: connections at once."""

    def __init__(self, hosts: tuple[str, ...], dial: Dial = dial, *, most: int = MOST) -> None:
        self._hosts, self._dial = hosts, dial
        self._folder = tempfile.TemporaryDirectory(prefix="aios-proxy-")
        self._room = asyncio.Semaphore(most)
        self._serving: set[asyncio.Task[None]] = set()
        self.path = Path(self._folder.name, "socket")

    async def open(self, uid: int) -> Self:
        """`uid`: who alone may connect; 0: this process's own."""
        self._server = await asyncio.start_unix_server(self._serve, self.path, limit=CHUNK)
        os.chmod(self.path, 0o600)
        if uid:
            for path in (self._folder.name, self.path):
                os.chown(path, uid, uid)
        return self

    async def close(self) -> None:
        self._server.close()
        for task in tuple(self._serving):
            task.cancel()
        if self._serving:
            await asyncio.wait(self._serving)
        self._folder.cleanup()

    async def _serve(self, reader: StreamReader, writer: StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._serving.add(task)
        try:
            async with self._room:
                await self._answer(reader, writer)
        except (OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, TimeoutError):
            pass  # either side went away
        finally:
            self._serving.discard(task)
            writer.close()

    async def _answer(self, reader: StreamReader, writer: StreamWriter) -> None:
        async with asyncio.timeout(HEAD_S):
            head = await reader.readuntil(b"\r\n\r\n")
        try:
            wanted = asked(head.decode("latin-1"))
            check_allowed(wanted.host, wanted.port, self._hosts)
            far = await self._dial(wanted.host, wanted.port)
        except (AiosError, OSError) as error:
            refused = isinstance(error, AiosError) and error.status < 500
            status = "403 Forbidden" if refused else "502 Bad Gateway"
            text = f"{error}\n".encode()
            writer.write(
                f"HTTP/1.1 {status}\r\nContent-Type: text/plain\r\nConnection: close\r\n"
                f"Content-Length: {len(text)}\r\n\r\n".encode()
                + text
            )
            await writer.drain()
            return
        try:
            near = reader, writer
            await (exchange(near, far, wanted) if wanted.first else tunnel(near, far))
        except* (OSError, EOFError, asyncio.LimitOverrunError):
            pass  # one side broke off
        finally:
            far[1].close()
