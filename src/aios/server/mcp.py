"""The kernel as an MCP server: the tools of the calling agent, its memory and files among them, with its
rights.

`/mcp` speaks streamable HTTP without sessions: each request is told who it is from as any other is, answered,
and nothing of it stays. `aios mcp` offers the same over stdio. The protocol is the official SDK's (extra
`mcp`)."""

from __future__ import annotations

import asyncio
from functools import partial
from importlib import import_module
from typing import TYPE_CHECKING, Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send

import aios
from aios.errors import AiosError, ToolUnavailable
from aios.server import body, sse
from aios.server.auth import Gate
from aios.server.endpoint import Endpoint
from aios.syscalls import Trap
from aios.syscalls.tools import CallTool, ListTools, Tool

if TYPE_CHECKING:
    from mcp import types
    from mcp.server.lowlevel import Server

    from aios.kernel.kernel import Kernel


class Mcp:
    """Handler of `/mcp`."""

    def __init__(self, kernel: Kernel, gate: Gate) -> None:
        self._kernel, self._gate = kernel, gate
        self._limit = int(kernel.settings.server.max_body_mb * 1e6)
        self._loaded = False

    def endpoints(self) -> tuple[Endpoint, ...]:
        return (Endpoint("POST", "/mcp", self.mcp),)

    async def mcp(self, request: Request) -> Response:
        """Speak MCP (streamable HTTP, no sessions): list and call the caller's tools."""
        pid = self._gate.caller(request, self._gate.credentials(request)).pid
        asked = await body.read(request, self._limit)
        if not self._loaded:
            await asyncio.to_thread(load)  # it takes a while, once
            self._loaded = True
        return Exchange(mcp_server(partial(self._kernel.trap, pid)), asked, self._limit)


class Exchange(Response):
    """The answer of `server` to one request, whose body is `asked`. What the SDK runs for it, ends with it; the
    server's call is cancelled when the client hangs up."""

    def __init__(self, server: Server[Any], asked: bytes, limit: int) -> None:
        super().__init__()
        self._server, self._asked, self._limit = server, asked, limit

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        from mcp.server.streamable_http_manager import StreamableHTTPSessionManager

        unread = [self._asked]

        async def again() -> Message:
            if not unread:
                await asyncio.Event().wait()  # the client hangs up: Attendance sees to that
            return {"type": "http.request", "body": unread.pop(), "more_body": False}

        # One for each request, though made for many: so its tasks have the request for an owner.
        manager = StreamableHTTPSessionManager(
            self._server, json_response=True, stateless=True, max_request_body_size=self._limit
        )
        async with sse.Attendance(receive), manager.run():
            await manager.handle_request(scope, again, send)


def mcp_server(trap: Trap) -> Server[Any]:
    """A server whose every request is a syscall that `trap` makes. Raises ToolUnavailable without the SDK."""
    load()
    from mcp import MCPError, types
    from mcp.server.lowlevel import Server

    async def listed(context: Any, asked: types.PaginatedRequestParams | None) -> types.ListToolsResult:
        try:
            told = await trap(ListTools())
        except AiosError as error:
            raise MCPError(types.INTERNAL_ERROR, str(error)) from error
        return types.ListToolsResult(tools=[_described(tool) for tool in told.tools])

    async def called(context: Any, asked: types.CallToolRequestParams) -> types.CallToolResult:
        try:
            result = await trap(CallTool(name=asked.name, arguments=asked.arguments or {}))
        except AiosError as error:
            text = types.TextContent(type="text", text=str(error))
            return types.CallToolResult(content=[text], is_error=True)
        value: Any = result.value
        return types.CallToolResult(
            content=[types.TextContent(type="text", text=result.text)],
            structured_content=value if isinstance(value, dict) else None,
        )

    return Server("aios", version=aios.__version__, on_list_tools=listed, on_call_tool=called)


def load() -> None:
    """Import the SDK. Raises ToolUnavailable if it is not installed."""
    try:
        import_module("mcp.server.streamable_http_manager")
    except ModuleNotFoundError as error:
        raise ToolUnavailable("MCP needs the mcp SDK.", "Install it: pip install 'aios[mcp]'") from error


def _described(tool: Tool) -> types.Tool:
    from mcp import types

    flags = tool.flags
    hints = types.ToolAnnotations(
        read_only_hint=tool.effect == "pure",
        destructive_hint=flags.irreversible,
        idempotent_hint=tool.effect in ("pure", "idempotent"),
        open_world_hint=flags.sends_out or flags.returns_untrusted,
    )
    return types.Tool(
        name=tool.name, description=tool.description, input_schema=tool.parameters, annotations=hints
    )
