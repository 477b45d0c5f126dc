"""The client's half of the protocol, without I/O: requests out, answers in. Both clients stand on it.

Chat, text and embeddings go over the OpenAI protocol, so the same client talks to a kernel or straight to any
OpenAI-compatible engine; processes, events and status are the kernel's own `/aios/v1`.
"""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import msgspec

from aios.errors import AiosError, CoreProtocolError, CoreUnavailable, by_code
from aios.syscalls import (
    Choice,
    Completion,
    Delta,
    Embeddings,
    FinishReason,
    FunctionCall,
    Message,
    Timings,
    TokenLogprob,
    ToolCall,
    ToolCallDelta,
    ToolSpec,
    Usage,
)

DEFAULT_URL = "http://127.0.0.1:8420"
MessageLike = Message | Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Request:
    """One HTTP request. `retriable`: sending it again can't do anything twice."""

    method: str
    path: str
    body: dict[str, Any] | None = None
    retriable: bool = True


@dataclass(frozen=True, slots=True)
class Address:
    """Where the kernel is and who calls. `agent` goes out as `X-Agent-Id`."""

    url: str
    key: str = ""
    agent: str = ""

    @classmethod
    def find(cls, url: str | None, key: str | None, agent: str | None) -> Address:
        """What was given, else the environment (`AIOS_BASE_URL`, `AIOS_API_KEY`, `AIOS_AGENT`), else the daemon
        of this user, else the default address."""
        url = url or os.environ.get("AIOS_BASE_URL")
        key = key or os.environ.get("AIOS_API_KEY") or ""
        agent = agent or os.environ.get("AIOS_AGENT") or ""
        if not url:
            url = _daemon_url() or DEFAULT_URL
        return cls(url.rstrip("/").removesuffix("/v1"), key, agent)

    def headers(self) -> dict[str, str]:
        headers = {"Content-Type": "application/json"}
        if self.key:
            headers["Authorization"] = f"Bearer {self.key}"
        if self.agent:
            headers["X-Agent-Id"] = self.agent
        return headers


def _daemon_url() -> str | None:
    """The address in the daemon's file, if there is one where it is by default."""
    state = os.environ.get("AIOS_STATE_DIR")
    base = Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state") / "aios"
    try:
        return json.loads((Path(state) if state else base).joinpath("daemon.json").read_text("utf-8"))["url"]
    except (OSError, ValueError, KeyError):
        return None


# -- requests ---------------------------------------------------------------------------------------


def chat(messages: Sequence[MessageLike], options: Mapping[str, Any], *, stream: bool) -> Request:
    """A chat completion. `options` are parameters of the OpenAI API (and AIOS's own); None is left out. A key
    that makes resending safe is added."""
    body: dict[str, Any] = {"messages": [_message(m) for m in messages], **_options(options)}
    return Request("POST", "/v1/chat/completions", _streamed(body, stream))


def text(prompt: str | Sequence[int], options: Mapping[str, Any], *, stream: bool) -> Request:
    """A text completion."""
    given = prompt if isinstance(prompt, str) else list(prompt)
    return Request("POST", "/v1/completions", _streamed({"prompt": given, **_options(options)}, stream))


def embed(inputs: Sequence[str], model: str) -> Request:
    body = {"input": list(inputs), "model": model, "encoding_format": "float"}
    return Request("POST", "/v1/embeddings", body)


def _streamed(body: dict[str, Any], stream: bool) -> dict[str, Any]:
    body.setdefault("idempotency_key", secrets.token_hex(16))
    if stream:
        body |= {"stream": True, "stream_options": {"include_usage": True}}
    return body


def _options(options: Mapping[str, Any]) -> dict[str, Any]:
    given = {name: value for name, value in options.items() if value is not None}
    if "tools" in given:
        given["tools"] = [msgspec.to_builtins(t) if isinstance(t, ToolSpec) else t for t in given["tools"]]
        if not given["tools"]:
            del given["tools"]
    return {"model": "", **given}


def _message(message: MessageLike) -> dict[str, Any]:
    return msgspec.to_builtins(message) if isinstance(message, Message) else dict(message)


# -- answers ----------------------------------------------------------------------------------------


