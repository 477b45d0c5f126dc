"""One request and its answer, as the proxy passes them on.

A connection carries one of each (RFC 9112, §9.6): the next request may be for another host, which is decided
anew. So nothing of a client goes on to a server but the one request that was decided, under the name it was
decided for, and whatever the server says, the client is told that the connection ends."""

from __future__ import annotations

import asyncio
import re
from asyncio import StreamReader, StreamWriter
from contextlib import suppress
from typing import NamedTuple
from urllib.parse import urlsplit

from aios.errors import BadRequest

IDLE_S = 120.0
CHUNK = 1 << 16
HOP = ("connection", "keep-alive", "proxy-connection", "proxy-authorization", "te", "upgrade")
FIELD = re.compile(r"[\w!#$%&'*+.^`|~-]+:[^\r\n\0]*", re.ASCII)
CHUNKED = -1
Ends = tuple[StreamReader, StreamWriter]


class Asked(NamedTuple):
    """Whom a client asks for, and what is sent there first: nothing for a tunnel (CONNECT). `body`: its bytes,
    or `CHUNKED`."""

    host: str
    port: int
    first: bytes = b""
    body: int = 0


def asked(head: str) -> Asked:
    """Raises BadRequest: it is no request to a proxy, or one that servers could read in two ways."""
    line, *fields = head.removesuffix("\r\n\r\n").split("\r\n")
    try:
        method, target, version = line.split(" ")
        known = version in ("HTTP/1.0", "HTTP/1.1") and target.isprintable()
        if not known or not all(map(FIELD.fullmatch, fields)):
            raise ValueError(head)
        if method == "CONNECT":
            host, _, port = target.rpartition(":")
            return Asked(host.strip("[]"), int(port))
        url = urlsplit(target)
        if url.scheme != "http" or not url.hostname:
            raise ValueError(target)
        path = (url.path or "/") + (f"?{url.query}" if url.query else "")
        name = f"Host: {url.netloc.rpartition('@')[2]}"
        first = [f"{method} {path} {version}", name, *_kept(fields, "host"), "Connection: close", "", ""]
        return Asked(url.hostname, url.port or 80, "\r\n".join(first).encode("latin-1"), _length(fields))
    except ValueError as error:
        mend = "Use HTTP_PROXY and HTTPS_PROXY."
        raise BadRequest(f"{line[:100]!r} is no request to a proxy.", mend) from error


async def exchange(near: Ends, far: Ends, asked: Asked) -> None:
    """The request that was decided, and its answer. Raises ExceptionGroup of OSError, EOFError,
    LimitOverrunError: one side broke off."""
    far[1].write(asked.first)
    async with asyncio.TaskGroup() as both:
        sending = both.create_task(_send_body(near[0], far[1], asked.body))
        await _answer(far[0], near[1])
        sending.cancel()


async def tunnel(near: Ends, far: Ends) -> None:
    """What both say, until neither says more. Raises ExceptionGroup of OSError."""
    near[1].write(b"HTTP/1.1 200 Connection established\r\n\r\n")
    async with asyncio.TaskGroup() as both:
        both.create_task(_copy(near[0], far[1]))
        both.create_task(_copy(far[0], near[1]))


async def _send_body(reader: StreamReader, writer: StreamWriter, body: int) -> None:
    """What comes after it is read, and not passed on."""
    if body == CHUNKED:
        while size := await _chunk(reader, writer):
            await _some(reader, writer, size + 2)
        while (line := await reader.readuntil(b"\r\n")) != b"\r\n":
            writer.write(line)
        writer.write(line)
    else:
        await _some(reader, writer, body)
    await writer.drain()
    while await reader.read(CHUNK):
        pass


async def _answer(reader: StreamReader, writer: StreamWriter) -> None:
    interim = True
    while interim:
        async with asyncio.timeout(IDLE_S):
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        line, *fields = head.removesuffix("\r\n\r\n").split("\r\n")
        interim = line.partition(" ")[2].startswith("1")
        end = () if interim else ("Connection: close",)
        writer.write("\r\n".join([line, *_kept(fields), *end, "", ""]).encode("latin-1"))
    await _copy(reader, writer)


async def _copy(reader: StreamReader, writer: StreamWriter) -> None:
    while True:
        async with asyncio.timeout(IDLE_S):
            data = await reader.read(CHUNK)
        if not data:
            break
        writer.write(data)
        await writer.drain()
    with suppress(OSError):
        writer.write_eof()


async def _some(reader: StreamReader, writer: StreamWriter, size: int) -> None:
    while size:
        async with asyncio.timeout(IDLE_S):
            data = await reader.read(min(CHUNK, size))
        if not data:
            raise asyncio.IncompleteReadError(b"", size)
        writer.write(data)
        await writer.drain()
        size -= len(data)


async def _chunk(reader: StreamReader, writer: StreamWriter) -> int:
    """The size of a chunk that begins. 0: it was the last."""
    async with asyncio.timeout(IDLE_S):
        line = await reader.readuntil(b"\r\n")
    if not (size := re.match(rb"[0-9A-Fa-f]{1,15}(?=[;\r])", line)):
        raise ConnectionError(f"{line[:20]!r} begins no chunk")
    writer.write(size[0] + b"\r\n")
    return int(size[0], 16)


def _kept(fields: list[str], *other: str) -> list[str]:
    return [field for field in fields if field.partition(":")[0].strip().lower() not in (*HOP, *other)]


def _length(fields: list[str]) -> int:
    """Of the body. Raises ValueError if it can be read in two ways (RFC 9112, §6.3)."""
    told = [(name.lower(), value.strip()) for name, _, value in (field.partition(":") for field in fields)]
    coding = [value.lower() for name, value in told if name == "transfer-encoding"]
    sizes = [value for name, value in told if name == "content-length"]
    if len(coding) + len(sizes) > 1 or any(value != "chunked" for value in coding):
        raise ValueError(told)
    if not all(re.fullmatch("[0-9]{1,18}", size) for size in sizes):
        raise ValueError(sizes)
    return CHUNKED if coding else int(sizes[0]) if sizes else 0
