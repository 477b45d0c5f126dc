"""The one Chromium of a kernel, from its start to its end."""

from __future__ import annotations

import asyncio
import logging
import math
import os
import signal
import tempfile
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Self

from aios.config import BrowserSettings
from aios.errors import ToolUnavailable
from aios.syscalls.tools import Profile
from aios.tools.browser import chromium
from aios.tools.hosts import is_allowed
from aios.tools.sandbox.forward import PORT
from aios.tools.sandbox.proxy import Dial, Proxy, dial
from aios.tools.sandbox.watch import Watch, below

if TYPE_CHECKING:
    from playwright.async_api import Browser, BrowserContext

log = logging.getLogger(__name__)
START_S, CLOSE_S = 30.0, 5.0
CONNECTIONS = 256
"""At once, of all pages."""
PROCESSES = 400
SIZE = 1280, 800
"""Of a page, pixels."""


def dialer(local: tuple[str, ...]) -> Dial:
    """Connects to hosts on the internet, and to those of `local` wherever they are."""

    async def connect(host: str, port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if is_allowed(host, port, local):
            return await asyncio.open_connection(host, port)
        return await dial(host, port)

    return connect


class Process:
    """A Chromium in its box. `start` it once, `close` it once."""

    def __init__(self, settings: BrowserSettings, hosts: tuple[str, ...], connect: Dial) -> None:
        self._settings, self._hosts, self._connect = settings, hosts, connect
        self._stack = AsyncExitStack()
        self._browser: Browser | None = None
        self.nested = False
        """Whether Chromium made its own sandbox inside the box."""
        self.uid = 0
        """As whom it runs; 0: as this process."""
        self.pid = 0
        """The process that ends with all others in the box."""

    async def start(self) -> Self:
        """Raises ToolUnavailable: something is missing or it does not start."""
        try:
            await self._start(await asyncio.to_thread(chromium.locate, self._settings.path))
        except BaseException:
            await asyncio.shield(self.close())
            raise
        return self

    @property
    def alive(self) -> bool:
        return self._browser is not None and self._browser.is_connected()

    async def context(self) -> BrowserContext:
        """Pages with cookies and a cache of their own, that can't store or ask for anything of this machine's.
        Raises what Playwright raises."""
        assert self._browser is not None
        context = await self._browser.new_context(
            accept_downloads=False, service_workers="block", viewport={"width": SIZE[0], "height": SIZE[1]}
        )
        context.set_default_timeout(self._settings.timeout_s * 1000)
        return context

    async def excess(self) -> str:
        """Which limit its processes are over, if any. Over their memory, the largest page is ended first, for
        the others to go on."""
        return await asyncio.to_thread(self._excess)

    def _excess(self) -> str:
        reason = self._watch.processes()
        return "" if reason == "memory" and _end_largest_page(self.pid) else reason

    async def close(self) -> None:
        """End it; if it does not end by itself, by force."""
        if self._browser is not None:
            await _within(CLOSE_S, self._browser.close)
        await self._stack.aclose()

    def kill(self) -> None:
        """End it now."""
        with suppress(ProcessLookupError):
            signal.pidfd_send_signal(self._pidfd, signal.SIGKILL)

    async def _start(self, program: Path) -> None:
        from playwright.async_api import Error, async_playwright

        stack, binary = self._stack, await chromium.bubblewrap()
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="aios-browser-")))
        uid = self.uid = chromium.own_uid(folder)
        proxy = await Proxy(self._hosts, self._connect, most=CONNECTIONS).open(uid)
        stack.push_async_callback(proxy.close)
        driver = await async_playwright().start()
        stack.push_async_callback(_within, CLOSE_S, driver.stop)
        for nested in (True, False):
            launcher = await asyncio.to_thread(
                chromium.write_launcher,
                folder,
                program,
                binary,
                proxy.path,
                uid,
                self._settings.memory_mb,
                nested=nested,
            )
            try:
                self._browser = await driver.chromium.launch(
                    executable_path=launcher, chromium_sandbox=nested, timeout=START_S * 1000,
                    proxy={"server": f"http://127.0.0.1:{PORT}", "bypass": "<-loopback>"},
                    handle_sigint=False, handle_sigterm=False, handle_sighup=False,
                )  # fmt: skip
                break
            except Error as error:
                if not nested:
                    what = f"{program} does not start in its box: {error.message.strip()[-500:]}"
                    raise ToolUnavailable(what, "See what `aios doctor` says.") from error
                log.info("Chromium can't make its own sandbox here; the box alone holds it: %s", error.message)
        self.nested = nested
        self.pid = chromium.pid_of(folder)
        self._pidfd = os.pidfd_open(self.pid)
        stack.callback(os.close, self._pidfd)
        stack.callback(self.kill)
        most = Profile(cpu_s=math.inf, memory_mb=self._settings.memory_mb, processes=PROCESSES)
        self._watch = Watch(self.pid, folder, most)


def _end_largest_page(pid: int) -> bool:
    """False: below `pid` there is none."""
    pages = [used for used in below(pid) if _is_page(used.pid)]
    if not pages:
        return False
    largest = max(pages, key=lambda used: used.memory)
    log.warning("a page is ended: the browser is over its memory, and it has %d MiB", largest.memory >> 20)
    with suppress(ProcessLookupError):
        os.kill(largest.pid, signal.SIGKILL)
    return True


def _is_page(pid: int) -> bool:
    try:
        return b"--type=renderer" in Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False


async def _within(seconds: float, close: Callable[[], Awaitable[None]]) -> None:
    """What does not close in time, or is closed already, is left to what follows."""
    from playwright.async_api import Error

    with suppress(Error, TimeoutError):
        async with asyncio.timeout(seconds):
            await close()
