"""Tools from packages, MCP servers and HTTP services."""

import asyncio
import json
import os
import signal
import socket
import sys
from pathlib import Path

import httpx
import pytest

from aios.errors import ConfigError, NotFound, ToolError, ToolUnavailable
from aios.syscalls import FunctionCall, ToolCall
from aios.syscalls.tools import ToolSource
from aios.tools.builtin.web import Web
from aios.tools.manager import ToolManager
from aios.tools.providers.mcp import McpServer
from aios.tools.providers.openapi import OpenApi
from aios.tools.providers.package import from_folder
from aios.tools.tool import Caller

pytestmark = pytest.mark.anyio
ROOT = Path(__file__).resolve().parents[2]
ANN = Caller(agent="ann", folder="/nowhere")


@pytest.fixture
async def tools():
    async with ToolManager() as manager:
        yield manager


async def use(tools, name, /, **arguments):
    call = ToolCall(id="1", function=FunctionCall(name=name, arguments=json.dumps(arguments)))
    return (await tools.call(call, ANN)).value


# -- packages ---------------------------------------------------------------------------------------

MODULE = """
from pathlib import Path
from aios.tools.tool import tool
Path(__file__).with_name("loaded").touch()

@tool(effect="pure")
def greet(name: str) -> str:
    "Greet."
    return f"hello {name}"
"""


def package(folder, module=MODULE, manifest='name = "polite"\nversion = "1.2"\n'):
    (folder / "tool.toml").write_text(manifest)
    (folder / "tools.py").write_text(module)
    return folder


async def test_a_package_is_loaded_when_it_is_first_called(tools, tmp_path):
    tools.add(from_folder(package(tmp_path)))
    assert not (tmp_path / "loaded").exists()
    assert await use(tools, "polite__greet", name="Ann") == "hello Ann"
    shown = await tools.show("polite__greet")
    assert (shown.version, shown.provider, len(shown.digest)) == ("1.2", "package:polite", 64)
    await tools.remove("polite")
    with pytest.raises(NotFound):
        await use(tools, "polite__greet", name="Ann")


async def test_the_digest_of_a_package_follows_its_files(tools, tmp_path):
    (tmp_path / "data").write_text("first")
    tools.add(from_folder(package(tmp_path)))
    first = (await tools.show("polite__greet")).digest
    await tools.remove("polite")
    (tmp_path / "data").write_text("changed")
    tools.add(from_folder(tmp_path))
    assert (await tools.show("polite__greet")).digest != first


async def test_a_source_is_not_taken_for_a_tool(tools, tmp_path):
    tools.add(from_folder(package(tmp_path)))
    with pytest.raises(NotFound, match=r"source of tools.*polite__tool"):
        await tools.show("polite")


async def test_broken_packages(tools, tmp_path):
    with pytest.raises(ConfigError, match=r"no .*tool\.toml.*is a folder with"):
        from_folder(tmp_path)
    with pytest.raises(ConfigError, match="verion"):
        from_folder(package(tmp_path, manifest='name = "a"\nverion = "1"'))
    tools.add(from_folder(package(tmp_path, module="1 / 0")))
    with pytest.raises(ToolUnavailable, match="division by zero"):
        await use(tools, "polite__greet", name="Ann")
    assert await tools.list() == ()


# -- MCP --------------------------------------------------------------------------------------------

STDIO = ToolSource(name="m", kind="mcp", command=sys.executable, args=("-m", "tests.mcp_server"), cwd=str(ROOT))


async def test_an_mcp_server_over_stdio(tools):
    pytest.importorskip("mcp")
    tools.add(McpServer(STDIO))
    assert await use(tools, "m__double", n="21") == {"result": 42}
    shown = {tool.name: tool for tool in await tools.list()}
    assert set(shown) == {"m__double", "m__fail", "m__die", "m__pid"}
    double = shown["m__double"]
    assert (double.effect, double.flags.irreversible, double.flags.sends_out) == ("idempotent", False, False)
    assert (shown["m__die"].effect, shown["m__die"].flags.irreversible) == ("opaque", True)
    with pytest.raises(ToolError, match="n: expected integer"):
        await use(tools, "m__double", n="x")
    with pytest.raises(ToolError, match="failed"):
        await use(tools, "m__fail")
    await tools.remove("m")


async def test_an_mcp_server_that_dies_is_started_again(tools):
    pytest.importorskip("mcp")
    tools.add(McpServer(STDIO))
    first = (await use(tools, "m__pid"))["result"]
    with pytest.raises(ToolUnavailable, match="went away"):
        await use(tools, "m__die")
    second = (await use(tools, "m__pid"))["result"]
    assert second != first


async def test_a_closed_manager_leaves_no_mcp_server():
    pytest.importorskip("mcp")
    async with ToolManager() as tools:
        tools.add(McpServer(STDIO))
        pid = (await use(tools, "m__pid"))["result"]
        os.kill(pid, 0)
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


async def test_an_mcp_server_that_can_not_be_started(tools):
    pytest.importorskip("mcp")
    tools.add(McpServer(ToolSource(name="m", kind="mcp", command="/nowhere/server")))
    with pytest.raises(ToolUnavailable, match="m is not available"):
        await use(tools, "m__double", n=1)
    assert await tools.list() == ()
    with pytest.raises(ConfigError, match="command or a url"):
        McpServer(ToolSource(name="m", kind="mcp"))


