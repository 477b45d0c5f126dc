"""HTTP to one OpenAI-compatible endpoint: connections, timeouts, and one typed error for all that can go wrong.

The key is read from the environment once, goes into the request's header and nowhere else: where an endpoint
repeats it in an error, it is blotted out.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Generator, Mapping
from contextlib import asynccontextmanager, contextmanager
from typing import TypeVar

import aiohttp
import msgspec

from aios.cores.refusal import Complaint, complaint, complaint_of, refusal
from aios.cores.reply import Reply
from aios.cores.retry import retry_after
from aios.cores.sse import EventParser
from aios.errors import AiosError, ConfigError, CoreProtocolError, CoreTimeout, CoreUnavailable

T = TypeVar("T")

CONNECT_S = 10.0
"""Longest time a connection may take to come about."""
DRAIN_S = 1.0
"""How long the end of the response may follow the end of the answer, for the connection to be kept."""
MAX_EVENT = 4 * 2**20
MAX_BODY = 128 * 2**20
"""Most bytes of one event and of a whole answer (embeddings are big)."""


class Unreachable(CoreUnavailable):
    """No connection came about, or it broke before the endpoint answered."""


class CutStream(CoreProtocolError):
    """The answer broke off."""


class Endpoint:
    """`url` is up to and with `/v1`; `key_env` names the variable in `env` that holds the key ("": no key);
    `silence_s` is the longest time without a byte. Raises ConfigError."""

    def __init__(self, core: str, url: str, key_env: str, silence_s: float, env: Mapping[str, str]) -> None:
        if not url.startswith(("http://", "https://")):
            mend = 'Give it as in "http://127.0.0.1:8000/v1".'
            raise ConfigError(f"cores.{core}: base_url is {url!r}.", mend)
        if key_env and not env.get(key_env):
            mend = "Set it to the endpoint's key, or leave `api_key_env` out."
            raise ConfigError(f"cores.{core}: the environment has no {key_env}.", mend)
        self._core, self._url, self._silence_s = core, url.rstrip("/"), silence_s
        self._key = env[key_env] if key_env else ""
        self._session: aiohttp.ClientSession | None = None
        self._replies = msgspec.json.Decoder(Reply)

    async def open(self) -> None:
        headers = {"Content-Type": "application/json", "Accept-Encoding": "identity"}
        if self._key:
            headers["Authorization"] = f"Bearer {self._key}"
        self._session = aiohttp.ClientSession(
            headers=headers,
            connector=aiohttp.TCPConnector(limit=0),  # the window is the limit
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_S, sock_read=self._silence_s),
        )

    async def close(self) -> None:
        if self._session:
            await self._session.close()

    @asynccontextmanager
    async def request(
        self, method: str, path: str, body: bytes | None = None
    ) -> AsyncGenerator[aiohttp.ClientResponse]:
        """The response to a request, once it says 200. On leaving, a connection that was not read to its end
        is closed at once, which tells the endpoint to stop.

        Raises Unreachable, CoreTimeout, CoreProtocolError, and what `refusal` makes of an error status."""
        if self._session is None or self._session.closed:
            raise CoreUnavailable(f"Core {self._core} is closed.", "Start the kernel again.")
        with self._translated(Unreachable):
            # A redirect would take the key to another host.
            response = await self._session.request(
                method, f"{self._url}/{path}", data=body, allow_redirects=False
            )
        try:
            if response.status != 200:
                raise await self._refusal(response)
            yield response
        finally:
            response.close()

    async def read(self, response: aiohttp.ClientResponse, type: type[T]) -> T:
        """A JSON answer. Raises CutStream, CoreTimeout, CoreProtocolError."""
        if response.content_type != "application/json":
            raise self._wrong(f"of type {response.content_type}")
        body = await self._body(response, MAX_BODY)
        try:
            return msgspec.json.decode(body, type=type)
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise self._wrong(f"that can't be read: {error}") from error

    async def events(self, response: aiohttp.ClientResponse) -> AsyncGenerator[Reply, None]:
        """The events of a streamed answer, as they come. Raises CutStream, CoreTimeout, CoreProtocolError, and
        the error that an event reports."""
        if response.content_type != "text/event-stream":
            raise self._wrong(f"of type {response.content_type}")
        parser = EventParser(MAX_EVENT)
        with self._translated(CutStream):
            async for data in response.content.iter_any():
                for event in parser.feed(data):
                    if event == b"[DONE]":
                        await self._drain(response)
                        return
                    yield self._reply(event)

    def _reply(self, event: bytes) -> Reply:
        try:
            reply = self._replies.decode(event)
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise self._wrong(f"with an event that can't be read: {error}") from error
        if reply.error is not None:
            said = complaint_of(reply.error)
            raise self._error(said.code if isinstance(said.code, int) else 500, said)
        return reply

    async def _drain(self, response: aiohttp.ClientResponse) -> None:
        try:
            async with asyncio.timeout(DRAIN_S):
                while not response.content.at_eof():
                    await response.content.readany()
        except TimeoutError:
            return  # it does not end: the connection can't be used again

    async def _body(self, response: aiohttp.ClientResponse, limit: int) -> bytes:
        pieces: list[bytes] = []
        size = 0
        with self._translated(CutStream):
            async for piece in response.content.iter_any():
                pieces.append(piece)
                size += len(piece)
                if size > limit:
                    raise self._wrong(f"of more than {limit} bytes")
        return b"".join(pieces)

    async def _refusal(self, response: aiohttp.ClientResponse) -> AiosError:
        said = complaint(await self._body(response, MAX_EVENT))
        return self._error(response.status, said, retry_after(response.headers.get("Retry-After"), time.time()))

    def _error(self, status: int, said: Complaint, wait_s: float | None = None) -> AiosError:
        if self._key:
            said.message = said.message.replace(self._key, "[key]")
        return refusal(status, said, wait_s, self._core)

    def _wrong(self, how: str) -> CoreProtocolError:
        return CoreProtocolError(
            f"The endpoint of core {self._core} sent an answer {how}.",
            "Check that `base_url` is that of an OpenAI-compatible endpoint.",
        )

    @contextmanager
    def _translated(self, broken: type[Unreachable | CutStream]) -> Generator[None]:
        """aiohttp's errors as ours; a connection that broke is `broken`."""
        try:
            yield
        except aiohttp.ConnectionTimeoutError as error:
            what = f"The endpoint of core {self._core} took no connection within {CONNECT_S:g} s."
            raise Unreachable(what, "Check that it runs.") from error
        except TimeoutError as error:
            what = f"The endpoint of core {self._core} was silent for {self._silence_s:g} s."
            raise CoreTimeout(what, "Raise `timeout_s` of the core, or see the endpoint's log.") from error
        except (aiohttp.ClientConnectionError, aiohttp.ClientPayloadError) as error:
            what = f"The connection to the endpoint of core {self._core} broke: {error}."
            raise broken(what, "Check that it runs, and send the call again.") from error
        except aiohttp.ClientError as error:
            raise self._wrong(f"that is not HTTP: {error}") from error
