"""What endpoints answer, as the kernel's own types. Pure.

Engines differ in what they leave out, so everything may be missing here.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar, overload

import msgspec

from aios.errors import (
    AiosError,
    BadRequest,
    Conflict,
    CoreError,
    CoreProtocolError,
    CoreRateLimited,
    CoreTimeout,
    CoreUnavailable,
    Forbidden,
    NotFound,
    Unauthenticated,
    by_code,
)
from aios.syscalls import (
    Choice,
    Completion,
    Embeddings,
    FinishReason,
    FunctionCall,
    GroupInfo,
    Timings,
    TokenLogprob,
    ToolCall,
    Usage,
)

T = TypeVar("T")


class Told(msgspec.Struct):
    """Base of what endpoints tell."""


class ToldFunction(Told):
    name: str | None = None
    arguments: str | None = None


class ToldCall(Told):
    index: int = 0
    id: str | None = None
    function: ToldFunction = msgspec.field(default_factory=ToldFunction)


class ToldMessage(Told):
    """A message, or in a stream what is new of one."""

    content: str | None = None
    tool_calls: list[ToldCall] | None = None


class ToldToken(Told):
    token: str
    logprob: float
    bytes: list[int] | None = None
    top_logprobs: list[ToldToken] | None = None


class ToldLogprobs(Told):
    """Of a chat (`content`), or in the older form of a text completion (the lists)."""

    content: list[ToldToken] | None = None
    tokens: list[str] = []
    token_logprobs: list[float | None] = []
    top_logprobs: list[dict[str, float] | None] | None = None

    def rows(self) -> tuple[TokenLogprob, ...]:
        if self.content is not None:
            return tuple(
                _logprob(row, [_logprob(rival) for rival in row.top_logprobs or []]) for row in self.content
            )
        rivals = self.top_logprobs or [None] * len(self.tokens)
        return tuple(
            TokenLogprob(token=token, logprob=logprob or 0.0, top=_rivals(row or {}))
            for token, logprob, row in zip(self.tokens, self.token_logprobs, rivals, strict=False)
        )


class ToldChoice(Told):
    index: int = 0
    message: ToldMessage | None = None
    delta: ToldMessage | None = None
    text: str | None = None
    finish_reason: str | None = None
    logprobs: ToldLogprobs | None = None

    def said(self) -> ToldMessage:
        return self.message or self.delta or ToldMessage(content=self.text)

    def rows(self) -> tuple[TokenLogprob, ...]:
        return self.logprobs.rows() if self.logprobs else ()


class ToldDetails(Told):
    cached_tokens: int | None = None


class ToldUsage(Told):
    prompt_tokens: int = 0
    completion_tokens: int = 0
    prompt_tokens_details: ToldDetails | None = None

    def usage(self) -> Usage:
        details = self.prompt_tokens_details
        return Usage(
            prompt_tokens=self.prompt_tokens,
            completion_tokens=self.completion_tokens,
            cached_tokens=(details.cached_tokens if details else None) or 0,
        )


class ToldError(Told):
    message: str = ""
    code: str | int | None = None
    param: str | None = None


class ToldBody(Told):
    """A completion, or one event of a streamed one."""

    id: str | None = None
    model: str | None = None
    created: int | None = None
    choices: list[ToldChoice] = []
    usage: ToldUsage | None = None
    timings: Timings | None = None
    error: ToldError | None = None


class ToldVector(Told):
    embedding: tuple[float, ...]
    index: int = 0


class ToldVectors(Told):
    data: list[ToldVector]
    model: str = ""
    usage: ToldUsage | None = None


class ToldModel(Told):
    id: str


class ToldModels(Told):
    data: list[ToldModel]


class ToldGroups(Told):
    groups: tuple[GroupInfo, ...]


REASONS: dict[str | None, FinishReason] = {
    "length": "length",
    "tool_calls": "tool_calls",
    "cancelled": "cancelled",
}

MEANINGS: dict[int, type[AiosError]] = {
    400: BadRequest,
    401: Unauthenticated,
    403: Forbidden,
    404: NotFound,
    409: Conflict,
    429: CoreRateLimited,
    502: CoreError,
    503: CoreUnavailable,
    504: CoreTimeout,
}
"""What a status means at an endpoint whose codes are not the kernel's."""


