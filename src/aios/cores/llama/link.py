"""One worker process, and the socket to it."""

from __future__ import annotations

import asyncio
import socket
import sys

import msgspec

from aios.cores.llama.messages import FRAME, Failed, FromWorker, Options, Ready, ToWorker, frame
from aios.errors import CoreUnavailable, EngineCrashed, by_code


class WorkerLost(CoreUnavailable):
    """The worker died (or was killed); what was resident in its slots is gone."""

    code = "worker_lost"


class Link:
    """Sends and receives messages of one worker. Made by `open`."""

    def __init__(
        self,
        process: asyncio.subprocess.Process,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> None:
        self._process, self._reader, self._writer = process, reader, writer
        self._encoder = msgspec.msgpack.Encoder()
        self._decoder = msgspec.msgpack.Decoder(FromWorker)

    @classmethod
    async def open(cls, options: Options) -> tuple[Link, Ready]:
        """Start a worker and wait until its engine is up. Raises the worker's own ModelError (or other typed
        error), or EngineCrashed when it dies without a word."""
        ours, theirs = socket.socketpair()
        with theirs:
            process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "aios.cores.llama.worker", str(theirs.fileno()),
                pass_fds=(theirs.fileno(), options.arena_fd), stdin=asyncio.subprocess.DEVNULL,
            )  # fmt: skip
        reader, writer = await asyncio.open_connection(sock=ours)
        link = cls(process, reader, writer)
        try:
            link.write(frame_options(options))
            first = await link.receive()
            if isinstance(first, Failed):
                raise by_code()[first.code](first.what, first.mend)
            if not isinstance(first, Ready):
                raise EngineCrashed("The engine's worker spoke out of turn.", "Report this.")
        except WorkerLost as error:
            await link.close()
            raise EngineCrashed(
                f"The engine's worker died while it loaded {options.model} (exit status {process.returncode}).",
                "Is there enough memory for the model, its slots and contexts? See `aios doctor`.",
            ) from error
        except BaseException:
            await link.close()
            raise
        return link, first

    @property
    def pid(self) -> int:
        return self._process.pid

    def send(self, message: ToWorker) -> None:
        """Queue a message. Dropped if the worker is gone: then `receive` says so."""
        self.write(frame(message, self._encoder))

    def write(self, data: bytes) -> None:
        if not self._writer.is_closing():
            self._writer.write(data)

    async def receive(self) -> FromWorker:
        """The next message. Raises WorkerLost when the worker is gone."""
        try:
            head = await self._reader.readexactly(FRAME.size)
            return self._decoder.decode(await self._reader.readexactly(FRAME.unpack(head)[0]))
        except (asyncio.IncompleteReadError, ConnectionError) as error:
            raise WorkerLost("The engine's worker is gone.", "It is restarted.") from error

    async def close(self) -> None:
        """End the worker: the socket's end is its signal; one that does not listen is killed."""
        self._writer.close()
        try:
            await asyncio.wait_for(self._process.wait(), 5.0)
        except TimeoutError:
            self._process.kill()
            await self._process.wait()


def frame_options(options: Options) -> bytes:
    body = msgspec.msgpack.encode(options)
    return FRAME.pack(len(body)) + body
