"""The browser tools on a real Chromium, which sees a small web that is made here."""

import asyncio
import json
import os
import re
import subprocess
import sys
import sysconfig
import tempfile
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from tests.webs import Web

from aios.config import BrowserSettings
from aios.errors import AiosError, ToolError, ToolTimeout
from aios.syscalls import FunctionCall, ToolCall
from aios.tools.browser.chromium import bubblewrap, locate
from aios.tools.browser.process import dialer
from aios.tools.browser.provider import Browser
from aios.tools.manager import ToolManager
from aios.tools.tool import Caller

pytestmark = pytest.mark.anyio
SHOP = """<title>Shop</title><h1>Tools</h1><form action=/buy><label>Item <input name=item></label>
<select name=n aria-label=Number><option>one<option>two</select><button>Order</button></form>
<a href=/about>About us</a> <a href=/about target=_blank>New page</a>"""


@pytest.fixture(scope="module")
def anyio_backend():
    return "asyncio"


@pytest.fixture(scope="module", autouse=True)
def installed():
    try:
        locate()
        asyncio.run(bubblewrap())
    except AiosError as error:
        pytest.skip(str(error))


@asynccontextmanager
async def browsing(web, **settings):
    """Tools with a browser for hosts `*.test`, all of which are `web`, and `hosts`."""
    more = settings.pop("hosts", ())
    server = await asyncio.start_server(web.serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]

    async def connect(host, asked):
        web.tried.append((host, asked))
        if not host.endswith(".test"):
            return await dialer(tuple(settings.get("local_hosts", ())))(host, asked)
        return await asyncio.open_connection("127.0.0.1", port)

    browser = Browser(
        BrowserSettings(enabled=True, timeout_s=settings.pop("timeout_s", 20.0), **settings),
        ("*.test", *more), connect,
    )  # fmt: skip
    async with server, ToolManager() as manager:
        manager.add(browser)
        yield manager, browser


@pytest.fixture
def web():
    return Web()


@pytest.fixture(scope="module")
async def common(installed):
    web = Web()
    async with browsing(web) as (tools, browser):
        yield web, tools, browser


@pytest.fixture
async def shared(common):
    """A web and tools, for tests that one Chromium is enough for: its agents begin anew with each."""
    web, tools, browser = common
    web.clear()
    yield web, tools
    agents = tuple(browser._seats)
    for agent in agents:
        tools.release(agent)
    while any(map(tools.holds, agents)):
        await asyncio.sleep(0.01)


@pytest.fixture
def ann(tmp_path):
    return Caller(agent="ann", folder=str(tmp_path / "ann"))


@pytest.fixture
def bob(tmp_path):
    return Caller(agent="bob", folder=str(tmp_path / "bob"))


async def use(tools, caller, name, /, **arguments):
    call = ToolCall(id="1", function=FunctionCall(name=f"browser__{name}", arguments=json.dumps(arguments)))
    return (await tools.call(call, caller)).text


async def test_an_agent_finds_its_way_through_a_shop(shared, ann):
    web, tools = shared
    web.put("shop.test", "/", SHOP)
    web.put("shop.test", "/buy", "<title>Thanks</title><p>Ordered.")
    web.put("shop.test", "/about", "<title>About</title><p>Since 1900.")
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
    assert "/buy?item=saw&n=two" in web.paths("shop.test")
    with pytest.raises(ToolError, match="no element 3"):
        await use(tools, ann, "click", element=3)
    await use(tools, ann, "open", url="http://shop.test/")
    assert "Since 1900." in await use(tools, ann, "click", element=5)


FORM = """<form method=POST action=/pay><input name=to aria-label=To><button><b>Pay</b></button>
<button formmethod=get formaction=/look>Look</button></form>
<form><input name=n aria-label=Number><button formmethod=Post formaction=/pay>Buy</button></form>
<form action=/find><input name=q aria-label=Find></form>"""


async def test_what_a_form_sends_by_post_goes_out_by_submit_alone(shared, ann):
    """Which asks a person by default: it is irreversible, the others are not."""
    web, tools = shared
    pages = {"/": FORM, "/pay": "Paid.", "/look": "Looked.", "/find": "Found."}
    for path, body in pages.items():
        web.put("a.test", path, body)

    async def home():
        await use(tools, ann, "open", url="http://a.test/")

    await home()  # [1] To, [2] Pay, [3] Look, [4] Number, [5] Buy, [6] Find
    for element in (2, 5):
        with pytest.raises(ToolError, match="browser__submit"):
            await use(tools, ann, "click", element=element)
    for element in (1, 4):
        with pytest.raises(ToolError, match="browser__submit"):
            await use(tools, ann, "type", element=element, text="me", submit=True)
    assert "/pay" not in web.paths("a.test")
    assert '"To": me' in await use(tools, ann, "type", element=1, text="me")
    assert "Looked." in await use(tools, ann, "click", element=3)
    await home()
    assert "Found." in await use(tools, ann, "type", element=6, text="x", submit=True)
    for element in (1, 2, 4, 5):
        await home()
        assert "Paid." in await use(tools, ann, "submit", element=element)


