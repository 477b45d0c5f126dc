"""What a client asks: HTTP requests, and how each answer is read. Pure; both clients stand on it.

Chat, text and embeddings go over the OpenAI protocol, so the same client talks to a kernel or straight to any
OpenAI-compatible engine; processes, events and status are the kernel's own `/aios/v1`.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Generic, TypeVar
from urllib.parse import quote

import msgspec

from aios.errors import CoreProtocolError
from aios.sdk import answers
from aios.syscalls import (
    Completion,
    ContextInfo,
    Embeddings,
    GroupInfo,
    Message,
    ProcessInfo,
    ProcessList,
    Ps,
    Result,
    SendSignal,
    Signal,
    Syscall,
    ToolSpec,
)

T = TypeVar("T")
MessageLike = Message | Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Request(Generic[T]):
    """One HTTP request and what its answer means. `repeatable`: sending it again can't do anything twice."""

    method: str
    path: str
    read: Callable[[bytes], T]
    body: dict[str, Any] | None = None
    repeatable: bool = True

    def streamed(self) -> Request[T]:
        """The same, its answer to come piece by piece."""
        body = {**(self.body or {}), "stream": True, "stream_options": {"include_usage": True}}
        return replace(self, body=body)


def chat(messages: Sequence[MessageLike], options: Mapping[str, Any]) -> Request[Completion]:
    """`options` are parameters of the OpenAI API and AIOS's own; None is left out. A key that makes sending it
    again safe is added."""
    given = [msgspec.to_builtins(m) if isinstance(m, Message) else dict(m) for m in messages]
    return _generation("/v1/chat/completions", {"messages": given}, options)


def text(prompt: str | Sequence[int], options: Mapping[str, Any]) -> Request[Completion]:
    """Options as of `chat`."""
    given = prompt if isinstance(prompt, str) else list(prompt)
    return _generation("/v1/completions", {"prompt": given}, options)


def embed(inputs: Sequence[str], model: str) -> Request[Embeddings]:
    body = {"input": list(inputs), "model": model, "encoding_format": "float"}
    return Request("POST", "/v1/embeddings", answers.embeddings, body)


def models() -> Request[list[str]]:
    return Request("GET", "/v1/models", answers.model_names)


def syscall(call: Syscall) -> Request[Result]:
    body = msgspec.to_builtins(call)
    return Request("POST", "/aios/v1/syscalls", _result, body, repeatable=isinstance(call, Ps))


def processes(*, all: bool) -> Request[tuple[ProcessInfo, ...]]:
    return Request("GET", "/aios/v1/processes" + ("?all=true" if all else ""), _process_list)


def process(call: Syscall) -> Request[ProcessInfo]:
    """A syscall that answers with a process."""
    return Request("POST", "/aios/v1/syscalls", _process_info, msgspec.to_builtins(call), repeatable=False)


def signal(pid: int, name: Signal, reason: str = "") -> Request[ProcessInfo]:
    return process(SendSignal(pid=pid, signal=name, reason=reason))


def status() -> Request[dict[str, Any]]:
    return Request("GET", "/aios/v1/status", _told)


def trace() -> Request[dict[str, Any]]:
    return Request("GET", "/aios/v1/trace", _told)


def set_policy(policy: str, core: str) -> Request[dict[str, Any]]:
    return Request("PUT", "/aios/v1/scheduler", _told, {"policy": policy, "core": core})


def context(pid: int) -> Request[ContextInfo]:
    return Request("GET", f"/aios/v1/processes/{pid}/context", lambda told: answers.decoded(told, ContextInfo))


def groups() -> Request[tuple[GroupInfo, ...]]:
    return Request("GET", "/aios/v1/groups", _group_list)


def set_group(name: str, limits: Mapping[str, Any]) -> Request[GroupInfo]:
    body = {"name": name, **limits}
    return Request("PUT", "/aios/v1/groups", lambda told: answers.decoded(told, GroupInfo), body)


def create_key(agent: str, group: str) -> Request[dict[str, Any]]:
    return Request("POST", "/aios/v1/keys", _told, {"agent": agent, "group": group}, repeatable=False)


def keys() -> Request[dict[str, Any]]:
    return Request("GET", "/aios/v1/keys", _told)


def revoke_keys(agent: str) -> Request[dict[str, Any]]:
    return Request("DELETE", f"/aios/v1/keys/{quote(agent, safe='')}", _told)


def events(pid: int | None) -> Request[None]:
    """A stream of events: `answers.decoded(data, AnyEvent)` reads one."""
    return Request("GET", "/aios/v1/events" + (f"?pid={pid}" if pid is not None else ""), lambda body: None)


def _generation(path: str, asked: dict[str, Any], options: Mapping[str, Any]) -> Request[Completion]:
    given = {name: value for name, value in options.items() if value is not None}
    tools = [msgspec.to_builtins(t) if isinstance(t, ToolSpec) else t for t in given.pop("tools", ())]
    body = {"model": "", "idempotency_key": secrets.token_hex(16), **asked, **given}
    if tools:  # engines refuse an empty list
        body["tools"] = tools
    return Request("POST", path, answers.completion, body)


def _result(body: bytes) -> Result:
    return answers.decoded(body, Result)


def _told(body: bytes) -> dict[str, Any]:
    return answers.decoded(body, dict[str, Any])


def _group_list(body: bytes) -> tuple[GroupInfo, ...]:
    return answers.decoded(body, answers.ToldGroups).groups


def _process_list(body: bytes) -> tuple[ProcessInfo, ...]:
    return answers.decoded(body, ProcessList).processes


def _process_info(body: bytes) -> ProcessInfo:
    result = _result(body)
    if not isinstance(result, ProcessInfo):
        raise CoreProtocolError(
            "The kernel answered another question.", "Are client and kernel of one version?"
        )
    return result
