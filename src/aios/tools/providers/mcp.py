"""Tools of MCP servers, over stdio or streamable HTTP, with the official SDK (extra `mcp`).

A server is started when one of its tools is first needed, started again when it dies (with back-off), and
stopped with the manager. One task owns its connection; calls come from their callers' tasks.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, cast

from aios.errors import ConfigError, ToolError, ToolUnavailable
from aios.syscalls.tools import Flags, Tool, ToolEffect, ToolSource
from aios.tools.registry import SEPARATOR
from aios.tools.tool import Bound, Context

if TYPE_CHECKING:
    from mcp import Client
    from mcp.types import CallToolResult
    from mcp.types import Tool as McpTool

log = logging.getLogger(__name__)
FIRST_DELAY_S, MOST_DELAY_S = 0.25, 30.0
STEADY_S = 60.0
"""After so long a life the next death is a first one again."""
START_S = 30.0
FRESH_S = 1.0
"""A connection that answered so recently is not asked whether it is alive."""
CONNECTION_CLOSED = -32000


class McpServer:
    """The server that `source` describes: `command` (with `env` besides a safe few variables), or `url` (with
    `headers`). Raises ConfigError unless exactly one of the two is set."""

    def __init__(
        self,
        source: ToolSource,
        *,
        env: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        if bool(source.command) == bool(source.url):
            what = f"The MCP server {source.name!r} needs a command or a url, not both."
            raise ConfigError(what, "Set one of them.")
        self.name, self._source = source.name, source
        self._env, self._headers = dict(env or {}), dict(headers or {})
        self._changed = asyncio.Condition()
        self._lost = asyncio.Event()
        self._client: Client | None = None
        self._tools: dict[str, Bound] = {}
        self._failures, self._trouble, self._connected = 0, "", False
        self._answered = 0.0
        self._tasks: asyncio.TaskGroup | None = None
        self._server: asyncio.Task[None] | None = None

    def start(self, tasks: asyncio.TaskGroup) -> None:
        self._tasks = tasks

    async def tools(self) -> Mapping[str, Bound]:
        """Raises ToolUnavailable if it can't be started or reached."""
        await self._alive()
        return self._tools

    async def close(self) -> None:
        if self._server is not None:
            self._server.cancel()
            await asyncio.wait([self._server])

    async def _alive(self) -> Client:
        """The connection, started if need be. Raises ToolUnavailable."""
        if self._server is None or self._server.done():
            if self._tasks is None:
                raise ToolUnavailable("The tools are not running.", "Use the manager as a context manager.")
            self._server = self._tasks.create_task(self._serve())
        seen = self._failures
        try:
            async with asyncio.timeout(START_S), self._changed:
                await self._changed.wait_for(lambda: self._client is not None or self._failures > seen)
        except TimeoutError:
            self._trouble = f"no answer in {START_S:g} s"
        if self._client is None:
            what = f"The MCP server {self.name} is not available: {self._trouble}."
            raise ToolUnavailable(what, "Check its command or url.", retry_after=MOST_DELAY_S)
        return self._client

    async def _serve(self) -> None:
        delay = FIRST_DELAY_S
        while True:
            began = time.monotonic()
            try:
                await self._connect()
            except Exception as error:  # noqa: BLE001 - the supervisor of a foreign program: it is tried again
                self._trouble = _first(error)
                log.warning("MCP server %s: %s", self.name, self._trouble)
            async with self._changed:
                self._failures += not self._connected
                self._client, self._connected = None, False
                self._changed.notify_all()
            delay = FIRST_DELAY_S if time.monotonic() - began > STEADY_S else delay
            await asyncio.sleep(delay)
            delay = min(2 * delay, MOST_DELAY_S)

    async def _connect(self) -> None:
        """Connect, and return when the connection is lost."""
        self._lost.clear()
        async with _connection(self._source, self._env, self._headers) as client:
            tools: list[McpTool] = []
            cursor: str | None = None
            while True:
                page = await client.list_tools(cursor=cursor)
                tools += page.tools
                cursor = page.next_cursor
                if cursor is None:
                    break
            version = client.server_info.version if client.server_info else ""
            bounds = [self._bound(tool, version) for tool in tools]
            async with self._changed:
                self._tools = {bound.tool.name: bound for bound in bounds}
                self._client, self._answered, self._connected = client, time.monotonic(), True
                self._changed.notify_all()
            await self._lost.wait()
            self._trouble = "it stopped answering"

    def _bound(self, tool: McpTool, version: str) -> Bound:
        hints = tool.annotations
        read_only = bool(hints and hints.read_only_hint)
        same_again = read_only or bool(hints and hints.idempotent_hint)
        effect: ToolEffect = "idempotent" if same_again else "opaque"
        flags = Flags(
            returns_untrusted=True,
            # Unless a server says otherwise, its tools destroy and reach out (MCP's ToolAnnotations).
            sends_out=not (hints and hints.open_world_hint is False),
            irreversible=not read_only and not (hints and hints.destructive_hint is False),
        )
        described = Tool(
            name=f"{self.name}{SEPARATOR}{tool.name}", description=tool.description or "",
            parameters=tool.input_schema, effect=effect, flags=flags, timeout_s=self._source.timeout_s,
            concurrency=self._source.concurrency, version=version, provider=f"mcp:{self.name}",
        )  # fmt: skip

        async def body(context: Context, arguments: dict[str, Any]) -> Any:
            return await self._call(tool.name, arguments)

        return Bound(described, body)

    async def _call(self, name: str, arguments: dict[str, Any]) -> Any:
        from mcp import MCPError

        client = await self._checked()
        try:
            result = await client.call_tool(name, arguments)
        except MCPError as error:
            if error.code == CONNECTION_CLOSED:
                raise self._gone(name) from error
            raise ToolError(f"{name}: {error}.", "Try other arguments.") from error
        except _lost_connection() as error:
            raise self._gone(name) from error
        self._answered = time.monotonic()
        return _value(name, result)

    async def _checked(self) -> Client:
        """A connection that answers: a server that died while nobody called is started again first."""
        from mcp import MCPError

        client = await self._alive()
        if time.monotonic() - self._answered < FRESH_S:
            return client
        try:
            async with asyncio.timeout(START_S):
                await client.list_tools(cache_mode="bypass")  # newer protocols have no ping
        except (MCPError, TimeoutError, *_lost_connection()):
            self._gone(self.name)
            return await self._alive()
        return client

    def _gone(self, name: str) -> ToolUnavailable:
        self._client = None
        self._lost.set()
        what = f"The MCP server {self.name} went away during {name}; whether it was done is not known."
        return ToolUnavailable(what, "It is being started again: look first, then try again.", retry_after=1.0)