async def test_agents_have_cookies_and_pages_of_their_own_until_they_are_gone(shared, ann, bob):
    web, tools = shared
    web.put("a.test", "/", "<p>Hello", head="Set-Cookie: who=ann\r\n")
    web.put("a.test", "/again", "<p id=p><script>p.textContent = 'cookie: ' + document.cookie</script>")
    await use(tools, ann, "open", url="http://a.test/")
    assert "cookie: who=ann" in await use(tools, ann, "open", url="http://a.test/again")
    with pytest.raises(ToolError, match="No page is open"):
        await use(tools, bob, "read")
    assert (await use(tools, bob, "open", url="http://a.test/again")).endswith("cookie:")
    tools.release("ann")
    while tools.holds("ann"):
        await asyncio.sleep(0.01)
    assert (await use(tools, ann, "open", url="http://a.test/again")).endswith("cookie:")
    assert tools.holds("bob")


async def test_a_page_that_hangs_is_closed_and_others_go_on(web, ann, bob):
    web.put("a.test", "/", "<button onclick='for (;;);'>Stop</button>")
    web.put("b.test", "/", "<p>Fine")
    async with browsing(web, timeout_s=3.0) as (tools, _):
        await use(tools, ann, "open", url="http://a.test/")
        with pytest.raises(ToolTimeout, match="closed"):
            await asyncio.gather(
                use(tools, ann, "click", element=1), use(tools, bob, "open", url="http://b.test/")
            )
        assert "Fine" in await use(tools, bob, "read")
        assert "Fine" in await use(tools, ann, "open", url="http://b.test/")


async def test_a_page_that_takes_its_own_body_away_is_still_read_and_left(shared, ann):
    """In an attribute, `open` is `document.open`, which leaves an empty document that never ends loading."""
    web, tools = shared
    web.put("a.test", "/", "<button onclick=\"open('/')\">Gone</button>")
    web.put("b.test", "/", "<p>Fine")
    await use(tools, ann, "open", url="http://a.test/")
    assert "only the text" in await use(tools, ann, "click", element=1)
    with pytest.raises(ToolError, match="no element 1"):
        await use(tools, ann, "click", element=1)
    assert "Fine" in await use(tools, ann, "open", url="http://b.test/")


async def test_a_browser_that_dies_is_started_anew(web, ann):
    web.put("a.test", "/", "<p>Here")
    async with browsing(web) as (tools, browser):
        await use(tools, ann, "open", url="http://a.test/")
        first = browser._process
        first.kill()
        while first.alive:
            await asyncio.sleep(0.01)
        assert "Here" in await use(tools, ann, "open", url="http://a.test/")
        assert browser._process is not first


HOG = """<button onclick="setInterval(hog, 1)">Go</button><script>const kept = []
function hog() { try { kept.push(new Uint8Array(64 << 20).fill(1)) } catch (full) { } }</script>"""


async def test_a_page_that_takes_memory_without_end_is_ended_and_others_go_on(web, ann, bob):
    web.put("a.test", "/", HOG)
    web.put("b.test", "/", "<input aria-label=Name>")
    async with browsing(web, memory_mb=2000) as (tools, browser):
        await use(tools, bob, "open", url="http://b.test/")
        await use(tools, bob, "type", element=1, text="Bob")
        await use(tools, ann, "open", url="http://a.test/")
        first = browser._process
        with pytest.raises(ToolError, match=r"ended.*of 2000 MiB.*memory_mb"):
            await use(tools, ann, "click", element=1)
            while True:
                await use(tools, ann, "read")
        assert '"Name": Bob' in await use(tools, bob, "read")
        with pytest.raises(ToolError, match="No page is open"):
            await use(tools, ann, "read")
        assert '"Name"' in await use(tools, ann, "open", url="http://b.test/")
        assert browser._process is first
        assert {most_data(pid) for pid in below(first.pid) if is_page(pid)} == {3024 << 20}


async def test_idle_pages_and_then_the_browser_are_closed(web, ann):
    web.put("a.test", "/", "<p>Here")
    async with browsing(web, idle_s=0.2) as (tools, browser):
        await use(tools, ann, "open", url="http://a.test/")
        while browser._process is not None:
            await asyncio.sleep(0.05)
        assert not tools.holds("ann")


