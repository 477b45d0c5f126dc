"""What a client asks: HTTP requests, and how each answer is read. Pure; both clients stand on it.

Chat, text and embeddings go over the OpenAI protocol, so the same client talks to a kernel or straight to any
OpenAI-compatible engine; processes, events and status are the kernel's own `/aios/v1`.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Generic, TypeVar, cast
from urllib.parse import quote

import httpx
import msgspec

from aios.sdk import answers
from aios.syscalls import (
    READ_ONLY,
    Call,
    Completion,
    ContextInfo,
    Embeddings,
    GroupInfo,
    Message,
    ProcessInfo,
    ProcessList,
    SendSignal,
    Signal,
    ToolSpec,
    answer_of,
)
from aios.syscalls.storage_records import Stat

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
    content: bytes | None = None
    """A body that isn't JSON."""

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


def syscall(call: Call[T]) -> Request[T]:
    """Any syscall. One that can be told apart by a key gets one, so that sending it again is safe."""
    if "idempotency_key" in call.__struct_fields__ and getattr(call, "idempotency_key", None) is None:
        call = msgspec.structs.replace(call, idempotency_key=secrets.token_hex(16))
    return process(call)


def process(call: Call[T]) -> Request[T]:
    """A syscall as it is."""
    kind: Any = answer_of(type(call))
    again = isinstance(call, READ_ONLY) or getattr(call, "idempotency_key", None) is not None
    body = msgspec.to_builtins(call)
    return Request(
        "POST", "/aios/v1/syscalls", lambda told: answers.decoded(told, kind), body, repeatable=again
    )


def tuples(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Lists are fine where tuples are meant."""
    lists = {name: cast("list[Any]", value) for name, value in fields.items() if isinstance(value, list)}
    return {**fields, **{name: tuple(value) for name, value in lists.items()}}


def read_file(path: str, version: int | None = None, snapshot: str = "") -> Request[bytes]:
    query = httpx.QueryParams({"snapshot": snapshot, **({} if version is None else {"version": version})})
    return Request("GET", f"{_file(path)}?{query}", lambda told: told)


def write_file(path: str, data: bytes, expect: int | None = None) -> Request[Stat]:
    query = {"idempotency_key": secrets.token_hex(16), **({} if expect is None else {"expect": expect})}
    there = f"{_file(path)}?{httpx.QueryParams(query)}"
    return Request("PUT", there, lambda told: answers.decoded(told, Stat), content=data)


def shared_roots() -> Request[dict[str, Any]]:
    return Request("GET", "/aios/v1/roots", _told)


def add_root(root: Mapping[str, Any]) -> Request[dict[str, Any]]:
    return Request("POST", "/aios/v1/roots", _told, dict(root), repeatable=False)


def remove_root(name: str) -> Request[dict[str, Any]]:
    return Request("DELETE", f"/aios/v1/roots/{quote(name)}", _told)


def processes(*, all: bool) -> Request[tuple[ProcessInfo, ...]]:
    return Request("GET", "/aios/v1/processes" + ("?all=true" if all else ""), _process_list)


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
    return Request("PATCH", "/aios/v1/groups", lambda told: answers.decoded(told, GroupInfo), body)


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


def _file(path: str) -> str:
    return f"/aios/v1/storage/files/{quote(path.lstrip('/'))}"


def _told(body: bytes) -> dict[str, Any]:
    return answers.decoded(body, dict[str, Any])


def _group_list(body: bytes) -> tuple[GroupInfo, ...]:
    return answers.decoded(body, answers.ToldGroups).groups


def _process_list(body: bytes) -> tuple[ProcessInfo, ...]:
    return answers.decoded(body, ProcessList).processes
