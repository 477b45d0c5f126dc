"""What of the browser needs no browser: where it is looked for, how a page is listed, who may be reached."""

import asyncio
from types import SimpleNamespace

import pytest
from tests.kernels import settings

from aios.config import BrowserSettings
from aios.errors import ConfigError, ToolError, ToolUnavailable
from aios.syscalls import FunctionCall, ToolCall
from aios.tools.browser import chromium
from aios.tools.browser.listing import Listing, parse
from aios.tools.browser.provider import Browser
from aios.tools.browser.session import Session
from aios.tools.manager import ToolManager
from aios.tools.tool import Caller

pytestmark = pytest.mark.anyio
SNAPSHOT = r"""
- generic [active] [ref=e1]:
  - 'heading "News: today" [level=2] [ref=e2]'
  - 'link "It''s \"12:30\": go" [ref=e3] [cursor=pointer]':
    - /url: /a?x=1
    - img "pin" [ref=e4] [cursor=pointer]
  - paragraph [ref=e5]:
    - text: "[2] button \"Pay\""
    - link [ref=e6] [cursor=pointer]:
      - /url: "#x"
      - img "home" [ref=e7]
  - textbox "Name" [ref=e8]: Ann
  - combobox "Size" [ref=e9]:
    - option "S"
    - option "M" [selected]
  - checkbox "Agree" [checked] [disabled] [ref=e10]
  - table [ref=e11]:
    - row "1 2" [ref=e12]:
      - cell "1" [ref=e13]
      - cell "2" [ref=e14]
    - row "3 x" [ref=e15]:
      - cell "3" [ref=e16]
      - cell [ref=e17]:
        - button "x" [ref=e18]
  - listitem [ref=e19]: last
  - iframe [ref=e20]:
    - generic [ref=f1e2] [cursor=pointer]: inside
"""


def test_what_can_be_used_is_numbered_and_the_rest_is_text():
    listing = Listing(SNAPSHOT)
    assert listing.lines == [
        "## News: today", "[1] link \"It's \"12:30\": go\" -> /a?x=1", '\\[2] button "Pay"',
        "[2] link -> #x", 'img "home"', '[3] textbox "Name": Ann', '[4] combobox "Size" | S | M (selected)',
        '[5] checkbox "Agree" (checked, disabled)', "| 1 | 2", "| 3", '[6] button "x"', "- last",
        "[7] clickable: inside",
    ]  # fmt: skip
    assert listing.elements == ["e3", "e6", "e8", "e9", "e10", "e18", "f1e2"]


def test_a_listing_is_read_in_pieces_of_at_least_a_line():
    listing = Listing("\n".join(f"- text: {'x' * 20}{n}" for n in range(5)))
    start, read = 1, []
    while start:
        text, start = listing.page(start, 50)
        read.append(text.count("\n") + 1)
    assert (sum(read), read[0]) == (5, 2)
    assert listing.page(1, 1) == ("x" * 20 + "0", 2)
    assert listing.page(9, 50) == ("", 0)


def test_lines_that_are_none_and_very_long_ones():
    assert list(parse("nonsense\n- \n- link [unclosed\n")) == []
    assert len(Listing(f"- text: {'x' * 5000}").lines[0]) == 300


def test_a_missing_extra_or_chromium_is_told_with_what_to_do(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(chromium, "find_spec", lambda name: object())
    with pytest.raises(ToolUnavailable, match=r"no Chromium.*apt-get install chromium"):
        chromium.locate()
    with pytest.raises(ToolUnavailable, match="/nowhere"):
        chromium.locate("/nowhere")
    program = tmp_path / "google-chrome"
    program.write_text("")
    program.chmod(0o755)
    assert chromium.locate() == program
    monkeypatch.setattr(chromium, "find_spec", lambda name: None)
    with pytest.raises(ToolUnavailable, match=r"pip install 'aios\[browser\]'"):
        chromium.locate()


async def test_without_chromium_no_tools_are_offered_and_a_call_says_why(monkeypatch, tmp_path):
    monkeypatch.setattr(chromium, "find_spec", lambda name: None)
    async with ToolManager() as tools:
        tools.add(Browser(BrowserSettings(enabled=True), ("a.test",)))
        assert await tools.list() == ()
        call = ToolCall(
            id="1", function=FunctionCall(name="browser__open", arguments='{"url": "http://a.test"}')
        )
        with pytest.raises(ToolUnavailable, match=r"aios\[browser\]"):
            await tools.call(call, Caller(agent="ann", folder=str(tmp_path)))


@pytest.fixture
async def tools(monkeypatch):
    monkeypatch.setattr(chromium, "find_spec", lambda name: object())
    async with ToolManager() as manager:
        manager.add(
            Browser(BrowserSettings(enabled=True, path="/bin/sh", local_hosts=("me:3000",)), ("*.test",))
        )
        yield manager


async def test_what_access_rules_and_the_journal_know_of_the_tools(tools):
    assert all(tool.flags.returns_untrusted for tool in await tools.list())
    told = {
        tool.name: (tool.effect, tool.flags.sends_out, tool.flags.irreversible) for tool in await tools.list()
    }
    assert told == {
        "browser__open": ("idempotent", True, False), "browser__read": ("idempotent", False, False),
        "browser__click": ("opaque", True, False), "browser__type": ("opaque", True, False),
        "browser__submit": ("opaque", True, True), "browser__screenshot": ("idempotent", False, False),
    }  # fmt: skip


def test_it_is_off_and_takes_no_unknown_settings(tmp_path):
    assert not settings(tmp_path).tools.browser.enabled
    with pytest.raises(ConfigError, match="local_hosts"):
        settings(tmp_path, tools={"browser": {"localhosts": []}})


def a_session():
    """Of no browser: it gets no further than to the list of hosts."""
    context = SimpleNamespace(on=lambda event, handler: None, pages=[])
    return Session(context, BrowserSettings(), ("*.test", "me:3000"), asyncio.current_task())


@pytest.mark.parametrize(
    "url",
    ["file:///etc/passwd", "chrome://settings", "view-source:http://a.test/", "data:text/html,x", "about:blank",
     "javascript:alert(1)", "ftp://a.test/", "http://127.0.0.1/", "http://a.test:22/", "http://a.test@b.example/",
     "https://other.example/", "http://[::1]/", "a.test", "http://", "http://a.test:x/", "http://me/",
     "http://test/", "http://a.test.example/"],
)  # fmt: skip
async def test_other_addresses_are_not_opened(url):
    with pytest.raises(ToolError, match=r"no web address|may not be reached"):
        await a_session().open(url)


@pytest.mark.parametrize("what", ["read", "click", "picture"])
async def test_nothing_can_be_done_before_a_page_is_open(what):
    arguments = {"read": (1,), "click": (1,), "picture": ()}[what]
    with pytest.raises(ToolError, match="No page is open"):
        await getattr(a_session(), what)(*arguments)
