"""`/aios/v1/memory/...` and `/aios/v1/storage/...`: each call of the managers has a path of its own, made from
the ABI, and files have one where their bytes are read and written as they are."""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator
from typing import TYPE_CHECKING, Any, get_args
from urllib.parse import quote

import msgspec
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from aios.config import SharedRoot
from aios.errors import BadRequest
from aios.server import body, sse
from aios.server.auth import Credentials, Gate
from aios.server.endpoint import Endpoint
from aios.syscalls import Call, MemoryCall, StorageCall, answer_of, storage
from aios.syscalls.storage_records import Content, Stat, Usage

if TYPE_CHECKING:
    from aios.kernel.kernel import Kernel

PIECE = 1 << 20
"""Bytes of a file that are read at once."""
_RANGE = re.compile(r"bytes=(\d{1,18})-(\d{0,18})", re.ASCII)


class RootList(msgspec.Struct, frozen=True):
    roots: tuple[SharedRoot, ...]
    trouble: dict[str, str] = {}
    """Why a root is not like the folder it follows, by name."""


class Quota(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    agent: str
    """`group:name`, or a name of the group `default`."""
    quota: int | None = None
    """Bytes; null: as the configuration says."""


class Calls:
    """Handlers of the managers' calls."""

    def __init__(self, kernel: Kernel, gate: Gate) -> None:
        self._kernel, self._gate = kernel, gate
        self._limit = int(kernel.settings.server.max_body_mb * 1e6)
        self._file_limit = int(kernel.settings.storage.file_mb * 1e6)

    def endpoints(self) -> tuple[Endpoint, ...]:
        one = "/aios/v1/storage/files/{path:path}"
        which = {"version": "an older version", "snapshot": "as it was in this snapshot"}
        how = {"expect": "the version that is there (0: nothing)", "idempotency_key": "write it once"}
        return (
            *[self._endpoint(call) for call in (*get_args(MemoryCall), *get_args(StorageCall))],
            Endpoint("GET", one, self.read_file, None, bytes, which),
            Endpoint("PUT", one, self.write_file, bytes, Stat, how),
            Endpoint("GET", "/aios/v1/roots", self.roots, None, RootList),
            Endpoint("POST", "/aios/v1/roots", self.add_root, SharedRoot, SharedRoot, status=201),
            Endpoint("DELETE", "/aios/v1/roots/{name:path}", self.remove_root, None, SharedRoot),
            Endpoint("PUT", "/aios/v1/quota", self.set_quota, Quota, Usage),
        )

    def _endpoint(self, call: type[Call[Any]]) -> Endpoint:
        tag = str(call.__struct_config__.tag)

        async def handler(request: Request) -> Response:
            known = self._gate.credentials(request)
            asked = body.decode(await body.read(request, self._limit) or b"{}", call)
            return await self._trap(request, self._gate.caller(request, known).pid, asked)

        handler.__doc__, handler.__name__ = call.__doc__, tag.replace(".", "_")
        return Endpoint("POST", f"/aios/v1/{tag.replace('.', '/')}", handler, call, answer_of(call))

    async def read_file(self, request: Request) -> Response:
        """The bytes of a file; with `Range: bytes=a-b` some of them. `ETag` is its digest."""
        pid = self._gate.caller(request, self._gate.credentials(request)).pid
        version = request.query_params.get("version")
        wanted = storage.ReadFile(
            path=f"/{request.path_params['path']}",
            version=None if version is None else body.integer(version, "version"),
            snapshot=request.query_params.get("snapshot", ""),
        )
        start, stop = _range(request)

        async def read(offset: int, length: int) -> Content:
            call = msgspec.structs.replace(wanted, offset=offset, length=length)
            return await self._kernel.trap(pid, call)

        return await file_response(read, start, stop)

    async def write_file(self, request: Request) -> Response:
        """Make the body the whole content of a file."""
        pid = self._gate.caller(request, self._gate.credentials(request)).pid
        data = await body.read(request, self._file_limit)
        expect = request.query_params.get("expect")
        call = storage.WriteFile(
            path=f"/{request.path_params['path']}",
            data=data,
            expect=None if expect is None else body.integer(expect, "expect"),
            idempotency_key=request.query_params.get("idempotency_key"),
        )
        return await self._trap(request, pid, call)

    async def roots(self, request: Request) -> Response:
        """Roots that agents may mount. Admin."""
        self._gate.admin(request)
        roots = self._kernel.managers.roots
        return body.reply(RootList(tuple(roots.values()), dict(roots.trouble)))

    async def add_root(self, request: Request) -> Response:
        """Let agents mount a root, which may follow a folder of the kernel's machine. Admin."""
        known = self._gate.admin(request)
        root = body.decode(await body.read(request, self._limit), SharedRoot)
        added = await self._kernel.managers.roots.add(root)
        self._note(known, "root.add", f"root:{root.name}", root.folder)
        return body.reply(added, 201)

    async def remove_root(self, request: Request) -> Response:
        """Offer a root no more, and follow its folder no more. Admin."""
        known = self._gate.admin(request)
        name: str = request.path_params["name"]
        removed = await self._kernel.managers.roots.remove(name)
        self._note(known, "root.remove", f"root:{name}")
        return body.reply(removed)

    async def set_quota(self, request: Request) -> Response:
        """Let an agent's root hold so many bytes. Admin."""
        known = self._gate.admin(request)
        asked = body.decode(await body.read(request, self._limit), Quota)
        agent = asked.agent if ":" in asked.agent else f"default:{asked.agent}"
        usage = await self._kernel.managers.storage.set_quota(agent, asked.quota)
        self._note(known, "quota.set", f"agent:{agent}", str(asked.quota))
        return body.reply(usage)

    def _note(self, known: Credentials, action: str, resource: str, why: str = "") -> None:
        """Put what an admin did into the audit log."""
        person = self._kernel.processes.get(self._gate.person(known))
        self._kernel.guard.note(person, action, resource, why=why)

    async def _trap(self, request: Request, pid: int, call: Call[object]) -> Response:
        async with sse.Attendance(request.receive):
            return body.reply(await self._kernel.trap(pid, call))
        return Response(status_code=499)


async def file_response(read: Any, start: int, stop: int | None, media: str = "") -> Response:
    """The bytes `start` to `stop` (None: the end) of a file as an answer, read piece by piece.

    `read(offset, length)` gives a Content. Raises what it raises, before anything is sent."""
    first: Content = await read(start, PIECE if stop is None else min(PIECE, stop - start))
    size = first.stat.size
    end = size if stop is None else min(stop, size)
    if start > size:
        raise BadRequest(f"The file has only {size} bytes.", "Ask for less.", param="Range")
    headers = {
        "accept-ranges": "bytes",
        "etag": f'"{first.stat.digest}"',
        "x-aios-version": str(first.stat.version),
        "content-length": str(max(0, end - start)),
        "x-content-type-options": "nosniff",
        "content-security-policy": "sandbox; default-src 'none'",
    }
    status = 200
    if start or end < size:
        status, headers["content-range"] = 206, f"bytes {start}-{end - 1}/{size}"

    async def pieces() -> AsyncGenerator[bytes, None]:
        piece, at = first, start
        while piece.data:
            yield piece.data
            at += len(piece.data)
            if at >= end:
                return
            piece = await read(at, min(PIECE, end - at))

    return StreamingResponse(pieces(), status, headers, media or "application/octet-stream")


def _range(request: Request) -> tuple[int, int | None]:
    """First byte and the one behind the last, from the Range header. Several ranges are answered by all."""
    found = _RANGE.fullmatch(request.headers.get("range", ""))
    if found is None:
        return 0, None
    start, last = int(found[1]), found[2]
    if last and int(last) < start:
        return 0, None
    return start, int(last) + 1 if last else None


def content_disposition(name: str) -> str:
    """As a download of that name (RFC 6266)."""
    return f"attachment; filename*=UTF-8''{quote(name, safe='')}"
