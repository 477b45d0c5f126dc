"""Errors on the wire: the shape of the OpenAI API, whatever went wrong and wherever."""

from __future__ import annotations

import asyncio
import math
import re

import msgspec
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from aios.errors import AiosError, BadRequest, Draining

_AT = re.compile(r" - at (?:`(?:key|\.\.\.)` in )?`\$\.?([^`]*)`$")
_MISSING = re.compile(r"missing required field `([^`]+)`")


class ErrorDetail(msgspec.Struct, frozen=True):
    message: str
    """What happened, why, and how to mend it."""
    type: str
    param: str | None
    """The field of the request that is wrong, if one is."""
    code: str
    """Stable and machine readable."""


class ErrorBody(msgspec.Struct, frozen=True):
    error: ErrorDetail


def encode(error: AiosError) -> bytes:
    """The JSON body of `error`."""
    return _encode(ErrorDetail(str(error), error.kind, error.param, error.code))


def respond(error: AiosError) -> Response:
    """The HTTP answer that tells `error`."""
    headers: dict[str, str] = {}
    if error.retry_after is not None:
        headers["retry-after"] = str(math.ceil(error.retry_after))
    if error.status == 401:
        headers["www-authenticate"] = "Bearer"
    return Response(encode(error), error.status, headers, "application/json")


class LastWord:
    """Middleware: a request still running when the drain is over is told so, instead of being cut off.

    It is the top of the request's task, so the cancellation ends here."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        started = False

        async def note(message: Message) -> None:
            nonlocal started
            started = True
            await send(message)

        try:
            await self._app(scope, receive, note)
        except asyncio.CancelledError:
            error = Draining("The kernel stopped before this call was done.", "Send it again when it is back.")
            if started:  # then it is a stream: other answers are sent whole
                await send({"type": "http.response.body", "body": b"data: " + encode(error) + b"\n\n"})
            else:
                await respond(error)(scope, receive, send)


async def on_aios_error(_: Request, error: Exception) -> Response:
    assert isinstance(error, AiosError)
    return respond(error)


async def on_http_error(request: Request, error: Exception) -> Response:
    """Unknown paths and wrong methods, which the router finds."""
    assert isinstance(error, HTTPException)
    method, path = request.method, request.url.path
    if error.status_code == 405:
        allowed = (error.headers or {}).get("Allow", "")
        message, code = f"{path} does not take {method}. It takes {allowed}.", "method_not_allowed"
    elif error.status_code == 404:
        message, code = f"There is nothing at {path}. GET /docs lists every path.", "not_found"
    else:
        message, code = error.detail, "http_error"
    detail = ErrorDetail(message, "invalid_request_error", None, code)
    return Response(_encode(detail), error.status_code, error.headers, "application/json")


async def on_defect(_: Request, __: Exception) -> Response:
    """A defect of ours: the caller learns that much, the log has the rest (the error is raised again)."""
    message = "The kernel has a defect that this call met. Its log says where; please report it."
    return Response(
        _encode(ErrorDetail(message, "server_error", None, "internal_error")), 500, None, "application/json"
    )


def malformed(error: Exception) -> BadRequest:
    """What msgspec said of a body, as an error that names the field."""
    if isinstance(error, RecursionError):
        return BadRequest("The body is nested too deeply.", "Send flatter JSON.")
    if isinstance(error, UnicodeDecodeError):
        return BadRequest(f"The body is not UTF-8: {error.reason} at byte {error.start}.", "Send UTF-8 JSON.")
    text = str(error)
    if not isinstance(error, msgspec.ValidationError):
        return BadRequest(f"The body is not JSON: {text}.", "Send one JSON object.")
    at = _AT.search(text)
    missing = _MISSING.search(text)
    param = ".".join(part for part in (at and at[1], missing and missing[1]) if part) or None
    what = text[: at.start()] if at else text
    return BadRequest(f"{param or 'The body'}: {what}.", "See /docs for what it may hold.", param=param)


def _encode(detail: ErrorDetail) -> bytes:
    return msgspec.json.encode(ErrorBody(detail))
