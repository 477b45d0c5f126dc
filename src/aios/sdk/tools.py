"""`client.tools`: the kernel's tools."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from typing import Any, Protocol, TypeVar
from urllib.parse import quote

import msgspec

from aios.sdk import answers
from aios.sdk.requests import Request
from aios.syscalls.tools import Tool, ToolList, ToolResult, ToolSource

T = TypeVar("T")
PATH = "/aios/v1/tools"


class Sender(Protocol):
    """The part of Client that is needed here."""

    def request(self, request: Request[T]) -> T: ...


class AsyncSender(Protocol):
    """The part of AsyncClient that is needed here."""

    async def request(self, request: Request[T]) -> T: ...


class AsyncTools:
    """The kernel's tools, for the agent that `client` is."""

    def __init__(self, client: AsyncSender) -> None:
        self._client = client

    async def list(self) -> tuple[Tool, ...]:
        """All tools there are."""
        return await self._client.request(listed())

    async def show(self, name: str) -> Tool:
        """One tool. Raises NotFound."""
        return await self._client.request(shown(name))

    async def call(self, name: str, /, **arguments: Any) -> ToolResult:
        """Run a tool. Raises ToolError, ToolTimeout, ToolBusy, ToolUnavailable, NotFound."""
        return await self._client.request(called(name, arguments))

    async def add(self, source: ToolSource) -> tuple[Tool, ...]:
        """Offer the tools of a source; they are returned. It takes an admin's key."""
        return await self._client.request(added(source))

    async def remove(self, name: str) -> tuple[Tool, ...]:
        """Take away a tool or a source; what is left is returned. It takes an admin's key."""
        return await self._client.request(removed(name))


class Tools:
    """See AsyncTools, whose methods it has."""

    def __init__(self, client: Sender) -> None:
        self._client = client

    def list(self) -> tuple[Tool, ...]:
        return self._client.request(listed())

    def show(self, name: str) -> Tool:
        return self._client.request(shown(name))

    def call(self, name: str, /, **arguments: Any) -> ToolResult:
        return self._client.request(called(name, arguments))

    def add(self, source: ToolSource) -> tuple[Tool, ...]:
        return self._client.request(added(source))

    def remove(self, name: str) -> tuple[Tool, ...]:
        return self._client.request(removed(name))


# -- requests ---------------------------------------------------------------------------------------


def listed() -> Request[tuple[Tool, ...]]:
    return Request("GET", PATH, _tools)


def shown(name: str) -> Request[Tool]:
    return Request("GET", _path(name), lambda body: answers.decoded(body, Tool))


def called(name: str, arguments: str | Mapping[str, Any], id: str = "") -> Request[ToolResult]:
    """A key makes sending it again safe, whatever the tool does."""
    given = arguments if isinstance(arguments, str) else msgspec.to_builtins(dict(arguments))
    body = {"arguments": given, "id": id, "idempotency_key": secrets.token_hex(16)}
    return Request("POST", f"{_path(name)}/call", lambda told: answers.decoded(told, ToolResult), body)


def added(source: ToolSource) -> Request[tuple[Tool, ...]]:
    return Request("POST", PATH, _tools, msgspec.to_builtins(source), repeatable=False)


def removed(name: str) -> Request[tuple[Tool, ...]]:
    return Request("DELETE", _path(name), _tools, repeatable=False)


def _path(name: str) -> str:
    return f"{PATH}/{quote(name, safe='')}"


def _tools(body: bytes) -> tuple[Tool, ...]:
    return answers.decoded(body, ToolList).tools
