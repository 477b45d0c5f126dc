"""`/aios/v1/tools`: tools, as the syscalls of their kind."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from aios.server import body, sse
from aios.server.auth import Gate
from aios.server.endpoint import Endpoint
from aios.server.hints import hints_of
from aios.server.requests import ChatRequest, parse
from aios.syscalls import Call
from aios.syscalls.toolruns import RunTools, ToolRun
from aios.syscalls.tools import (
    AddTools,
    CallTool,
    ListTools,
    RemoveTools,
    Tool,
    ToolList,
    ToolResult,
    ToolSource,
)

if TYPE_CHECKING:
    from aios.kernel.kernel import Kernel


class ToolBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A call of the tool that the path names."""

    arguments: str | dict[str, Any] = "{}"
    id: str = ""
    deadline_s: float | None = None
    idempotency_key: str | None = None


class RunBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A model and tools in one request."""

    chat: msgspec.Raw
    """What `/v1/chat/completions` takes. Its own `tools` are the caller's to run: a call of one ends the
    run."""
    tools: tuple[str, ...] = ()
    """Tools of the kernel that the model may call; none: all."""
    tool_choice: str = "auto"
    """Of the first turn: `auto`, `required`, or `=NAME` for one tool; later ones are free."""
    max_turns: int = 8
    """How often the model is asked at most."""


class Tools:
    """Handlers of `/aios/v1/tools`. Changes are the operator's to make, calls the caller's own."""

    def __init__(self, kernel: Kernel, gate: Gate) -> None:
        self._kernel, self._gate = kernel, gate
        self._limit = int(kernel.settings.server.max_body_mb * 1e6)

    def endpoints(self) -> tuple[Endpoint, ...]:
        every, one = "/aios/v1/tools", "/aios/v1/tools/{name}"
        return (
            Endpoint("GET", every, self.list_tools, None, ToolList),
            Endpoint("POST", every, self.add_tools, ToolSource, ToolList, status=201),
            Endpoint("POST", "/aios/v1/runs", self.run_tools, RunBody, ToolRun),
            Endpoint("GET", one, self.tool, None, Tool),
            Endpoint("DELETE", one, self.remove_tools, None, ToolList),
            Endpoint("POST", f"{one}/call", self.call_tool, ToolBody, ToolResult),
        )

    async def list_tools(self, request: Request) -> Response:
        """List the tools."""
        return await self._as_caller(request, ListTools())

    async def tool(self, request: Request) -> Response:
        """Describe one tool."""
        known = self._gate.credentials(request)
        told = await self._kernel.trap(self._gate.caller(request, known).pid, ListTools(name=_name(request)))
        return body.reply(told.tools[0])

    async def call_tool(self, request: Request) -> Response:
        """Run a tool as the caller. Header `Idempotency-Key` or the field: it runs once under a key."""
        asked = body.decode(await body.read(request, self._limit) or b"{}", ToolBody)
        key = asked.idempotency_key or request.headers.get("idempotency-key") or None
        return await self._as_caller(
            request,
            CallTool(
                name=_name(request), arguments=asked.arguments, id=asked.id, deadline_s=asked.deadline_s,
                idempotency_key=key,
            ),
        )  # fmt: skip

    async def run_tools(self, request: Request) -> Response:
        """Ask a model, run the tools that it calls, and ask it again, until it has its answer."""
        known = self._gate.credentials(request)
        asked = body.decode(await body.read(request, self._limit), RunBody)
        chat, extra = parse(bytes(asked.chat), ChatRequest)
        pid = self._gate.caller(request, known, chat.agent_id, chat.user).pid
        call = chat.generate(extra, hints_of(request.headers))
        call = msgspec.structs.replace(call, tool_choice=asked.tool_choice)
        async with sse.Attendance(request.receive):
            run = RunTools(call=call, tools=asked.tools, max_turns=asked.max_turns)
            return body.reply(await self._kernel.run_tools(pid, run))
        return Response(status_code=499)

    async def add_tools(self, request: Request) -> Response:
        """Offer the tools of a source from now on, after a restart too. Admin, with a key or the token."""
        self._gate.owner(request)
        source = body.decode(await body.read(request, self._limit), ToolSource)
        return await self._trap(request, self._gate.operator(), AddTools(source=source), status=201)

    async def remove_tools(self, request: Request) -> Response:
        """Take away a tool or a source. Answers with those that are left. Admin, with a key or the token."""
        self._gate.owner(request)
        return await self._trap(request, self._gate.operator(), RemoveTools(name=_name(request)))

    async def _as_caller(self, request: Request, call: Call[object]) -> Response:
        known = self._gate.credentials(request)
        return await self._trap(request, self._gate.caller(request, known).pid, call)

    async def _trap(self, request: Request, pid: int, call: Call[object], status: int = 200) -> Response:
        async with sse.Attendance(request.receive):
            return body.reply(await self._kernel.trap(pid, call), status)
        return Response(status_code=499)


def _name(request: Request) -> str:
    return request.path_params["name"]