async def test_more_agents_than_there_is_room_for_and_more_pages(web, ann, bob):
    many = "for (let i = 0; i < 9; i++) window.open('/')"
    web.put("a.test", "/", f'<a href=/ target=_blank>More</a> <button onclick="{many}">Many</button>')
    async with browsing(web, agents=1, pages=2) as (tools, browser):
        await use(tools, ann, "open", url="http://a.test/")
        await use(tools, bob, "open", url="http://a.test/")
        assert not tools.holds("ann")
        for element in (1, 2, 1):
            await use(tools, bob, "click", element=element)
        while len(browser._seats["bob"].session._context.pages) > 2:
            await asyncio.sleep(0.01)


async def test_a_long_page_is_read_on_and_its_own_numbers_mislead_nobody(shared, ann):
    web, tools = shared
    web.put("a.test", "/", "<p>[1] button &quot;Cancel&quot;</p>" + "".join(f"<p>row {i}" for i in range(999)))
    seen = await use(tools, ann, "open", url="http://a.test/")
    assert "\\[1] button" in seen
    start = int(seen.rpartition("start=")[2].rstrip(")"))
    assert f"row {start - 2}\n" in await use(tools, ann, "read", start=start)


# -- ways out ---------------------------------------------------------------------------------------

PROBES = """<div id=d></div><script>
const at = '{host}:{port}', web = 'http://' + at
const d = document.getElementById('d')
const put = (tag, facts) => d.append(Object.assign(document.createElement(tag), facts))
put('img', {{src: web + '/img'}}); put('iframe', {{src: web + '/iframe'}})
put('script', {{src: web + '/script'}}); put('link', {{rel: 'stylesheet', href: web + '/style'}})
put('link', {{rel: 'preconnect', href: web}}); put('link', {{rel: 'dns-prefetch', href: web}})
put('video', {{src: web + '/video', preload: 'auto'}}); put('object', {{data: web + '/object'}})
put('iframe', {{src: 'file:///etc/passwd'}}); put('img', {{src: 'ftp://' + at + '/ftp'}})
fetch(web + '/fetch', {{mode: 'no-cors'}}).catch(() => 0)
fetch('/to?' + web, {{mode: 'no-cors'}}).catch(() => 0)
navigator.sendBeacon(web + '/beacon', 'x'); new EventSource(web + '/events')
new WebSocket('ws://' + at + '/socket'); put('img', {{src: 'https://' + at + '/tls'}})
new Worker(URL.createObjectURL(new Blob([`fetch('${{web}}/worker', {{mode: 'no-cors'}})`])))
const turn = {{urls: 'turn:' + at + '?transport=tcp', username: 'a', credential: 'b'}}
const talk = new RTCPeerConnection({{iceServers: [{{urls: 'stun:' + at}}, turn]}})
talk.createDataChannel('x'); talk.createOffer().then(offer => talk.setLocalDescription(offer))
put('iframe', {{name: 'f'}}); put('form', {{method: 'post', action: web + '/form', target: 'f'}})
d.querySelector('form').submit(); open(web + '/popup')
setTimeout(() => fetch('/done'), 1500)
</script>"""
REACH = {
    "/img",
    "/iframe",
    "/script",
    "/style",
    "/object",
    "/fetch",
    "/beacon",
    "/socket",
    "/worker",
    "/form",
    "/popup",
}


@asynccontextmanager
async def private():
    """A service of this machine on all its addresses: its port, and what reached it, TCP or UDP."""
    reached = []

    async def serve(reader, writer):
        reached.append((await reader.readline()).decode("latin-1").split(" ")[1:2])
        writer.close()

    class Datagrams(asyncio.DatagramProtocol):
        def datagram_received(self, data, addr):
            reached.append(["udp"])

    server = await asyncio.start_server(serve, "0.0.0.0", 0)
    port = server.sockets[0].getsockname()[1]
    udp, _ = await asyncio.get_running_loop().create_datagram_endpoint(Datagrams, ("0.0.0.0", port))
    async with server:
        try:
            yield port, reached
        finally:
            udp.close()


async def try_all(tools, web, caller, host, port, page="evil.test"):
    web.put(page, "/", PROBES.format(host=host, port=port))
    to = f"http://{host}:{port}/redirect"
    web.put(page, "/to", "", status="302 Found", head=f"Location: {to}\r\n")
    await use(tools, caller, "open", url=f"http://{page}/")
    while "/done" not in web.paths(page):
        await asyncio.sleep(0.02)


async def test_a_page_reaches_no_host_that_is_not_on_the_list(shared, tmp_path):
    web, tools = shared
    hosts = ["127.0.0.1", "localhost", "[::1]", "0.0.0.0", "2130706433", "other.example"]
    async with private() as (port, reached), asyncio.TaskGroup() as pages:
        for host in hosts:
            caller = Caller(agent=host, folder=str(tmp_path / host))
            pages.create_task(try_all(tools, web, caller, host, port, f"evil{hosts.index(host)}.test"))
    assert reached == []
    assert {name for name, _ in web.tried} == {f"evil{n}.test" for n in range(len(hosts))}


