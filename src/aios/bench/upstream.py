"""The endpoint that overhead is measured before: it thinks for a fixed time and then says fixed words.

As cheap as Python allows, so that what is measured is the kernel: one asyncio protocol, answers made once.
Run as a process of its own: `python -m aios.bench.upstream` prints its port.

The request's `model` chooses the pace: `burst` sends all tokens once it has thought, `paced` one each
`PACE_S`. `max_tokens` is the length of the answer, in tokens of one word each.
"""

from __future__ import annotations

import asyncio
import functools
import re
import sys
from collections.abc import Callable
from typing import cast

import msgspec
import uvloop

THINK_S = 0.05
PACE_S = 0.01
MODELS = ("burst", "paced")


class Asked(msgspec.Struct):
    model: str = "burst"
    max_tokens: int = 16
    stream: bool = False


def chunk(delta: dict[str, str], finish: str | None = None) -> bytes:
    """One event of a stream, as an HTTP/1.1 chunk."""
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    data = {
        "id": "fixed",
        "object": "chat.completion.chunk",
        "created": 1,
        "model": "fixed",
        "choices": [choice],
    }
    return http_chunk(b"data: " + msgspec.json.encode(data) + b"\n\n")


def http_chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


def usage(tokens: int) -> dict[str, int]:
    return {"prompt_tokens": 8, "completion_tokens": tokens, "total_tokens": 8 + tokens}


@functools.cache
def whole(tokens: int) -> bytes:
    """The response to a call that does not stream."""
    message = {"role": "assistant", "content": " word" * tokens}
    choice = {"index": 0, "message": message, "finish_reason": "stop"}
    return reply(
        {
            "id": "fixed", "object": "chat.completion", "created": 1, "model": "fixed",
            "choices": [choice], "usage": usage(tokens),
        }
    )  # fmt: skip


def reply(data: object) -> bytes:
    body = msgspec.json.encode(data)
    return b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%b" % (
        len(body),
        body,
    )


HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
ROLE = chunk({"role": "assistant", "content": ""})
WORD = chunk({"content": " word"})


@functools.cache
def tail(tokens: int) -> bytes:
    """The end of a stream: why it ended, the token counts, and that it ended."""
    counts: dict[str, object] = {
        "id": "fixed",
        "object": "chat.completion.chunk",
        "choices": [],
        "usage": usage(tokens),
    }
    return (
        chunk({}, "stop")
        + http_chunk(b"data: " + msgspec.json.encode(counts) + b"\n\n")
        + http_chunk(b"data: [DONE]\n\n")
        + b"0\r\n\r\n"
    )


class Upstream(asyncio.Protocol):
    """One connection, one request at a time."""

    def __init__(self) -> None:
        self._buffer = b""
        self._timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._timer:
            self._timer.cancel()

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        head, found, body = self._buffer.partition(b"\r\n\r\n")
        length = re.search(rb"(?i)\r\ncontent-length: *(\d+)", head)
        if not found or (length and len(body) < int(length[1])):
            return
        self._buffer = b""
        if head.startswith(b"GET"):
            self._transport.write(reply({"object": "list", "data": [{"id": name} for name in MODELS]}))
            return
        asked = msgspec.json.decode(body, type=Asked)
        self._after(THINK_S, lambda: self._answer(asked))

    def _answer(self, asked: Asked) -> None:
        if not asked.stream:
            self._transport.write(whole(asked.max_tokens))
        elif asked.model == "paced":
            self._transport.write(HEAD + ROLE)
            self._pace(asked.max_tokens, asked.max_tokens)
        else:
            self._transport.write(HEAD + ROLE + WORD * asked.max_tokens + tail(asked.max_tokens))

    def _pace(self, left: int, tokens: int) -> None:
        self._transport.write(WORD if left else tail(tokens))
        if left:
            self._after(PACE_S, lambda: self._pace(left - 1, tokens))

    def _after(self, seconds: float, do: Callable[[], None]) -> None:
        self._timer = asyncio.get_running_loop().call_later(seconds, do)


async def main() -> None:
    server = await asyncio.get_running_loop().create_server(Upstream, "127.0.0.1", 0, backlog=2048)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    try:
        uvloop.run(main())
    except KeyboardInterrupt:
        sys.exit(0)
