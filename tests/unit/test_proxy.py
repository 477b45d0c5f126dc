"""A connection of the proxy's carries what was decided for one host, whatever the two sides say."""

import asyncio
from contextlib import asynccontextmanager

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aios.errors import BadRequest, ToolError
from aios.tools.hosts import check_allowed
from aios.tools.sandbox.exchange import CHUNKED, asked
from aios.tools.sandbox.proxy import Proxy

pytestmark = pytest.mark.anyio
KEPT = b"HTTP/1.1 200 OK\r\nConnection: keep-alive\r\nKeep-Alive: timeout=99\r\nContent-Length: 2\r\n\r\nhi"


class Hostile:
    """A server that never ends a connection, and keeps all that it is sent."""

    def __init__(self, answer=KEPT):
        self.answer, self.got, self.dialled = answer, b"", []

    async def dial(self, host, port):
        self.dialled.append(host)
        return await asyncio.open_unix_connection(self.path)

    async def serve(self, reader, writer):
        while data := await reader.read(1 << 16):
            self.got += data
            writer.write(self.answer)
        writer.close()


@asynccontextmanager
async def connected(tmp_path, server):
    server.path = tmp_path / "far"
    proxy = await Proxy(("*.test",), server.dial).open(0)
    try:
        async with await asyncio.start_unix_server(server.serve, server.path):
            reader, writer = await asyncio.open_unix_connection(proxy.path)
            try:
                yield reader, writer
            finally:
                writer.close()
                await proxy.close()
    finally:
        proxy._folder.cleanup()


async def until(condition):
    while not condition():
        await asyncio.sleep(0.005)


def get(host, *more, path="/", method="GET"):
    return "\r\n".join([f"{method} http://{host}{path} HTTP/1.1", f"Host: {host}", *more, "", ""]).encode()


@pytest.mark.parametrize("later", ["b.test", "other.example", "a.test"])
async def test_a_second_request_on_a_connection_goes_to_nobody(tmp_path, later):
    server = Hostile()
    async with connected(tmp_path, server) as (reader, writer):
        writer.write(get("a.test"))
        head = await reader.readuntil(b"\r\n\r\n")
        assert (head.count(b"Connection: close"), b"eep-" in head) == (1, False)
        assert await reader.readexactly(2) == b"hi"
        writer.write(get(later, "Cookie: secret") + b"x" * (4 << 20))
        await writer.drain()  # more than buffers hold: what came first has been read
    assert server.dialled == ["a.test"]
    assert b"secret" not in server.got


async def test_requests_in_one_piece_are_cut_after_the_first(tmp_path):
    server = Hostile()
    body = get("a.test", "Content-Length: 5", method="POST") + b"hello"
    async with connected(tmp_path, server) as (reader, writer):
        writer.write(body + get("b.test", "Cookie: secret"))
        await reader.readuntil(b"hi")
        await until(lambda: server.got.endswith(b"hello"))
    assert server.dialled == ["a.test"]


async def test_a_chunked_body_ends_where_it_says(tmp_path):
    server = Hostile()
    chunks = b"5;note=x\r\nhello\r\n1\r\n!\r\n0\r\nSum: 1\r\n\r\n"
    async with connected(tmp_path, server) as (_, writer):
        writer.write(get("a.test", "Transfer-Encoding: chunked", method="POST") + chunks + get("b.test"))
        await until(lambda: b"Sum" in server.got)
    assert server.got.endswith(b"\r\n\r\n5\r\nhello\r\n1\r\n!\r\n0\r\nSum: 1\r\n\r\n")


async def test_interim_answers_do_not_hide_that_the_connection_ends(tmp_path):
    server = Hostile(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n" + KEPT)
    async with connected(tmp_path, server) as (reader, writer):
        writer.write(get("a.test"))
        heads = await reader.readuntil(b"hi")
    assert heads.endswith(b"200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nhi")


async def test_an_answer_that_is_none_ends_the_connection(tmp_path):
    server = Hostile(b"x" * 200_000)
    async with connected(tmp_path, server) as (reader, writer):
        writer.write(get("a.test"))
        assert await reader.read() == b""


def test_a_server_is_told_the_name_that_was_decided():
    wanted = asked("GET http://me:pw@a.test:81/x?y#z HTTP/1.1\r\nhost: evil.test\r\nA: b\r\nTE: x\r\n\r\n")
    assert wanted[:2] == ("a.test", 81)
    assert wanted.first == b"GET /x?y HTTP/1.1\r\nHost: a.test:81\r\nA: b\r\nConnection: close\r\n\r\n"
    assert asked("CONNECT [::1]:443 HTTP/1.1\r\n\r\n") == ("::1", 443, b"", 0)
    assert asked(get("a.test", "Transfer-Encoding: Chunked").decode()).body == CHUNKED


@pytest.mark.parametrize(
    "fields",
    ["Content-Length: 3\r\nContent-Length: 4", "Content-Length: 3\r\nTransfer-Encoding: chunked",
     "Transfer-Encoding: gzip", "Transfer-Encoding: x\r\nTransfer-Encoding: chunked", "Content-Length: -1",
     "Content-Length: +3", "Content-Length: 0x3", "A: b\nHost: evil.test", "A: b\r\n Host: evil.test",
     "Host : evil.test", "A: b\rHost: evil.test", "nonsense", "A: \0"],
)  # fmt: skip
def test_what_servers_could_read_in_two_ways_is_refused(fields):
    with pytest.raises(BadRequest):
        asked(f"POST http://a.test/ HTTP/1.1\r\nHost: a.test\r\n{fields}\r\n\r\n")


@pytest.mark.parametrize(
    "line", ["GET / HTTP/1.1", "GET http:///x HTTP/1.1", "GET https://a.test/ HTTP/1.1", "GET http://a.test/",
             "GET http://a.test:x/ HTTP/1.1", "CONNECT a.test HTTP/1.1", "GET http://a.test/ HTTP/2", ""],
)  # fmt: skip
def test_what_is_no_request_to_a_proxy_is_refused(line):
    with pytest.raises(BadRequest):
        asked(f"{line}\r\n\r\n")


@given(st.text(st.sampled_from("GET htp:/.aHosvil\r\n\t: 01\0"), max_size=80))
def test_whatever_is_asked_one_host_is_named_in_it(text):
    try:
        wanted = asked(f"GET http://a.test/{text} HTTP/1.1\r\n{text}\r\n\r\n")
    except BadRequest:
        return
    lines = wanted.first.decode("latin-1").split("\r\n")
    assert [line for line in lines if line.lower().startswith("host")] == ["Host: a.test"]
    assert "\r" not in "".join(lines)
    assert "\n" not in "".join(lines)


def test_who_names_a_host_without_its_port_is_told_so():
    check_allowed("a.test", 443, ["a.test"])
    with pytest.raises(ToolError, match="for ports 80 and 443"):
        check_allowed("a.test", 8080, ["a.test"])
    check_allowed("a.test", 8080, ["a.test:8080"])
