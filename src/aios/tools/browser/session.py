"""The pages of one agent."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from aios.config import BrowserSettings
from aios.errors import ToolError, ToolTimeout, ToolUnavailable
from aios.tools.browser.listing import Listing
from aios.tools.hosts import check_allowed

if TYPE_CHECKING:
    from playwright.async_api import BrowserContext, Locator, Page

SHOWN = ("http", "https", "about", "blob", "data", "chrome-error")
"""Schemes of pages that a model is shown: none that is of this machine."""
PORT_OF = {"http": 80, "https": 443}
ELEMENT_S = 5.0
"""How long an element may be out of reach, at most."""
TRIES = (0.15, 0.35)
"""Parts of a page's time that go into snapshots of it."""
SETTLE_S = 3.0
"""How long after a step a page may go on loading before it is read."""
CLOSE_S = 5.0
NO_ELEMENTS = "(Of this page only the text can be shown; nothing on it can be clicked.)"
POSTS = """(element, enter) => {
  const sends = e => ['submit', 'image'].includes(e.type)
  const field = element.closest('button, input, select, textarea')
  if (!field?.form || !(enter || sends(field))) return false
  const button = sends(field) ? field : [...field.form.elements].find(sends)
  return (button?.getAttribute('formmethod') ?? field.form.getAttribute('method'))?.toLowerCase() === 'post'
}"""
"""Whether a click on it, or Enter in it, sends a form that changes something (RFC 9110, §9.2.1)."""
IN_FIELD = "element => element.matches('input:not([type=submit], [type=image], [type=button])')"
SUBMIT = "Use browser__submit for it; a person may be asked."
READ = "Read the page again: its numbers have changed."