def error_of(status: int, body: bytes, retry_after: str | None = None) -> AiosError:
    """The error that an answer tells, as the class that the kernel raised."""
    try:
        told = msgspec.json.decode(body, type=ToldBody).error
    except (msgspec.MsgspecError, UnicodeDecodeError):
        told = None
    if told is None:
        told = ToldError(body.decode("utf-8", "replace")[:300] or f"HTTP status {status}")
    wait = float(retry_after) if retry_after and retry_after.isdigit() else None
    return _error(told, status, wait)


def error_in_stream(told: ToldError) -> AiosError:
    """The error that a stream ends with."""
    return _error(told, told.code if isinstance(told.code, int) else 500, None)


def raise_for(status: int, body: bytes, retry_after: str | None = None) -> None:
    """Raise the error that an answer tells. Nothing for a success."""
    if status >= 400:
        raise error_of(status, body, retry_after)


@overload
def decoded(data: bytes | str, kind: type[T]) -> T: ...
@overload
def decoded(data: bytes | str, kind: object) -> Any: ...
def decoded(data: bytes | str, kind: Any) -> Any:
    """Raises CoreProtocolError for an answer that is not a `kind`."""
    try:
        return msgspec.json.decode(data, type=kind)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        what = f"The answer is not what was asked for: {error}."
        raise CoreProtocolError(what, "Is this a kernel of this version, or an OpenAI endpoint?") from error


def completion(body: bytes) -> Completion:
    """A whole chat or text completion. Raises CoreProtocolError."""
    told = decoded(body, ToldBody)
    if not told.choices:
        raise CoreProtocolError("The answer has no choices.", "Is this an OpenAI endpoint?")
    return Completion(
        id=told.id or "",
        model=told.model or "",
        created=told.created or 0,
        choices=tuple(_choice(choice) for choice in told.choices),
        usage=(told.usage or ToldUsage()).usage(),
        timings=told.timings or Timings(),
    )


def embeddings(body: bytes) -> Embeddings:
    """Raises CoreProtocolError."""
    told = decoded(body, ToldVectors)
    vectors = tuple(row.embedding for row in sorted(told.data, key=lambda row: row.index))
    return Embeddings(model=told.model, vectors=vectors, usage=(told.usage or ToldUsage()).usage())


def model_names(body: bytes) -> list[str]:
    """Raises CoreProtocolError."""
    return [model.id for model in decoded(body, ToldModels).data]


def _error(told: ToldError, status: int, retry_after: float | None) -> AiosError:
    kind = by_code().get(str(told.code)) or MEANINGS.get(status, AiosError)
    return kind(told.message, param=told.param, retry_after=retry_after)


def _choice(told: ToldChoice) -> Choice:
    said = told.said()
    return Choice(
        index=told.index,
        content=said.content,
        tool_calls=tuple(
            ToolCall(
                id=call.id or "",
                function=FunctionCall(name=call.function.name or "", arguments=call.function.arguments or "{}"),
            )
            for call in said.tool_calls or ()
        ),
        finish_reason=REASONS.get(told.finish_reason, "stop"),
        logprobs=told.rows(),
    )


def _logprob(told: ToldToken, top: Sequence[TokenLogprob] = ()) -> TokenLogprob:
    return TokenLogprob(token=told.token, logprob=told.logprob, bytes=tuple(told.bytes or ()), top=tuple(top))


def _rivals(row: dict[str, float]) -> tuple[TokenLogprob, ...]:
    return tuple(TokenLogprob(token=token, logprob=logprob) for token, logprob in row.items())
