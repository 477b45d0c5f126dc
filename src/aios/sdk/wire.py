"""The client's half of the protocol, without I/O: requests out, answers in. Both clients stand on it.

Chat, text and embeddings go over the OpenAI protocol, so the same client talks to a kernel or straight to any
OpenAI-compatible engine; processes, events and status are the kernel's own `/aios/v1`.
"""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from aios.errors import AiosError, CoreProtocolError, CoreUnavailable, by_code
from aios.syscalls import (
    Choice,
    Completion,
    Delta,
    Embeddings,
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
    """The address in the daemon's file, if there is one. (`[state] dir` may be elsewhere: then name the URL.)"""
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
    return Request(
        "POST", "/v1/embeddings", {"input": list(inputs), "model": model, "encoding_format": "float"}
    )


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


def raise_for(status: int, body: bytes, retry_after: str | None = None) -> None:
    """Raise the error that the kernel raised, as the same class. Nothing for a success."""
    if status < 400:
        return
    try:
        told = json.loads(body)["error"]
        message, code, param = str(told["message"]), str(told.get("code")), told.get("param")
    except (ValueError, KeyError, TypeError, AttributeError):
        message, code, param = body.decode("utf-8", "replace")[:300] or f"HTTP status {status}", "", None
    kinds = by_code()
    kind = kinds.get(code) or next((k for k in kinds.values() if k.status == status), AiosError)
    wait = float(retry_after) if retry_after and retry_after.replace(".", "", 1).isdigit() else None
    raise kind(message, param=param, retry_after=wait)


def unreachable(url: str, why: Exception) -> CoreUnavailable:
    return CoreUnavailable(
        f"Nothing answers at {url} ({why or type(why).__name__}).",
        "Start the kernel (`aios serve`), or set AIOS_BASE_URL.",
    )


def completion(body: bytes) -> Completion:
    """A whole chat or text completion. Raises CoreProtocolError."""
    try:
        return _completion(json.loads(body))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise CoreProtocolError(
            f"The answer is no completion: {error!r}.", "Is this an OpenAI endpoint?"
        ) from error


def embeddings(body: bytes) -> Embeddings:
    """Raises CoreProtocolError."""
    try:
        told = json.loads(body)
        vectors = tuple(tuple(row["embedding"]) for row in sorted(told["data"], key=lambda row: row["index"]))
        return Embeddings(model=told["model"], vectors=vectors, usage=_usage(told.get("usage")))
    except (ValueError, KeyError, TypeError) as error:
        raise CoreProtocolError(
            f"The answer is no embedding list: {error!r}.", "Name another model."
        ) from error


def _completion(told: dict[str, Any]) -> Completion:
    choices: list[Choice] = []
    for row in told["choices"]:
        message = row.get("message") or {"content": row.get("text")}
        calls = tuple(
            ToolCall(
                id=call.get("id") or "",
                function=FunctionCall(name=call["function"]["name"], arguments=call["function"]["arguments"]),
            )
            for call in message.get("tool_calls") or ()
        )
        choices.append(
            Choice(
                index=row.get("index", 0),
                content=message.get("content"),
                tool_calls=calls,
                finish_reason=_reason(row.get("finish_reason")),
                logprobs=_logprobs(row.get("logprobs")),
            )
        )
    return Completion(
        id=told.get("id") or "",
        model=told.get("model") or "",
        created=int(told.get("created") or 0),
        choices=tuple(choices),
        usage=_usage(told.get("usage")),
        timings=_timings(told.get("timings")),
    )


def _usage(told: dict[str, Any] | None) -> Usage:
    told = told or {}
    details = told.get("prompt_tokens_details") or {}
    return Usage(
        prompt_tokens=told.get("prompt_tokens") or 0,
        completion_tokens=told.get("completion_tokens") or 0,
        cached_tokens=details.get("cached_tokens") or 0,
    )


def _timings(told: dict[str, Any] | None) -> Timings:
    """The kernel's timings; engines put other things under that name."""
    told = told or {}
    return msgspec.convert({k: v for k, v in told.items() if k in Timings.__struct_fields__}, Timings)


def _reason(told: str | None) -> Any:
    return told if told in ("stop", "length", "tool_calls", "cancelled") else "stop"


def _logprobs(told: dict[str, Any] | None) -> tuple[TokenLogprob, ...]:
    rows = (told or {}).get("content") or ()
    return tuple(
        TokenLogprob(
            token=row["token"],
            logprob=row["logprob"],
            bytes=tuple(row.get("bytes") or ()),
            top=tuple(
                TokenLogprob(token=t["token"], logprob=t["logprob"], bytes=tuple(t.get("bytes") or ()))
                for t in row.get("top_logprobs") or ()
            ),
        )
        for row in rows
    )


# -- streams ----------------------------------------------------------------------------------------


@dataclass(slots=True)
class Events:
    """Server-sent events from a stream of lines: `feed` a line, get the data of an event when one is complete."""

    data: list[str] = field(default_factory=list[str])

    def feed(self, line: str) -> str | None:
        if line.startswith("data:"):
            self.data.append(line[5:].removeprefix(" "))
        elif not line and self.data:
            whole, self.data = "\n".join(self.data), []
            return whole
        return None


@dataclass(slots=True)
class Stream:
    """Turns the chunks of a streamed completion into deltas; `usage` and `timings` come with the last one."""

    usage: Usage = Usage()
    timings: Timings = Timings()
    done: bool = False

    def feed(self, data: str) -> Iterator[Delta]:
        """The deltas of one event. Raises what the kernel reports, CoreProtocolError."""
        if data == "[DONE]":
            self.done = True
            return
        try:
            told: dict[str, Any] = json.loads(data)
        except ValueError as error:
            raise CoreProtocolError("The stream holds something that is not JSON.", "Send it again.") from error
        if "error" in told:
            raise_for(500, data.encode())
        if told.get("usage"):
            self.usage = _usage(told["usage"])
            self.timings = _timings(told.get("timings"))
        for row in told.get("choices") or ():
            delta = row.get("delta") or {"content": row.get("text")}
            pieces = tuple(
                ToolCallDelta(
                    index=piece.get("index", 0),
                    id=piece.get("id"),
                    name=(piece.get("function") or {}).get("name"),
                    arguments=(piece.get("function") or {}).get("arguments") or "",
                )
                for piece in delta.get("tool_calls") or ()
            )
            content, logprobs = delta.get("content") or "", _logprobs(row.get("logprobs"))
            if content or pieces or logprobs:
                yield Delta(choice=row.get("index", 0), content=content, tool_calls=pieces, logprobs=logprobs)