@asynccontextmanager
async def _connection(
    source: ToolSource, env: Mapping[str, str], headers: Mapping[str, str]
) -> AsyncGenerator[Client]:
    try:
        from mcp import Client, StdioServerParameters
        from mcp.client.streamable_http import streamable_http_client
        from mcp.shared._httpx_utils import create_mcp_http_client
    except ModuleNotFoundError as error:
        raise ConfigError("MCP servers need the mcp SDK.", "Install it: pip install 'aios[mcp]'") from error
    if source.command:
        parameters = StdioServerParameters(
            command=source.command, args=list(source.args), env=dict(env) or None, cwd=source.cwd
        )
        async with Client(parameters) as client:
            yield client
    else:
        async with (
            create_mcp_http_client(headers=dict(headers)) as http,
            Client(streamable_http_client(source.url, http_client=http)) as client,
        ):
            yield client


def _lost_connection() -> tuple[type[Exception], ...]:
    import anyio

    return (anyio.ClosedResourceError, anyio.BrokenResourceError, anyio.EndOfStream, OSError)


def _value(name: str, result: CallToolResult) -> Any:
    """What the tool returned: its structured result, or the texts of its parts. Raises ToolError if it says
    that it failed."""
    texts: list[str] = []
    for part in result.content:
        text = getattr(part, "text", None)
        texts.append(text if isinstance(text, str) else f"[{part.type}, not shown]")
    if result.is_error:
        raise ToolError(f"{name} failed: {' '.join(texts) or 'it does not say why'}", "Try other arguments.")
    return result.structured_content if result.structured_content is not None else "\n".join(texts)


def _first(error: BaseException) -> str:
    """The innermost first of a group's errors."""
    while isinstance(error, BaseExceptionGroup):
        error = cast("BaseExceptionGroup[BaseException]", error).exceptions[0]
    return str(error) or repr(error)
