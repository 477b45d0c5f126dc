"""Fetching from the web: only from hosts that are on a list, and never from this machine's own network.

Every redirect is checked like the first request.
"""

from __future__ import annotations

import asyncio
from typing import Any
from urllib.parse import urljoin

import httpx
import msgspec

from aios.errors import ToolError, ToolTimeout, ToolUnavailable
from aios.syscalls import Record
from aios.syscalls.tools import Flags
from aios.tools.builtin.html import Reader
from aios.tools.hosts import Resolve, check_allowed, public_address
from aios.tools.tool import Bound, bind

MOST_BYTES = 4 << 20
REDIRECTS = 5


class Page(Record, frozen=True):
    url: str
    status: int
    kind: str
    """Its content type."""
    text: str
    title: str = ""
    cut: bool = False
    """It was longer than what is read."""


class Web:
    """`allowed`: host names, with `*` for any part (`*.example.org`); none: nothing can be fetched. `resolve`:
    addresses of a host and port."""

    def __init__(
        self,
        allowed: tuple[str, ...],
        *,
        client: httpx.AsyncClient | None = None,
        resolve: Resolve | None = None,
        timeout_s: float = 30.0,
    ) -> None:
        self._allowed, self._timeout_s = allowed, timeout_s
        self._client = client
        self._resolve = resolve

    def tools(self) -> list[Bound]:
        flags = Flags(returns_untrusted=True, sends_out=True)
        facts: dict[str, Any] = {"effect": "idempotent", "flags": flags, "concurrency": 8, "timeout_s": 120.0}
        return [bind(self.http_fetch, **facts), bind(self.web_page, **facts)]

    async def http_fetch(self, url: str) -> Page:
        """Fetch an http or https address as text. Only hosts that the owner of this machine allowed.

        url: the address
        """
        return await self._get(url)

    async def web_page(self, url: str) -> Page:
        """Read a web page: its title and its text, without markup, menus' scripts and styles.

        url: the address
        """
        page = await self._get(url)
        if "html" not in page.kind:
            return page
        reader = Reader()
        reader.feed(page.text)
        reader.close()
        return msgspec.structs.replace(page, text=reader.text(), title=reader.title.strip())

    async def _get(self, url: str) -> Page:
        try:
            async with asyncio.timeout(self._timeout_s):
                if self._client is not None:
                    return await self._follow(self._client, url)
                async with httpx.AsyncClient(trust_env=False) as client:
                    return await self._follow(client, url)
        except TimeoutError as error:
            raise ToolTimeout(f"{url} did not answer in {self._timeout_s:g} s.", "Try again later.") from error
        except httpx.InvalidURL as error:
            raise ToolError(f"{url!r} is no address: {error}.", "Write https://host/path.") from error
        except httpx.HTTPError as error:
            raise ToolUnavailable(f"{url}: {error!r}.", "Try again later.", retry_after=5.0) from error

    async def _follow(self, client: httpx.AsyncClient, url: str) -> Page:
        for _ in range(REDIRECTS + 1):
            response = await self._send(client, httpx.URL(url))
            try:
                if not response.is_redirect:
                    return await _page(url, response)
                url = urljoin(url, response.headers["location"])
            finally:
                await response.aclose()
        raise ToolError(f"{url} redirects more than {REDIRECTS} times.", "Use the final address.")

    async def _send(self, client: httpx.AsyncClient, url: httpx.URL) -> httpx.Response:
        if url.scheme not in ("http", "https") or not url.host or (url.port or 1) > 65535:
            raise ToolError(f"{str(url)!r} is no web address.", "Write https://host/path.")
        port = url.port or (443 if url.scheme == "https" else 80)
        check_allowed(url.host, port, self._allowed)
        address = await public_address(url.host, port, self._resolve)
        host = url.host if url.port is None else f"{url.host}:{url.port}"
        request = client.build_request(
            "GET", url.copy_with(host=address), headers={"Host": host, "User-Agent": "aios"},
            extensions={"sni_hostname": url.host}, timeout=self._timeout_s,
        )  # fmt: skip
        return await client.send(request, stream=True, follow_redirects=False)


async def _page(url: str, response: httpx.Response) -> Page:
    content = bytearray()
    async for piece in response.aiter_bytes():
        content += piece
        if len(content) > MOST_BYTES:
            break
    text = bytes(content[:MOST_BYTES]).decode(response.charset_encoding or "utf-8", "replace")
    kind = response.headers.get("content-type", "").partition(";")[0]
    return Page(url=url, status=response.status_code, kind=kind, text=text, cut=len(content) > MOST_BYTES)