class Told(msgspec.Struct):
    """Base of what endpoints tell. Everything may be missing: engines differ."""


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
    content: list[ToldToken] | None = None


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
        rows = (self.logprobs.content if self.logprobs else None) or []
        return tuple(_logprob(row, [_logprob(rival) for rival in row.top_logprobs or []]) for row in rows)


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


REASONS: dict[str | None, FinishReason] = {
    "length": "length",
    "tool_calls": "tool_calls",
    "cancelled": "cancelled",
}


def raise_for(status: int, body: bytes, retry_after: str | None = None) -> None:
    """Raise the error that the kernel raised, as the same class. Nothing for a success."""
    if status < 400:
        return
    try:
        told = msgspec.json.decode(body, type=ToldBody).error
    except msgspec.MsgspecError:
        told = None
    if told is None:
        told = ToldError(body.decode("utf-8", "replace")[:300] or f"HTTP status {status}")
    _raise(told, status, retry_after)


def _raise(told: ToldError, status: int, retry_after: str | None = None) -> NoReturn:
    kinds = by_code()
    kind = kinds.get(str(told.code)) or next((k for k in kinds.values() if k.status == status), AiosError)
    wait = float(retry_after) if retry_after and retry_after.isdigit() else None
    raise kind(told.message, param=told.param, retry_after=wait)


def unreachable(url: str, why: Exception) -> CoreUnavailable:
    what = f"Nothing answers at {url} ({why or type(why).__name__})."
    return CoreUnavailable(what, "Start the kernel (`aios serve`), or set AIOS_BASE_URL.")


def completion(body: bytes) -> Completion:
    """A whole chat or text completion. Raises CoreProtocolError."""
    try:
        told = msgspec.json.decode(body, type=ToldBody)
    except msgspec.MsgspecError as error:
        what = f"The answer is no completion: {error}."
        raise CoreProtocolError(what, "Is this an OpenAI endpoint?") from error
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
    try:
        told = msgspec.json.decode(body, type=ToldVectors)
    except msgspec.MsgspecError as error:
        what = f"The answer is no list of embeddings: {error}."
        raise CoreProtocolError(what, "Name another model.") from error
    vectors = tuple(row.embedding for row in sorted(told.data, key=lambda row: row.index))
    return Embeddings(model=told.model, vectors=vectors, usage=(told.usage or ToldUsage()).usage())


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


# -- streams ----------------------------------------------------------------------------------------


class Events:
    """Server-sent events from lines: `feed` a line, get the data of an event when one is complete."""

    def __init__(self) -> None:
        self._data: list[str] = []

    def feed(self, line: str) -> str | None:
        if line.startswith("data:"):
            self._data.append(line[5:].removeprefix(" "))
        elif not line and self._data:
            whole, self._data = "\n".join(self._data), []
            return whole
        return None


class Stream:
    """Turns the events of a streamed completion into deltas. `usage` and `timings` come with its end."""

    def __init__(self) -> None:
        self.usage = Usage()
        self.timings = Timings()
        self.done = False

    def feed(self, data: str) -> Iterator[Delta]:
        """The deltas of one event. Raises what the kernel reports, CoreProtocolError."""
        if data == "[DONE]":
            self.done = True
            return
        try:
            told = msgspec.json.decode(data, type=ToldBody)
        except msgspec.MsgspecError as error:
            raise CoreProtocolError(f"The stream makes no sense: {error}.", "Send it again.") from error
        if told.error:
            _raise(told.error, 500)
        if told.usage:
            self.usage = told.usage.usage()
            self.timings = told.timings or Timings()
        for choice in told.choices:
            if delta := _delta(choice):
                yield delta


def _delta(told: ToldChoice) -> Delta | None:
    said, logprobs = told.said(), told.rows()
    if not (said.content or said.tool_calls or logprobs):
        return None
    return Delta(
        choice=told.index,
        content=said.content or "",
        tool_calls=tuple(
            ToolCallDelta(
                index=call.index, id=call.id, name=call.function.name, arguments=call.function.arguments or ""
            )
            for call in said.tool_calls or ()
        ),
        logprobs=logprobs,
    )
