"""What a request says beside the work itself: who calls, and what the kernel should know; in headers or the
body."""

from __future__ import annotations

import math
from typing import Annotated, TypeVar

import msgspec
from msgspec import Meta
from starlette.datastructures import Headers

from aios.errors import BadRequest
from aios.syscalls import SchedulingClass, WindowPolicy

T = TypeVar("T")


class Wire(msgspec.Struct, kw_only=True):
    """Base of request bodies: unknown fields are let through."""


class Caller(Wire):
    """Fields that tell who is calling, in any body."""

    model: str | None = None
    user: str | None = None
    agent_id: str | None = None
    """AIOS: the calling agent, as header `X-Agent-Id`."""


class Hints(Caller):
    """Extensions of AIOS to calls of models; in a body they are fields of these names."""

    priority: int | None = None
    """Higher runs earlier, under the policies that know priorities. Header `X-Priority`."""
    scheduling_class: SchedulingClass | None = None
    """Instead of the class of the calling process. Header `X-Scheduling-Class`."""
    policy: str | None = None
    """Scheduling policy, of those that the caller's group may choose. Header `X-Policy`."""
    deadline_s: Annotated[float, Meta(gt=0)] | None = None
    """Seconds after which the call fails. Header `X-Deadline`."""
    window: WindowPolicy | None = None
    """What happens when the conversation outgrows the model's window. Header `X-Window`."""
    blocks: bool | None = None
    """Put the caller's memory blocks into the window. Header `X-Blocks`."""
    facts: Annotated[int, Meta(ge=0)] | None = None
    """Personal memory: tokens of known facts that may go before the conversation. Header `X-Facts`."""
    step: str | None = None
    """Which step of the program's declared plan the call is. Header `X-Step`."""
    idempotency_key: str | None = None
    """A call of the same key gets the stored answer. Header `Idempotency-Key`."""


def hints_of(headers: Headers) -> Hints:
    """The headers' part. Raises BadRequest that names the header."""
    return Hints(
        priority=_read(headers, "X-Priority", int, "a whole number"),
        scheduling_class=_read(headers, "X-Scheduling-Class", SchedulingClass, "a scheduling class"),
        policy=headers.get("x-policy"),
        deadline_s=_seconds(headers),
        window=_read(headers, "X-Window", WindowPolicy, "a window policy"),
        blocks=_read(headers, "X-Blocks", bool, "true or false"),
        facts=_read(headers, "X-Facts", int, "a number of tokens"),
        step=headers.get("x-step"),
        idempotency_key=headers.get("idempotency-key") or None,
    )


def _read(headers: Headers, name: str, kind: type[T] | object, what: str) -> T | None:
    text = headers.get(name)
    if text is None:
        return None
    try:
        return msgspec.convert(text, kind, strict=False)  # type: ignore[call-overload, no-any-return]
    except msgspec.ValidationError as error:
        raise BadRequest(f"{name} {text!r} is not {what}: {error}.", param=name) from error


def _seconds(headers: Headers) -> float | None:
    seconds: float | None = _read(headers, "X-Deadline", float, "a number of seconds")
    if seconds is not None and not 0 < seconds < math.inf:
        raise BadRequest(f"X-Deadline {seconds!r} is no number of seconds above 0.", param="X-Deadline")
    return seconds
