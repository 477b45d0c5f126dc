"""What packages for services on the web have in common: a request, its errors, its key."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any

import httpx

from aios.errors import ToolError, ToolUnavailable
from aios.syscalls.tools import Flags
from aios.tools.tool import Bound

MOST_BYTES = 4 << 20
AGENT = "aios-tools/1 (an operating system for LLM agents)"
FACTS: Mapping[str, Any] = {
    "effect": "idempotent", "flags": Flags(returns_untrusted=True, sends_out=True), "concurrency": 4,
    "timeout_s": 60.0,
}  # fmt: skip
"""Of tools that look something up."""


class Service(ABC):
    """Base of a package: `tools` says which it has. `client` makes the requests; None: one for each call."""

    name = ""

    def __init__(self, client: httpx.AsyncClient | None = None) -> None:
        self._client = client

    @abstractmethod
    def tools(self) -> list[Bound]: ...

    async def get(
        self, url: str, params: Mapping[str, str | int], headers: Mapping[str, str] | None = None
    ) -> httpx.Response:
        """The answer, whatever its status below 500 but 429. Raises ToolUnavailable, ToolError (too large)."""
        given = {"User-Agent": AGENT, **(headers or {})}
        try:
            if self._client is not None:
                response = await self._client.get(url, params=dict(params), headers=given)
            else:
                async with httpx.AsyncClient(trust_env=False, timeout=30.0) as client:
                    response = await client.get(url, params=dict(params), headers=given)
        except httpx.HTTPError as error:
            raise ToolUnavailable(f"{self.name} can't be reached: {error!r}.", "Try again later.") from error
        if response.status_code == 429 or response.status_code >= 502:
            what = f"{self.name} answered {response.status_code}."
            raise ToolUnavailable(what, "Try again later.", retry_after=30.0)
        if len(response.content) > MOST_BYTES:
            raise ToolError(f"The answer of {self.name} is too large.", "Ask for less.")
        return response

    def parsed(self, response: httpx.Response) -> Any:
        """The JSON of a success. Raises ToolError, ToolUnavailable."""
        if response.is_error:
            raise ToolError(
                f"{self.name} answered {response.status_code}: {response.text[:300]}", "Ask otherwise."
            )
        try:
            return response.json()
        except ValueError as error:
            raise ToolUnavailable(f"{self.name} sent what is no JSON.", "Try again later.") from error

    def key(self, variable: str, where: str) -> str:
        """The key in the kernel's environment. Raises ToolUnavailable, which says what is needed."""
        if found := os.environ.get(variable):
            return found
        what = f"{self.name} needs a key, in the variable {variable} of the kernel's environment."
        raise ToolUnavailable(what, f"Get one at {where}, set it and restart the kernel.")

    def refused(self, response: httpx.Response, variable: str) -> None:
        """Raises ToolUnavailable where the key is not accepted."""
        if response.status_code in (401, 402, 403):
            what = f"{self.name} does not accept the key in {variable} ({response.status_code})."
            raise ToolUnavailable(what, "Set a valid one and restart the kernel.")