async def test_an_mcp_server_over_http(tools):
    pytest.importorskip("mcp")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    quiet = asyncio.subprocess.DEVNULL
    command = (sys.executable, "-m", "tests.mcp_server", str(port))
    server = await asyncio.create_subprocess_exec(*command, cwd=ROOT, stdout=quiet, stderr=quiet)
    try:
        async with httpx.AsyncClient() as client:
            while True:
                try:
                    await client.get(f"http://127.0.0.1:{port}/")
                    break
                except httpx.ConnectError:
                    await asyncio.sleep(0.05)
        tools.add(
            McpServer(
                ToolSource(name="m", kind="mcp", url=f"http://127.0.0.1:{port}/mcp"), headers={"X-Key": "k"}
            )
        )
        assert await use(tools, "m__double", n=4) == {"result": 8}
        await tools.remove("m")
    finally:
        server.send_signal(signal.SIGKILL)
        await server.wait()


# -- OpenAPI ----------------------------------------------------------------------------------------

PET = {"type": "object", "properties": {"name": {"type": "string"}}, "required": ["name"]}
SPEC = {
    "openapi": "3.1.0",
    "info": {"title": "Pets", "version": "7"},
    "servers": [{"url": "https://pets.example/v1/"}],
    "components": {
        "schemas": {"Pet": PET},
        "parameters": {"Limit": {"name": "limit", "in": "query", "schema": {"type": "integer"}}},
    },
    "paths": {
        "/pets": {
            "get": {
                "operationId": "listPets",
                "summary": "All pets.",
                "parameters": [{"$ref": "#/components/parameters/Limit"}],
            },
            "post": {
                "operationId": "addPet",
                "requestBody": {
                    "required": True,
                    "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Pet"}}},
                },
            },
        },
        "/pets/{id}": {
            "parameters": [{"name": "id", "in": "path", "required": True, "schema": {"type": "string"}}],
            "delete": {},
        },
    },
}


def answer(request):
    if request.method == "DELETE":
        return httpx.Response(404, text="no such pet")
    told = {"method": request.method, "url": str(request.url), "key": request.headers.get("x-key")}
    return httpx.Response(200, json=told | {"body": json.loads(request.content or b"null")})


async def test_an_http_service_from_its_description(tools):
    async with httpx.AsyncClient(transport=httpx.MockTransport(answer)) as client:
        tools.add(OpenApi("pets", json.dumps(SPEC), client, headers={"X-Key": "s"}))
        listed = await use(tools, "pets__listPets", limit="5")
        assert (listed["url"], listed["key"]) == ("https://pets.example/v1/pets?limit=5", "s")
        added = await use(tools, "pets__addPet", body={"name": "Rex"})
        assert (added["method"], added["body"]) == ("POST", {"name": "Rex"})
        with pytest.raises(ToolError, match="'name' is missing"):
            await use(tools, "pets__addPet", body={})
        with pytest.raises(ToolError, match=r"404: no such pet.*Correct"):
            await use(tools, "pets__delete_pets_id", id="../../admin")
        shown = {tool.name: tool for tool in await tools.list()}
        assert shown["pets__listPets"].version == "7"
        assert shown["pets__delete_pets_id"].flags.irreversible
        assert [shown[n].effect for n in sorted(shown)] == ["opaque", "idempotent", "idempotent"]


def test_what_is_no_description_is_refused():
    for spec, why in (
        ("{}", "'paths' is missing"),
        ('{"paths": {}}', "servers.*--url"),
        ("paths:", "not JSON"),
    ):
        with pytest.raises(ConfigError, match=why):
            OpenApi("x", spec, httpx.AsyncClient())


# -- the web ----------------------------------------------------------------------------------------

PAGE = """<html><head><title>A page</title><style>x{}</style></head><body><nav>menu</nav><h1>Top</h1>
<p>One &amp; <b>two</b> <a href="https://a.example/x">link</a>.</p><script>bad()</script><ul><li>item</li></ul>"""


def site(request):
    host = request.headers["host"]
    if request.url.path == "/away":
        return httpx.Response(302, headers={"location": "https://evil.example/"})
    if request.url.path == "/inside":
        return httpx.Response(302, headers={"location": "http://inside.good.example/"})
    return httpx.Response(200, html=PAGE, headers={"x-host": host}, request=request)


async def resolve(host, port):
    return {"inside.good.example": ["127.0.0.1"], "v6.good.example": ["fd00::1"]}.get(host, ["93.184.216.34"])


@pytest.fixture
async def web(tools):
    async with httpx.AsyncClient(transport=httpx.MockTransport(site)) as client:
        for bound in Web(("good.example", "*.good.example"), client=client, resolve=resolve).tools():
            tools.add(bound)
        yield tools


async def test_a_page_is_read_as_text(web):
    page = await use(web, "web_page", url="https://good.example/")
    assert page.title == "A page"
    assert page.text == "# Top\nOne & two link (https://a.example/x).\n- item"
    assert (await use(web, "http_fetch", url="https://www.good.example/")).text == PAGE


@pytest.mark.parametrize(
    "url",
    [
        "https://evil.example/", "https://good.example/away", "https://good.example/inside",
        "http://inside.good.example/", "http://v6.good.example/", "http://127.0.0.1/", "http://[::1]/",
        "file:///etc/passwd", "https://good.example@evil.example/", "https://good.example.evil.example/",
        "ftp://good.example/", "http://169.254.169.254/latest/meta-data", "nonsense", "http://good.example:99999/",
    ],
)  # fmt: skip
async def test_what_may_not_be_fetched(web, url):
    with pytest.raises(ToolError):
        await use(web, "http_fetch", url=url)
