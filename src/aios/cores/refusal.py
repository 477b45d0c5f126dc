"""What an endpoint means by an error: its status and body as one of our errors. Pure."""

from __future__ import annotations

from typing import Any, cast

import msgspec

from aios.errors import (
    AiosError,
    ContextOverflow,
    CoreRateLimited,
    CoreRefused,
    CoreUnavailable,
    UnknownModel,
)

LONGEST = 500
"""Most characters of an endpoint's own message that go into ours."""

OVERFLOW = ("context_length_exceeded", "exceed_context_size_error")
OVERFLOW_TEXT = "maximum context length"


class Complaint(msgspec.Struct):
    """The `error` object of the OpenAI API. Endpoints differ: `code` is a word or the status."""

    message: str
    type: str | None = None
    param: str | None = None
    code: str | int | None = None


class Overloaded(CoreUnavailable):
    """The endpoint says that it has too much to do (503)."""


def complaint(body: bytes) -> Complaint:
    """The error in a body, as well as it can be made out."""
    try:
        return complaint_of(msgspec.json.decode(body))
    except (msgspec.DecodeError, UnicodeDecodeError):
        return Complaint(message=body.decode("utf-8", "replace"))


def complaint_of(data: Any) -> Complaint:
    """The same from decoded JSON: `{"error": {…}}`, the inner object alone, or a text in either's place."""
    inner = cast("dict[str, Any]", data).get("error", data) if isinstance(data, dict) else data
    try:
        return msgspec.convert(inner, Complaint)
    except msgspec.ValidationError:
        return Complaint(message=str(inner))


def refusal(status: int, said: Complaint, retry_after: float | None, core: str) -> AiosError:
    """The error that `status` (HTTP) and the endpoint's complaint stand for."""
    message = said.message[:LONGEST].strip().rstrip(".") or "it gave no reason"
    what = f"The endpoint of core {core} answered {status}: {message}."
    if status == 429:
        mend = "Ask for less at once, or raise the endpoint's limit."
        return CoreRateLimited(what, mend, retry_after=retry_after)
    if status == 503:
        return Overloaded(what, "Try again later.", retry_after=retry_after)
    if status >= 500 and status != 501:  # what is not implemented won't be a moment later
        return CoreUnavailable(what, "See the endpoint's log.", retry_after=retry_after)
    if said.code in OVERFLOW or said.type in OVERFLOW or OVERFLOW_TEXT in message:
        return ContextOverflow(what, "Shorten the conversation.", param=said.param)
    if status == 404 and (said.code == "model_not_found" or "model" in message.lower()):
        return UnknownModel(what, "Correct `models` of the core.", param="model")
    if status in (401, 403):
        return CoreRefused(what, "Check the key in the variable that `api_key_env` of the core names.")
    mend = "Check `base_url` of the core." if status == 404 else "Correct the request."
    return CoreRefused(what, mend, param=said.param)
