"""Who is calling, and whether a browser sent them.

A caller is told by its key. On loopback, where keys are not required, a caller without one becomes a process of
its own by what it sends; the order is that of `Gate.caller`.
"""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from aios.access.keys import ADMIN_GROUP, PREFIX, KeyRing
from aios.config import ServerSettings
from aios.errors import Forbidden, Unauthenticated
from aios.server.errors import respond

if TYPE_CHECKING:
    from aios.kernel.process import ProcessTable

OPERATOR = "operator"
"""Name of the process that acts for the owner of the machine."""

_MAX_NAME = 128


@dataclass(frozen=True, slots=True)
class Credentials:
    """What a request's key proves. `name` "" is: nothing, and that is enough here.

    `admin`: may see and signal every process, and manage keys. `open`: only because keys are not required."""

    name: str
    group: str
    admin: bool
    open: bool = False


@dataclass(frozen=True, slots=True)
class Caller:
    """A calling process."""

    pid: int
    name: str
    group: str
    admin: bool


class Gate:
    """Finds the process that calls. `admin_token` is the daemon's own; `host` is the address listened on."""

    def __init__(
        self,
        settings: ServerSettings,
        keys: KeyRing,
        processes: ProcessTable,
        admin_token: str | None = None,
        host: str | None = None,
    ) -> None:
        self._keys = keys
        self._processes = processes
        self._token = admin_token.encode() if admin_token else None
        self._open = not settings.keys_required and is_loopback(host or settings.host)

    def credentials(self, request: Request) -> Credentials:
        """Check the key. Raises Unauthenticated."""
        secret = _bearer(request)
        if self._token and hmac.compare_digest(secret.encode(), self._token):
            return Credentials("", "default", admin=True)
        if secret.startswith(PREFIX):
            agent = self._keys.identify(secret)
            if agent is None:
                mend = "It may have been revoked; make a new one with POST /aios/v1/keys."
                raise Unauthenticated("This key is not known.", mend)
            return Credentials(agent.name, agent.group, admin=agent.group == ADMIN_GROUP)
        if secret and len(self._keys):  # where nobody has a key, a client's made-up one tells it from others
            mend = "Send one of `aios keys`, or none where none is required."
            raise Unauthenticated("This key is not known.", mend)
        if not (self._open and _is_local(request)):
            mend = "Send `Authorization: Bearer <key>`; the operator makes keys with POST /aios/v1/keys."
            raise Unauthenticated("A known key is required here.", mend)
        return Credentials("", "default", admin=True, open=True)

    def shown(self, request: Request) -> Credentials:
        """Check the key, which must be shown even where none is required: what an agent waits for, and
        secrets, are not for whoever happens to be on this machine. Raises Unauthenticated."""
        known = self.credentials(request)
        if known.open:
            mend = "Use `aios approve` or `aios secrets`, or send the key of an admin."
            raise Unauthenticated("This takes a key, on this machine too.", mend)
        return known

    def caller(
        self, request: Request, known: Credentials, agent_id: str | None = None, user: str | None = None
    ) -> Caller:
        """The calling process: made if it is new.

        With a key: the key's agent; one that names itself too (`X-Agent-Id`, body `agent_id`) is that agent's
        sub-agent, as `below` says. Without: `X-Agent-Id`, body `agent_id`, body `user`, the bearer key it
        presents (each its own caller; where there is any key, only known ones are taken), the product of
        `User-Agent`. Raises Unauthenticated for a name that has a key which was not presented."""
        said = _tidy(request.headers.get("x-agent-id") or agent_id or "")
        if known.name:
            name = below(known, said) if said else known.name
        else:
            name = said or _tidy(user or "") or _key_name(_bearer(request)) or _product(request)
            if name.partition("/")[0] in self._keys:
                raise Unauthenticated(f"The agent {name!r} has a key.", "Present it, or use another name.")
        pid = self._processes.attach(name, group=known.group, own=bool(known.name))
        return Caller(pid, name, known.group, known.admin)

    def admin(self, request: Request) -> Credentials:
        """Check that the caller may manage the kernel. Raises Unauthenticated, Forbidden."""
        known = self.credentials(request)
        if not known.admin:
            raise Forbidden(f"{known.name!r} may not do this.", f"It takes a key of group {ADMIN_GROUP!r}.")
        return known

    def owner(self, request: Request) -> Credentials:
        """Check that the caller is an admin who proved it: keys, limits and tools, which run with the kernel's
        rights, are not for whoever can reach this machine's loopback, or an agent could let itself in. Raises
        Unauthenticated, Forbidden."""
        known = self.admin(request)
        if known.open:
            mend = f"Send the token in daemon.json of the state folder, or a key of group {ADMIN_GROUP!r}."
            raise Forbidden("This is for who shows a key, on this machine too.", mend)
        return known

    def person(self, known: Credentials) -> int:
        """The process in whose name the holder of these credentials manages the kernel."""
        if known.name:
            return self._processes.attach(known.name, group=known.group, own=True)
        return self.operator()

    def operator(self) -> int:
        """The process that acts for an admin."""
        return self._processes.attach(OPERATOR, group=ADMIN_GROUP, own=True)


