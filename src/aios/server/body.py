"""Reading and writing JSON bodies."""

from __future__ import annotations

from typing import Any, TypeVar

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from aios.errors import BadRequest, Cancelled, PayloadTooLarge
from aios.server.errors import malformed

T = TypeVar("T")


async def read(request: Request, limit: int) -> bytes:
    """The whole body. Raises PayloadTooLarge over `limit` bytes (before the body is read, if its length is
    announced), Cancelled if the client went away."""
    if int(request.headers.get("content-length") or 0) > limit:  # httptools lets only digits through
        raise _too_large(limit)
    parts: list[bytes] = []
    size = 0
    while True:
        message = await request.receive()
        if message["type"] == "http.disconnect":
            raise Cancelled("The client went away before its request was read.")
        part = message.get("body", b"")
        size += len(part)
        if size > limit:
            raise _too_large(limit)
        parts.append(part)
        if not message.get("more_body", False):
            return parts[0] if len(parts) == 1 else b"".join(parts)


def decode(body: bytes | msgspec.Raw, type: type[T]) -> T:
    """The body as a `type`. Raises BadRequest naming the field that is wrong."""
    try:
        return msgspec.json.decode(body, type=type)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise malformed(error) from error


def decode_union(body: bytes, type: Any) -> Any:
    """`decode` for a tagged union, of which no type checker can say that it is a `type`."""
    return decode(body, type)


def integer(text: str, param: str) -> int:
    """A whole number from a path or a query. Raises BadRequest."""
    try:
        return int(text)
    except ValueError as error:
        raise BadRequest(f"{param} must be a whole number, not {text!r}.", param=param) from error


def reply(value: object, status: int = 200) -> Response:
    """An answer of JSON."""
    return Response(msgspec.json.encode(value), status, None, "application/json")


def _too_large(limit: int) -> PayloadTooLarge:
    what = f"The body is larger than the {limit / 1e6:g} MB this server takes."
    return PayloadTooLarge(what, "Send less, or raise max_body_mb of [server].")
