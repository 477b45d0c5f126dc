"""The browser as tools: one Chromium for all agents, for each agent pages and cookies of its own."""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from collections import OrderedDict
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, TypeVar

from aios.config import BrowserSettings
from aios.errors import ToolUnavailable
from aios.syscalls import Record
from aios.syscalls.tools import Flags
from aios.tools.browser.chromium import locate
from aios.tools.folder import put_result
from aios.tools.registry import SEPARATOR
from aios.tools.sandbox.proxy import Dial
from aios.tools.tool import Bound, Caller, Context, bind

if TYPE_CHECKING:
    from aios.tools.browser.process import Process
    from aios.tools.browser.session import Session

log = logging.getLogger(__name__)
R = TypeVar("R")
TICK_S = 1.0
"""How often the browser's memory and idle pages are looked at."""


class Picture(Record, frozen=True):
    """A PNG in the agent's folder."""

    file: str
    url: str


class _Seat:
    """What one agent has of the browser."""

    def __init__(self, session: Session) -> None:
        self.session, self.users, self.used = session, 0, time.monotonic()


def own_pages(caller: Caller, arguments: Mapping[str, Any]) -> frozenset[str]:
    """One step at a time in the pages of one agent."""
    return frozenset({f"browser:{caller.agent}"})


class Browser:
    """A provider of tools. Chromium is started by the first call, and ended when no agent has pages, when it is
    over its memory, and at the end. `connect`: how what is allowed is reached; None: as `settings` say."""

    name = "browser"

    def __init__(
        self, settings: BrowserSettings, hosts: tuple[str, ...], connect: Dial | None = None
    ) -> None:  # fmt: skip
        self._settings, self._connect = settings, connect
        self._hosts = (*hosts, *settings.local_hosts)
        self._process: Process | None = None
        self._seats: OrderedDict[str, _Seat] = OrderedDict()
        self._changing = asyncio.Lock()
        self._room = asyncio.Semaphore(settings.agents)
        self._sweeper: asyncio.Task[None] | None = None
        self._used = 0.0
        self._bound: dict[str, Bound] = {}

    def start(self, tasks: asyncio.TaskGroup) -> None:
        self._tasks = tasks

    async def tools(self) -> Mapping[str, Bound]:
        """Raises ToolUnavailable without Playwright or Chromium."""
        await asyncio.to_thread(locate, self._settings.path)
        if not self._bound:
            made = self._made()
            self._bound = {bound.tool.name: bound for bound in made}
        return self._bound

    async def close(self) -> None:
        async with self._changing:  # or the sweeper would be stopped while it ends something
            if self._sweeper is not None:
                self._sweeper.cancel()
            await self._end()

    def holds(self, agent: str) -> bool:
        return agent in self._seats

    async def release(self, agent: str) -> None:
        async with self._changing:
            await self._leave(agent)

    # -- the tools ---------------------------------------------------------------------------------

    async def open(self, url: str, context: Context) -> str:
        """Open a web page in your browser: its text, with a number before each thing that can be clicked or
        written into. Only hosts that the owner of this machine allowed.

        url: the address
        """
        return await self._step(context, lambda session: session.open(url))

    async def read(self, context: Context, start: int = 1) -> str:
        """Read the page that is open in your browser, as it is now.

        start: line to begin at; from 1 on, the numbers of elements are made anew
        """
        return await self._step(context, lambda session: session.read(start))

    async def click(self, element: int, context: Context) -> str:
        """Click something on the page that is open in your browser, such as a link.

        element: its number, as the page was last shown
        """
        return await self._step(context, lambda session: session.click(element))

    async def type(self, element: int, text: str, context: Context, submit: bool = False) -> str:
        """Write into a field of the page that is open in your browser, in place of what is there; or choose
        from a list.

        element: its number, as the page was last shown
        text: what to write, or the name of the choice
        submit: press Enter after it
        """
        return await self._step(context, lambda session: session.type(element, text, submit))

    async def submit(self, element: int, context: Context) -> str:
        """Send a form of the page that is open in your browser, such as an order or a message.

        element: number of its button or of a field in it, as the page was last shown
        """
        return await self._step(context, lambda session: session.submit(element))

    async def screenshot(self, context: Context) -> Picture:
        """Take a picture of the page that is open in your browser. It becomes a PNG file in your folder."""
        data, url = await self._step(context, lambda session: session.picture())
        name, work = f"{time.strftime('%Y%m%d-%H%M%S')}-{secrets.token_hex(4)}.png", context.caller.work
        await asyncio.to_thread(work.mkdir, 0o700, True, True)
        return Picture(file=await asyncio.to_thread(put_result, work, name, data), url=url)

    def _made(self) -> list[Bound]:
        seen = {"effect": "idempotent", "flags": Flags(returns_untrusted=True)}
        asks = {"effect": "idempotent", "flags": Flags(returns_untrusted=True, sends_out=True)}
        acts = {"effect": "opaque", "flags": Flags(returns_untrusted=True, sends_out=True)}
        sends = {**acts, "flags": Flags(returns_untrusted=True, sends_out=True, irreversible=True)}
        facts: list[tuple[Callable[..., Any], dict[str, Any]]] = [
            (self.open, asks), (self.read, seen), (self.click, acts), (self.type, acts),
            (self.submit, sends), (self.screenshot, seen),
        ]  # fmt: skip
        common: dict[str, Any] = {
            "keys": own_pages,
            "provider": self.name,
            "timeout_s": 3 * self._settings.timeout_s + 60,
        }
        return [
            bind(function, name=f"{self.name}{SEPARATOR}{function.__name__}", **own, **common)
            for function, own in facts
        ]

    # -- inside ------------------------------------------------------------------------------------

    async def _step(self, context: Context, step: Callable[[Session], Awaitable[R]]) -> R:
        async with self._seated(context.caller.agent) as seat:
            try:
                return await step(seat.session)
            except ToolUnavailable:
                assert self._process is not None
                self._process.kill()
                raise

    @asynccontextmanager
    async def _seated(self, agent: str) -> AsyncGenerator[_Seat]:
        async with self._room:
            async with self._changing:
                if self._process is not None and not self._process.alive:
                    await self._end()
                seat = self._seats.get(agent) or await self._seat(agent)
                self._seats.move_to_end(agent)
                seat.users += 1
            try:
                yield seat
            finally:
                seat.users -= 1
                seat.used = time.monotonic()

    async def _seat(self, agent: str) -> _Seat:
        from aios.tools.browser.session import Session

        process = self._process or await self._begin()
        if len(self._seats) >= self._settings.agents:
            # No more than these take a step at once, so one of them is idle: the one that is so for longest.
            await self._leave(next(name for name, seat in self._seats.items() if not seat.users))
        context = await process.context()
        seat = self._seats[agent] = _Seat(Session(context, self._settings, self._hosts, self._tasks))
        return seat

    async def _begin(self) -> Process:
        from aios.tools.browser.process import Process, dialer

        connect = self._connect or dialer(self._settings.local_hosts)
        self._process = await Process(self._settings, self._hosts, connect).start()
        if self._sweeper is None or self._sweeper.done():
            self._sweeper = self._tasks.create_task(self._sweep(), name="browser")
        self._used = time.monotonic()
        return self._process

    async def _leave(self, agent: str) -> None:
        seat = self._seats.pop(agent, None)
        if seat is not None and not await seat.session.close() and self._process is not None:
            self._process.kill()

    async def _end(self) -> None:
        process, self._process = self._process, None
        self._seats.clear()
        if process is not None:
            await process.close()

    async def _sweep(self) -> None:
        while self._process is not None:
            await asyncio.sleep(TICK_S)
            async with self._changing:
                await self._look(self._process, time.monotonic() - self._settings.idle_s)

    async def _look(self, process: Process | None, before: float) -> None:
        """End what is over a limit, or was last used before a moment."""
        if process is None:
            return
        if reason := await process.excess() if process.alive else "it crashed":
            log.warning("the browser is ended: %s", reason)
            process.kill()
            await self._end()
            return
        for agent, seat in list(self._seats.items()):
            if not seat.users and seat.used < before:
                await self._leave(agent)
        if self._seats:
            self._used = time.monotonic()
        elif self._used < before:
            await self._end()
