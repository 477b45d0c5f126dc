"""Which hosts may be reached, and at which address: only those on a list, and never this machine's own network.

A name that is allowed may resolve to an address that is not: so what connects must use the address that was
looked up and checked here.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from collections.abc import Awaitable, Callable, Iterable
from fnmatch import fnmatch

from aios.errors import ToolError, ToolUnavailable

PORTS = (80, 443)
Resolve = Callable[[str, int], Awaitable[list[str]]]


def is_allowed(host: str, port: int, allowed: Iterable[str]) -> bool:
    """`allowed`: host names with `*` for any part, which allow ports 80 and 443, or `host:port`."""
    name, known = host.lower(), [pattern.lower() for pattern in allowed]
    return any(fnmatch(f"{name}:{port}", p) if ":" in p else port in PORTS and fnmatch(name, p) for p in known)


def check_allowed(host: str, port: int, allowed: Iterable[str]) -> None:
    """`allowed` as of `is_allowed`. Raises ToolError."""
    known = tuple(allowed)
    if not is_allowed(host, port, known):
        ports = "" if port in PORTS else f" A name alone is for ports {PORTS[0]} and {PORTS[1]}."
        mend = f"Allowed: {', '.join(known) or 'none'}.{ports} The owner of this machine can add hosts."
        raise ToolError(f"{host}:{port} may not be reached.", mend)


async def public_address(host: str, port: int, resolve: Resolve | None = None) -> str:
    """An address of `host`. Raises ToolUnavailable (it has none), ToolError (one of them is not on the
    internet)."""
    addresses = await (resolve or resolved)(host, port)
    if bad := [address for address in addresses if not ipaddress.ip_address(address).is_global]:
        raise ToolError(f"{host} is at {bad[0]}, which is not on the internet.", "Use a public host.")
    return addresses[0]


async def resolved(host: str, port: int) -> list[str]:
    """All addresses of `host`, at least one. Raises ToolUnavailable."""
    try:
        found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise ToolUnavailable(f"{host} can't be found: {error}.", "Check the name.") from error
    return [str(entry[4][0]) for entry in found]