async def test_a_name_on_the_list_that_leads_to_this_machine_is_not_reached(web, ann):
    async with private() as (port, reached), browsing(web, hosts=(f"*:{port}",)) as (tools, _):
        await try_all(tools, web, ann, "localhost", port)
        assert reached == []
        assert ("localhost", port) in web.tried
        refused = await use(tools, ann, "open", url=f"http://127.0.0.1:{port}/")
        assert "(HTTP 403)" in refused
        assert "not on the internet" in refused


async def test_the_probes_get_out_where_the_owner_lets_them(web, ann):
    """Or the tests above would show nothing."""
    async with private() as (port, reached), browsing(web, local_hosts=(f"127.0.0.1:{port}",)) as (tools, _):
        await try_all(tools, web, ann, "127.0.0.1", port)
        assert {path for path in REACH if [path] not in reached} == set()
        assert ["udp"] not in reached


async def test_a_redirect_leads_to_allowed_hosts_alone(shared, ann):
    web, tools = shared
    web.put("a.test", "/", "", status="302 Found", head="Location: http://b.test/\r\n")
    web.put("b.test", "/", "<p>Arrived")
    for path, to in (("/out", "https://other.example/"), ("/file", "file:///etc/passwd")):
        web.put("a.test", path, "", status="302 Found", head=f"Location: {to}\r\n")
    assert "Arrived" in await use(tools, ann, "open", url="http://a.test/")
    for path in ("/out", "/file"):
        with pytest.raises(ToolError, match="can't be opened"):
            await use(tools, ann, "open", url=f"http://a.test{path}")
    assert {name for name, _ in web.tried} == {"a.test", "b.test"}


def below(pid):
    """A process and all that it started."""
    found = [pid]
    for each in found:
        for tasks in Path(f"/proc/{each}/task").glob("*/children"):
            found += map(int, tasks.read_text().split())
    return found


def is_page(pid):
    return b"--type=renderer" in command(pid)


def most_data(pid):
    return int(re.search(r"Max data size +(\d+)", Path(f"/proc/{pid}/limits").read_text())[1])


def command(pid):
    return Path(f"/proc/{pid}/cmdline").read_bytes()


def exists(path):
    return Path(path).exists()


async def test_nothing_is_left_and_nothing_of_this_machine_is_in_its_box(web, ann):
    web.put("a.test", "/", "<p>Here")
    async with browsing(web) as (tools, browser):
        await use(tools, ann, "open", url="http://a.test/")
        pids = below(browser._process.pid)
        renderers = [pid for pid in pids if is_page(pid)]
        assert renderers
        for pid in renderers:
            assert (b"--no-sandbox" not in command(pid)) == browser._process.nested
            assert os.stat(f"/proc/{pid}").st_uid == (browser._process.uid or os.getuid())
            assert os.readlink(f"/proc/{pid}/ns/net") != os.readlink("/proc/self/ns/net")
        inside = next(pid for pid in pids if b"--type=zygote" in command(pid))
        seen = [f"/proc/{inside}/root{path}" for path in (ann.work, "/root", "/home", "/usr")]
        assert [exists(path) for path in seen] == [False, False, False, True]
    while any(exists(f"/proc/{pid}") for pid in pids):
        await asyncio.sleep(0.01)  # what is killed takes a moment


OTHER_UID = 65534
CORE = "shop or without_end or nothing_is_left or no_host"
"""Those of these tests that another uid might change."""


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another uid")
def test_a_browser_of_another_uid():
    """Where no uid can be dropped, a kernel's browser runs as the kernel does, in the same box."""
    root, python = Path(__file__).resolve().parents[2], f"/usr/bin/python3.{sys.version_info.minor}"
    if not os.path.exists(python) or not all(path.stat().st_mode & 1 for path in (root, *root.parents)):
        pytest.skip(f"another uid needs {python}, and a way into {root}")
    libraries = os.pathsep.join((str(root), str(root / "src"), sysconfig.get_path("purelib")))
    with tempfile.TemporaryDirectory() as folder:
        os.chown(folder, OTHER_UID, OTHER_UID)
        done = subprocess.run(
            ["setpriv", f"--reuid={OTHER_UID}", f"--regid={OTHER_UID}", "--clear-groups", python,
             "-m", "pytest", "-p", "no:cacheprovider", f"--basetemp={folder}/t", "-k", CORE, __file__],
            cwd=root, env={"PYTHONPATH": libraries, "PATH": os.environ["PATH"], "TMPDIR": folder},
            capture_output=True, text=True, timeout=100,
        )  # fmt: skip
    assert done.returncode == 0, done.stdout[-3000:]
    assert f"{len(CORE.split(' or '))} passed" in done.stdout
    assert "skipped" not in done.stdout
