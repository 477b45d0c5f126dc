"""The browser tools on a real Chromium, which sees a small web that is made here."""

import asyncio
import json
import os
import threading
from contextlib import asynccontextmanager

import pytest

from aios.config import BrowserSettings
from aios.errors import AiosError, ToolError, ToolTimeout, ToolUnavailable
from aios.syscalls import FunctionCall, ToolCall
from aios.tools.browser.chromium import bubblewrap, locate
from aios.tools.browser.provider import Browser
from aios.tools.hosts import public_address
from aios.tools.manager import ToolManager
from aios.tools.tool import Caller

pytestmark = pytest.mark.anyio
SHOP = """<title>Shop</title><h1>Tools</h1><form action=/buy><label>Item <input name=item></label>
<select name=n aria-label=Number><option>one<option>two</select><button>Order</button></form>
<a href=/about>About us</a> <a href=/about target=_blank>New page</a>"""


class Web:
    """Hosts by name, each path of which is a function of the request's head; `asked` is what was asked for."""

    def __init__(self):
        self.pages, self.asked, self.tried = {}, [], []

    def put(self, host, path, body, *, status="200 OK", head=""):
        self.pages[host, path] = f"HTTP/1.1 {status}\r\nContent-Type: text/html\r\n{head}", body

    async def serve(self, reader, writer):
        with_head = (await reader.readuntil(b"\r\n\r\n")).decode()
        path = with_head.split()[1]
        host = next(line[6:] for line in with_head.splitlines() if line.lower().startswith("host: "))
        self.asked.append((host, path, with_head))
        head, body = self.pages.get((host, path.partition("?")[0]), ("HTTP/1.1 404 Not Found\r\n", "nothing"))
        data = body.encode()
        writer.write(f"{head}Content-Length: {len(data)}\r\nConnection: close\r\n\r\n".encode() + data)
        await writer.drain()
        writer.close()

    def paths(self, host):
        return [path for asked, path, _ in self.asked if asked == host]


@pytest.fixture(scope="module", autouse=True)
def installed():
    try:
        locate()
        asyncio.run(bubblewrap())
    except AiosError as error:
        pytest.skip(str(error))


@asynccontextmanager
async def browsing(web, **settings):
    """Tools with a browser for hosts `*.test`, all of which are `web`."""
    server = await asyncio.start_server(web.serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]

    async def connect(host, asked):
        web.tried.append((host, asked))
        if not host.endswith(".test"):
            await public_address(host, asked)
        return await asyncio.open_connection("127.0.0.1", port)

    browser = Browser(
        BrowserSettings(enabled=True, timeout_s=settings.pop("timeout_s", 20.0), **settings),
        ("*.test",), connect,
    )  # fmt: skip
    async with server, ToolManager() as manager:
        manager.add(browser)
        yield manager, browser


@pytest.fixture
def web():
    return Web()


@pytest.fixture
def ann(tmp_path):
    return Caller(agent="ann", folder=str(tmp_path / "ann"))


@pytest.fixture
def bob(tmp_path):
    return Caller(agent="bob", folder=str(tmp_path / "bob"))


async def use(tools, caller, name, /, **arguments):
    call = ToolCall(id="1", function=FunctionCall(name=f"browser__{name}", arguments=json.dumps(arguments)))
    return (await tools.call(call, caller)).text


async def test_an_agent_finds_its_way_through_a_shop(web, ann):
    web.put("shop.test", "/", SHOP)
    web.put("shop.test", "/buy", "<title>Thanks</title><p>Ordered.")
    web.put("shop.test", "/about", "<title>About</title><p>Since 1900.")
    async with browsing(web) as (tools, _):
        seen = await use(tools, ann, "open", url="http://shop.test/")
        assert seen.splitlines()[:2] == ["Shop", "http://shop.test/"]
        numbered = [line for line in seen.splitlines() if line.startswith("[")]
        assert numbered == [
            '[1] textbox "Item"', '[2] combobox "Number" | one (selected) | two', '[3] button "Order"',
            '[4] link "About us" -> /about', '[5] link "New page" -> /about',
        ]  # fmt: skip
        assert '"Item": saw' in await use(tools, ann, "type", element=1, text="saw")
        assert "two (selected)" in await use(tools, ann, "type", element=2, text="two")
        picture = json.loads(await use(tools, ann, "screenshot"))
        assert (ann.work / picture["file"]).read_bytes().startswith(b"\x89PNG")
        assert "Ordered." in await use(tools, ann, "click", element=3)
        assert web.paths("shop.test")[-1] == "/buy?item=saw&n=two" or "/favicon.ico" in web.paths("shop.test")
        assert "/buy?item=saw&n=two" in web.paths("shop.test")
        with pytest.raises(ToolError, match="no element 3"):
            await use(tools, ann, "click", element=3)
        await use(tools, ann, "open", url="http://shop.test/")
        assert "Since 1900." in await use(tools, ann, "click", element=5)
