"""The ASGI application: routes, guard, errors. Composition only."""

from __future__ import annotations

from typing import TYPE_CHECKING

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware

from aios.errors import AiosError
from aios.server import errors
from aios.server.access import Access
from aios.server.auth import Gate, Guard
from aios.server.calls import Calls
from aios.server.docs import Docs
from aios.server.mcp import Mcp
from aios.server.native import Native
from aios.server.openai import OpenAI
from aios.server.shares import SharedFiles
from aios.server.tools import Tools

if TYPE_CHECKING:
    from aios.kernel.kernel import Kernel


def create_app(kernel: Kernel, *, admin_token: str | None = None, host: str | None = None) -> Starlette:
    """The HTTP face of `kernel`.

    `admin_token` is accepted as a key that may do everything. `host` is the address that is listened on
    (default: the settings'); it decides whether keys are required."""
    settings = kernel.settings.server
    gate = Gate(settings, kernel.keys, kernel.processes, admin_token, host)
    of_agents = (OpenAI(kernel, gate), Native(kernel, gate), Access(kernel, gate), Calls(kernel, gate))
    parts = (*of_agents, Tools(kernel, gate), Mcp(kernel, gate), SharedFiles(kernel))
    endpoints = [endpoint for part in parts for endpoint in part.endpoints()]
    endpoints += Docs(endpoints, kernel.status().version).endpoints()
    middleware = [Middleware(errors.LastWord), Middleware(Guard, settings=settings, host=host)]
    if settings.allowed_origins:
        origins = settings.allowed_origins
        middleware.append(Middleware(CORSMiddleware, origins, allow_methods=["*"], allow_headers=["*"]))
    return Starlette(
        routes=[endpoint.route() for endpoint in endpoints],
        middleware=middleware,
        exception_handlers={
            AiosError: errors.on_aios_error,
            HTTPException: errors.on_http_error,
            Exception: errors.on_defect,
        },
    )