class Session:
    """`context` is the agent's own; `hosts` may be reached; `tasks` owns what goes on beside."""

    def __init__(
        self, context: BrowserContext, settings: BrowserSettings, hosts: tuple[str, ...],
        tasks: asyncio.TaskGroup,
    ) -> None:  # fmt: skip
        self._context, self._settings, self._hosts, self._tasks = context, settings, hosts, tasks
        self._reach_ms = 1000 * min(ELEMENT_S, settings.timeout_s / 3)
        self._listing = Listing("")
        self._pages: list[Page] = []
        self._closing: set[asyncio.Task[bool]] = set()
        self._crashed = False
        """The last page crashed, and no tool has said so yet."""
        context.on("page", self._opened)

    async def close(self) -> bool:
        """End it. False: the browser does not answer."""
        return await _closed(self._context)

    async def open(self, url: str) -> str:
        """Go to an address and list what is there. Raises ToolError, ToolTimeout."""
        self._check(url)
        self._crashed = False
        page = self._current() or await self._context.new_page()
        async with self._answering(page, f"{url} can't be opened"):
            answer = await page.goto(url, wait_until="domcontentloaded")
        failed = f" (HTTP {answer.status})" if answer is not None and answer.status >= 400 else ""
        return await self._seen(failed)

    async def read(self, start: int) -> str:
        """List the page from line `start`. Raises ToolError, ToolTimeout."""
        page = self._need()
        if start <= 1:
            page = await self._list(page)
        return await self._shown(page, max(1, start))

    async def click(self, element: int) -> str:
        """Click it and list what is there then. Raises ToolError (it would send a form by POST),
        ToolTimeout."""
        async with self._reaching(element, "clicked") as found:
            await self._check_sends_nothing(found, element, enter=False)
            await found.click(timeout=self._reach_ms)
        return await self._seen()

    async def type(self, element: int, text: str, submit: bool) -> str:
        """Put `text` into it in place of what is there, and press Enter. Raises ToolError (it would send a form
        by POST), ToolTimeout."""
        async with self._reaching(element, "written into") as found:
            if submit:
                await self._check_sends_nothing(found, element, enter=True)
            if await found.evaluate("e => e.tagName", timeout=self._reach_ms) == "SELECT":
                await found.select_option(label=text, timeout=self._reach_ms)
            else:
                await found.fill(text, timeout=self._reach_ms)
            if submit:
                await found.press("Enter", timeout=self._reach_ms)
        return await self._seen()

    async def submit(self, element: int) -> str:
        """Click it, or press Enter in a field, whatever that sends. Raises ToolError, ToolTimeout."""
        async with self._reaching(element, "sent") as found:
            if await found.evaluate(IN_FIELD, timeout=self._reach_ms):
                await found.press("Enter", timeout=self._reach_ms)
            else:
                await found.click(timeout=self._reach_ms)
        return await self._seen()

    async def picture(self) -> tuple[bytes, str]:
        """What is seen of the page as a PNG, and its address. Raises ToolError, ToolTimeout."""
        page = self._need()
        async with self._answering(page, "There is no picture of it"):
            await page.bring_to_front()
            return await page.screenshot(type="png", caret="initial"), page.url

    # -- inside ------------------------------------------------------------------------------------

    def _check(self, url: str) -> None:
        try:
            parts = urlsplit(url)
            port = parts.port or PORT_OF[parts.scheme]
        except (ValueError, KeyError) as error:
            raise ToolError(f"{url!r} is no web address.", "Write https://host/path.") from error
        check_allowed(parts.hostname or "", port, self._hosts)

    def _current(self) -> Page | None:
        """The newest page that is open."""
        self._pages = [page for page in self._pages if not page.is_closed()]
        return self._pages[-1] if self._pages else None

    def _need(self) -> Page:
        if self._crashed:
            raise self._crash()
        if (page := self._current()) is None:
            raise ToolError("No page is open.", "Open one first; pages are closed when they are not used.")
        if page.url.partition(":")[0] not in SHOWN:
            raise ToolError(f"{page.url} is no page of the web.", "Open another.")
        return page

    def _check_alive(self, error: Exception) -> None:
        browser = self._context.browser
        if browser is None or not browser.is_connected():
            raise ToolUnavailable("The browser was ended.", "Open the page again.") from error

    def _opened(self, page: Page) -> None:
        self._current()
        if len(self._pages) < self._settings.pages:
            self._pages.append(page)
            page.on("crash", self._lost)
        else:
            self._close(page)

    def _lost(self, page: Page) -> None:
        self._pages = [other for other in self._pages if other is not page]
        self._crashed = True
        self._close(page)

    def _close(self, page: Page) -> None:
        closing = self._tasks.create_task(_closed(page), name="end of a page")
        self._closing.add(closing)
        closing.add_done_callback(self._closing.discard)

    def _crash(self) -> ToolError:
        self._crashed = False
        what = f"The page was ended: it crashed, or took too much of {self._settings.memory_mb} MiB of memory."
        return ToolError(what, "Open another page. The owner can raise memory_mb of [tools.browser].")

    async def _seen(self, failed: str = "") -> str:
        """The newest page, once it has settled."""
        page = self._need()
        async with self._answering(page, "The page can't be read"):
            await page.wait_for_timeout(100)  # what a click sets off begins a little later
            while self._closing:
                await asyncio.wait(self._closing)
            page = self._need()
            await _settled(page)
        return await self._shown(await self._list(page), 1, failed)

    async def _list(self, page: Page) -> Page:
        """List it, or what it opens meanwhile: behind another, a page draws nothing and its snapshot never
        comes."""
        from playwright.async_api import TimeoutError as Late

        async with self._answering(page, "The page can't be read"):
            for part in TRIES:
                page = self._need()
                await page.bring_to_front()
                if not await page.evaluate("() => Boolean(document.body)"):
                    break  # of nothing there is no snapshot either
                with suppress(Late):
                    limit = self._settings.timeout_s * 1000 * part
                    self._listing = Listing(await page.aria_snapshot(mode="ai", timeout=limit))
                    return page
            text = str(await page.evaluate("() => document.documentElement?.innerText ?? ''"))
            lines = (NO_ELEMENTS, *text.splitlines())
            self._listing = Listing("\n".join(f"- text: {json.dumps(line)}" for line in lines))
        return page

    async def _shown(self, page: Page, start: int, failed: str = "") -> str:
        async with self._answering(page, "The page can't be read"):
            title = (await page.title())[:200]
        text, after = self._listing.page(start, self._settings.page_chars)
        lines = len(self._listing.lines)
        more = f"\n(line {after - 1} of {lines}; go on with start={after})" if after else ""
        return f"{title}\n{page.url[:500]}{failed}\n\n{text}{more}"

    async def _check_sends_nothing(self, found: Locator, element: int, *, enter: bool) -> None:
        if await found.evaluate(POSTS, enter, timeout=self._reach_ms):
            raise ToolError(f"Element {element} sends a form, which may not be taken back.", SUBMIT)

    @asynccontextmanager
    async def _reaching(self, element: int, done: str) -> AsyncGenerator[Locator]:
        """The element of that number, which something is done to."""
        from playwright.async_api import Error

        page, known = self._need(), self._listing.elements
        if not 1 <= element <= len(known):
            what = f"There is no element {element}."
            raise ToolError(what, f"The page has 1 to {len(known)}." if known else "Open or read a page first.")
        try:
            yield page.locator(f"aria-ref={known[element - 1]}")
        except Error as error:
            self._check_alive(error)
            async with self._answering(page, "The page can't be used"):
                await page.title()  # or it is the page that is out of reach
            raise ToolError(f"Element {element} can't be {done}: {_first(error)}.", READ) from error

    @asynccontextmanager
    async def _answering(self, page: Page, what: str) -> AsyncGenerator[None]:
        """A page that does not answer in time is closed."""
        from playwright.async_api import Error
        from playwright.async_api import TimeoutError as Late

        limit = self._settings.timeout_s
        try:
            async with asyncio.timeout(limit):
                yield
        except (Late, TimeoutError) as error:
            if not await _closed(page):
                raise ToolUnavailable("The browser does not answer.", "Open the page again.") from error
            what = f"{what}: it did not answer in {limit:g} s, and was closed."
            raise ToolTimeout(what, "Open another page, or this one later.") from error
        except Error as error:
            self._check_alive(error)
            if self._crashed:
                raise self._crash() from error
            mend = f"It, or what it redirects to, does not answer or is none of: {', '.join(self._hosts)}."
            raise ToolError(f"{what}: {_first(error)}.", mend) from error


async def _settled(page: Page) -> None:
    from playwright.async_api import TimeoutError as Late

    with suppress(Late):
        await page.wait_for_load_state("load", timeout=SETTLE_S * 1000)


async def _closed(what: Any) -> bool:
    """Close a page or a context. False: it does not close."""
    from playwright.async_api import Error

    try:
        async with asyncio.timeout(CLOSE_S):
            await what.close()
    except TimeoutError:
        return False
    except Error:
        pass  # it is closed already
    return True


def _first(error: Exception) -> str:
    return str(error).strip().splitlines()[0][:300].rstrip(".")
