"""`/share/TOKEN`: files for people without a key. What a link opens is a download or a plain list of names.

Shared files are what agents wrote: none of it may run as a page of this server, so everything is a download
under a policy that allows nothing, and the lists have no scripts."""

from __future__ import annotations

import base64
import binascii
import html
import mimetypes
from typing import TYPE_CHECKING
from urllib.parse import quote

from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from aios.errors import Forbidden
from aios.server.calls import content_disposition, file_response
from aios.server.endpoint import Endpoint
from aios.storage.records import Shared
from aios.syscalls.storage_records import Content, Page

if TYPE_CHECKING:
    from aios.kernel.kernel import Kernel

_POLICY = {
    "content-security-policy": "default-src 'none'; style-src 'unsafe-inline'",
    "referrer-policy": "no-referrer",  # the address is the key
    "cache-control": "private, no-store",
}


class SharedFiles:
    """Handlers of share links."""

    def __init__(self, kernel: Kernel) -> None:
        self._kernel = kernel

    def endpoints(self) -> tuple[Endpoint, ...]:
        after = {"cursor": "Where the next page of a list begins."}
        return (
            Endpoint("GET", "/share/{token}", self.shared, None, bytes, after),
            Endpoint("GET", "/share/{token}/{inner:path}", self.shared_inner, None, bytes, after),
        )

    async def shared(self, request: Request) -> Response:
        """What a share link opens: a file, or a page with the names in a folder. Needs no key; a password goes
        as HTTP Basic authentication, with any user name."""
        return await self._open(request, "/")

    async def shared_inner(self, request: Request) -> Response:
        """Something inside a shared folder."""
        return await self._open(request, f"/{request.path_params['inner']}")

    async def _open(self, request: Request, inner: str) -> Response:
        storage, token = self._kernel.managers.storage, request.path_params["token"]
        password = _password(request)
        try:
            found = await storage.shares.resolve(token, password=password or "", inner=inner)
        except Forbidden:
            return Response(
                "This link has a password.", 401, {"www-authenticate": 'Basic realm="share", charset="UTF-8"'}
            )
        path = found.stat.path
        if found.stat.kind == "dir":
            cursor = request.query_params.get("cursor", "")
            page = await storage.files.list(found.owner, path, cursor=cursor)
            here = f"/share/{quote(token)}{quote(inner.rstrip('/'))}"
            return HTMLResponse(_list(found, page, here), headers=_POLICY)

        async def read(offset: int, length: int) -> Content:
            return await storage.files.read(found.owner, path, offset=offset, length=length)

        name = path.rpartition("/")[2]
        response = await file_response(read, 0, None, mimetypes.guess_type(name)[0] or "")
        response.headers.update({**_POLICY, "content-disposition": content_disposition(name)})
        return response


def _password(request: Request) -> str | None:
    scheme, _, given = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "basic":
        return None
    try:
        return base64.b64decode(given, validate=True).decode().partition(":")[2]
    except (binascii.Error, UnicodeDecodeError):
        return None


def _list(found: Shared, page: Page, here: str) -> str:
    title = html.escape(found.stat.path.rpartition("/")[2] or "Files")
    rows = [f"<!doctype html><meta charset=utf-8><title>{title}</title><h1>{title}</h1><ul>"]
    for entry in filter(found.opens, page.entries):
        name = entry.path.rpartition("/")[2]
        mark = "/" if entry.kind == "dir" else ""
        rows.append(f'<li><a href="{html.escape(here)}/{quote(name, safe="")}">{html.escape(name)}{mark}</a>')
    rows.append("</ul>")
    if page.cursor:
        rows.append(f'<a href="{html.escape(here)}?cursor={quote(page.cursor, safe="")}">more</a>')
    return "".join(rows)
