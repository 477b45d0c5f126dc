"""One path of the API, as the router and the documentation both need it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route


class Endpoint(NamedTuple):
    """`handler`'s docstring is what the documentation says. `takes` and `gives` are the types of the JSON
    bodies, None where there is none. `query` names query parameters, each with what it does."""

    method: str
    path: str
    handler: Callable[[Request], Awaitable[Response]]
    takes: Any = None
    gives: Any = None
    query: dict[str, str] = {}  # noqa: RUF012 (never changed)
    status: int = 200

    def route(self) -> Route:
        return Route(self.path, self.handler, methods=[self.method])
