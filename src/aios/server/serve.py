"""Listening: bind, run uvicorn, stop without losing a running call."""

from __future__ import annotations

import asyncio
import errno
import os
import secrets
import signal
import socket
from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import asynccontextmanager, contextmanager
from typing import TYPE_CHECKING

import uvicorn

from aios.access.keys import PREFIX
from aios.errors import ConfigError, PortTaken
from aios.server.app import create_app
from aios.server.daemon import Daemon, announced

if TYPE_CHECKING:
    from aios.kernel.kernel import Kernel

KEEP_ALIVE_S = 75
"""Longer than common clients keep an idle connection: the one that closes first must not be the server."""


class Listener(uvicorn.Server):
    """uvicorn without its own signal handlers. `url` is where it listens."""

    def __init__(self, config: uvicorn.Config, url: str) -> None:
        super().__init__(config)
        self.url = url

    @contextmanager
    def capture_signals(self) -> Generator[None]:
        yield


@asynccontextmanager
async def listening(
    kernel: Kernel, host: str | None = None, port: int | None = None, *, admin_token: str | None = None
) -> AsyncGenerator[Listener]:
    """Serve `kernel` inside the `async with`; on leaving drain it: no new calls, running ones go on for up to
    `drain_s`, then they are cancelled. `host` and `port` None are the settings'; port 0 picks a free one.

    Raises PortTaken, ConfigError (an address that can't be listened on)."""
    settings = kernel.settings.server
    host = settings.host if host is None else host
    bound = _bind(host, settings.port if port is None else port)
    config = uvicorn.Config(
        create_app(kernel, admin_token=admin_token, host=host),
        http="httptools",
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        proxy_headers=False,  # a header must not say where a request comes from
        server_header=False,
        timeout_keep_alive=KEEP_ALIVE_S,
        timeout_graceful_shutdown=max(1, round(settings.drain_s)),
    )
    name = f"[{host}]" if ":" in host else host
    listener = Listener(config, f"http://{name}:{bound.getsockname()[1]}")
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(listener.serve(sockets=[bound]))
        try:
            yield listener
        finally:
            kernel.drain()
            listener.should_exit = True
    await _cancel(listener.server_state.tasks)


async def serve(
    kernel: Kernel,
    host: str | None = None,
    port: int | None = None,
    *,
    on_ready: Callable[[Daemon], None] | None = None,
) -> int:
    """Serve `kernel` until SIGTERM or SIGINT (a second one stops without waiting); returns the port.

    Run it under `uvloop.run`. While it listens, `find_daemon` finds it. `on_ready` is called once it does.
    Raises what `listening` raises."""
    stop = asyncio.Event()
    listener: Listener | None = None

    def on_signal() -> None:
        if listener is not None and stop.is_set():
            listener.force_exit = True
        stop.set()

    token = f"{PREFIX}daemon-{secrets.token_urlsafe(24)}"
    with _signals(on_signal):
        async with listening(kernel, host, port, admin_token=token) as listener:
            daemon = Daemon(pid=os.getpid(), url=listener.url, token=token)
            with announced(kernel.settings.state_dir(), daemon):
                if on_ready is not None:
                    on_ready(daemon)
                await stop.wait()
        return int(listener.url.rpartition(":")[2])


@contextmanager
def _signals(on_signal: Callable[[], None]) -> Generator[None]:
    loop = asyncio.get_running_loop()
    caught = (signal.SIGTERM, signal.SIGINT)
    for number in caught:
        loop.add_signal_handler(number, on_signal)
    try:
        yield
    finally:
        for number in caught:
            loop.remove_signal_handler(number)


async def _cancel(requests: set[asyncio.Task[None]]) -> None:
    """End what outlasted the drain, and see it ended: uvicorn does not wait for it."""
    left = set(requests)
    for request in left:
        request.cancel()
    if left:
        await asyncio.wait(left)


def _bind(host: str, port: int) -> socket.socket:
    """A socket that already queues connections, so that nobody who knows the port is refused."""
    try:
        family, *_, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        bound = socket.create_server(address[:2], family=family, backlog=2048)
        # What is accepted inherits it. asyncio sets it only on sockets that it made itself, and without it
        # every second packet waits for a delayed acknowledgement: 40 ms a request.
        bound.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return bound
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            mend = "Stop what listens there, or choose another with --port (0 picks a free one)."
            raise PortTaken(f"Port {port} of {host} is taken.", mend) from error
        mend = "Correct host and port of [server]."
        raise ConfigError(f"Can't listen on {host}:{port}: {error}.", mend) from error
