"""Answering while work goes on: watch the client, stream to it, keep it waiting politely."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from types import TracebackType
from typing import Self

import msgspec
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from aios.errors import AiosError
from aios.server import errors

HEARTBEAT_S = 10.0
"""Silence after which a comment is sent: well below the shortest read timeout seen in clients (60 s)."""

DONE = b"data: [DONE]\n\n"


def data(value: object) -> bytes:
    """One server-sent event holding `value` as JSON."""
    return b"data: " + msgspec.json.encode(value) + b"\n\n"


class Attendance:
    """Work inside it is cancelled when the client hangs up, and only the work inside it:

        async with Attendance(receive):
            return await work()
        # here: the client is gone

    The request's body must have been read. `beat` is awaited each `interval` seconds until it is None."""

    def __init__(
        self,
        receive: Receive,
        beat: Callable[[], Awaitable[None]] | None = None,
        interval: float = HEARTBEAT_S,
    ) -> None:
        self._receive = receive
        self.beat = beat
        self._interval = interval
        self._gone = False

    async def __aenter__(self) -> Self:
        owner = asyncio.current_task()
        assert owner is not None
        self._owner = owner
        self._watcher = asyncio.create_task(self._watch())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        # Not awaited: the watcher holds nothing, and waiting for it would cost each answer a turn of the loop.
        self._watcher.cancel()
        # As asyncio.timeout does: a cancellation is ours only if nobody else asked for one too.
        return self._gone and self._owner.uncancel() == 0 and kind is asyncio.CancelledError

    async def _watch(self) -> None:
        while not self._gone:
            try:
                async with asyncio.timeout(self._interval if self.beat else None):
                    self._gone = (await self._receive())["type"] == "http.disconnect"
            except TimeoutError:
                if self.beat is not None:
                    await self.beat()
        self._owner.cancel()


class EventStream(Response):
    """Sends `frames` one by one as they come, as `text/event-stream`.

    Nothing is sent before there is a first frame or a heartbeat, so an error that comes sooner is raised and
    becomes a normal answer with its own status; a later one is sent as a frame and ends the stream. When the
    client hangs up, `frames` is closed. `heartbeat`: until the first frame only, or all along."""

    media_type = "text/event-stream"

    def __init__(
        self,
        frames: AsyncGenerator[bytes, None],
        *,
        heartbeat: bytes = b": waiting\n\n",
        all_along: bool = False,
        interval: float = HEARTBEAT_S,
    ) -> None:
        super().__init__(headers={"cache-control": "no-cache", "x-accel-buffering": "no"})
        del self.headers["content-length"]
        self._frames = frames
        self._heartbeat = heartbeat
        self._all_along = all_along
        self._interval = interval
        self._started = False
        self._sending = asyncio.Lock()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self._send = send
        async with aclosing(self._frames), Attendance(receive, self._beat, self._interval) as attendance:
            try:
                async for frame in self._frames:
                    if not self._all_along:
                        attendance.beat = None
                    await self._emit(frame)
            except AiosError as error:
                if not self._started:
                    raise
                await self._emit(b"data: " + errors.encode(error) + b"\n\n")
            await self._emit(b"", more=False)

    async def _beat(self) -> None:
        await self._emit(self._heartbeat)

    async def _emit(self, frame: bytes, more: bool = True) -> None:
        async with self._sending:
            if not self._started:
                self._started = True
                start = {"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers}
                await self._send(start)
            await self._send({"type": "http.response.body", "body": frame, "more_body": more})