class Guard:
    """Middleware: keeps web pages out. A page that a user has open can send requests to loopback; it can't
    choose the Host header (so a name rebound to 127.0.0.1 is told by it), nor leave out Origin."""

    def __init__(self, app: ASGIApp, settings: ServerSettings, host: str | None = None) -> None:
        host = host or settings.host
        self._app = app
        self._hosts = frozenset(name.lower() for name in ("localhost", host, *settings.allowed_hosts))
        self._origins = frozenset(settings.allowed_origins)
        self._loopback = is_loopback(host)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            refusal = self._refusal(Headers(scope=scope))
            if refusal is not None:
                await respond(refusal)(scope, receive, send)
                return
        await self._app(scope, receive, send)

    def _refusal(self, headers: Headers) -> Forbidden | None:
        host = _without_port(headers.get("host", "")).lower()
        if not (host in self._hosts or is_loopback(host) or self._is_fit_address(host)):
            mend = "Add it to allowed_hosts of [server]."
            return Forbidden(f"Host {host!r} is not a name of this server.", mend)
        origin = headers.get("origin")
        if origin is not None and origin not in self._origins:
            mend = "Add it to allowed_origins of [server] if its pages may use the kernel."
            return Forbidden(f"Web pages of origin {origin!r} may not call.", mend)
        return None

    def _is_fit_address(self, host: str) -> bool:
        """Any address when listening off loopback, for only names can be rebound."""
        try:
            return bool(ipaddress.ip_address(host)) and not self._loopback
        except ValueError:
            return False


def below(known: Credentials, name: str) -> str:
    """What the holder of a key means by `name`: the key's agent itself or one below it, `agent/sub`, whether it
    says the agent's name too or not. Who showed no key, or the daemon's own, means what it says."""
    own = known.name
    return name if not own or name == own or name.startswith(f"{own}/") else f"{own}/{name}"


@lru_cache(maxsize=1024)
def is_loopback(host: str) -> bool:
    """Whether only this machine can reach `host`."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _is_local(request: Request) -> bool:
    """Whether the request comes from this machine, and not through a proxy on it."""
    forwarded = "forwarded" in request.headers or "x-forwarded-for" in request.headers
    return not forwarded and (request.client is None or is_loopback(request.client.host))


def _bearer(request: Request) -> str:
    scheme, _, secret = request.headers.get("authorization", "").partition(" ")
    return secret.strip() if scheme.lower() == "bearer" else ""


def _tidy(name: str) -> str:
    """A name fit to be shown in a terminal: anything else is told apart by its digest."""
    name = name.strip()
    fit = len(name) <= _MAX_NAME and name.isprintable()
    return name if fit else f"id-{_short_digest(name)}"


def _key_name(secret: str) -> str:
    return f"key-{_short_digest(secret)}" if secret else ""


def _product(request: Request) -> str:
    return _tidy(request.headers.get("user-agent", "").partition("/")[0]) or "anonymous"


def _short_digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def _without_port(host: str) -> str:
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.partition(":")[0]
