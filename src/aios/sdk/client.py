"""Clients of the kernel, sync and async. Results are the kernel's own types, errors its own classes."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, AsyncIterator, Generator, Iterator, Sequence
from types import TracebackType
from typing import Any, Literal, Self, TypeVar, overload

import anyio
import httpx
import msgspec

from aios.errors import AiosError, CoreProtocolError, CoreTimeout
from aios.events import AnyEvent
from aios.sdk import wire
from aios.sdk.wire import Address, MessageLike, Request
from aios.syscalls import (
    Completion,
    Delta,
    Embeddings,
    Exit,
    Nice,
    ProcessInfo,
    ProcessList,
    Ps,
    Result,
    SendSignal,
    Signal,
    Spawn,
    Syscall,
)

T = TypeVar("T")

TIMEOUT = httpx.Timeout(600.0, connect=5.0)
"""A call may wait long for its turn: that is what the kernel is for."""

RETRIES = 3
AGAIN = frozenset({429, 502, 503})


def _pause(attempt: int, retry_after: str | None) -> float:
    """Seconds before another try."""
    if retry_after and retry_after.isdigit():
        return min(60.0, float(retry_after))
    return 0.5 * 2.0**attempt


def _signal(pid: int, signal: Signal, reason: str) -> SendSignal:
    return SendSignal(pid=pid, signal=signal, reason=reason)


class AsyncClient:
    """Talks to a kernel (or any OpenAI-compatible endpoint) as one agent.

    `base_url`, `api_key` and `agent` default to the environment, then to this user's daemon. Use as an async
    context manager, or `await close()`. Broken connections and 429/502/503 are tried again with the same
    idempotency key, so nothing runs twice. Raises the kernel's errors (aios.errors)."""

    def __init__(
        self,
        base_url: str | None = None,
        *,
        api_key: str | None = None,
        agent: str | None = None,
        retries: int = RETRIES,
        timeout: httpx.Timeout | float = TIMEOUT,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self.address = Address.find(base_url, api_key, agent)
        self._retries = retries
        limits = httpx.Limits(max_connections=None, max_keepalive_connections=None)
        self._http = httpx.AsyncClient(
            base_url=self.address.url, headers=self.address.headers(), timeout=timeout, limits=limits,
            transport=transport, trust_env=False,
        )  # fmt: skip

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        await self._http.aclose()

    # -- models ------------------------------------------------------------------------------------

    @overload
    async def chat(
        self, messages: Sequence[MessageLike], *, stream: Literal[False] = False, **options: Any
    ) -> Completion: ...
    @overload
    async def chat(
        self, messages: Sequence[MessageLike], *, stream: Literal[True], **options: Any
    ) -> AsyncIterator[Delta]: ...
    async def chat(
        self, messages: Sequence[MessageLike], *, stream: bool = False, **options: Any
    ) -> Completion | AsyncIterator[Delta]:
        """Go on with a conversation. `options`: those of the OpenAI API (model, tools, tool_choice,
        response_format, temperature, max_tokens, stop, n, seed, …) and the kernel's (priority, deadline_s,
        idempotency_key). With `stream` an iterator of deltas, else the whole answer."""
        request = wire.chat(messages, options, stream=stream)
        return self._deltas(request) if stream else wire.completion(await self._send(request))

    async def complete(self, prompt: str | Sequence[int], **options: Any) -> Completion:
        """Go on with a text. Options as of `chat`."""
        return wire.completion(await self._send(wire.text(prompt, options, stream=False)))

    async def embed(self, inputs: Sequence[str], model: str = "") -> Embeddings:
        """One vector a text."""
        return wire.embeddings(await self._send(wire.embed(inputs, model)))

    async def models(self) -> list[str]:
        """Names of the models that are served."""
        told = msgspec.json.decode(await self._send(Request("GET", "/v1/models")))
        return [row["id"] for row in told["data"]]

    # -- processes ---------------------------------------------------------------------------------

    async def syscall(self, call: Syscall) -> Result:
        """Any syscall, as this client's process."""
        body = msgspec.to_builtins(call)
        data = await self._send(Request("POST", "/aios/v1/syscalls", body, retriable=isinstance(call, Ps)))
        return msgspec.json.decode(data, type=Result)

    async def processes(self, *, all: bool = False) -> tuple[ProcessInfo, ...]:
        """Live processes; `all`: exited ones too."""
        query = "?all=true" if all else ""
        data = await self._send(Request("GET", f"/aios/v1/processes{query}"))
        return msgspec.json.decode(data, type=ProcessList).processes

    async def spawn(self, name: str, **options: Any) -> ProcessInfo:
        """Make a child process (options: fields of `Spawn`)."""
        return _info(await self.syscall(Spawn(name=name, **options)))

    async def kill(self, pid: int, reason: str = "") -> ProcessInfo:
        return _info(await self.syscall(_signal(pid, "kill", reason)))

    async def pause(self, pid: int, reason: str = "") -> ProcessInfo:
        return _info(await self.syscall(_signal(pid, "pause", reason)))

    async def resume(self, pid: int) -> ProcessInfo:
        return _info(await self.syscall(_signal(pid, "resume", "")))

    async def nice(self, pid: int, nice: int) -> ProcessInfo:
        return _info(await self.syscall(Nice(pid=pid, nice=nice)))

    async def exit(self, status: int = 0) -> ProcessInfo:
        """This client's process is done; its contexts are freed."""
        return _info(await self.syscall(Exit(status=status)))

    async def status(self) -> dict[str, Any]:
        """What the kernel says of itself."""
        return msgspec.json.decode(await self._send(Request("GET", "/aios/v1/status")))

    async def events(self, pid: int | None = None) -> AsyncGenerator[AnyEvent, None]:
        """The kernel's events from now on; `pid`: of one process."""
        path = "/aios/v1/events" + (f"?pid={pid}" if pid is not None else "")
        async for data in self._stream(Request("GET", path), httpx.Timeout(5.0, read=None)):
            yield msgspec.json.decode(data, type=AnyEvent)

    # -- transport ---------------------------------------------------------------------------------

    async def _send(self, request: Request) -> bytes:
        attempt = 0
        while True:
            again = request.retriable and attempt < self._retries
            retry_after: str | None = None
            try:
                response = await self._http.request(request.method, request.path, json=request.body)
                retry_after = response.headers.get("retry-after")
                if response.status_code not in AGAIN or not again:
                    wire.raise_for(response.status_code, response.content, retry_after)
                    return response.content
            except httpx.TimeoutException as error:
                raise CoreTimeout(f"No answer in time ({error!r}).", "Raise the client's timeout.") from error
            except httpx.TransportError as error:
                if not again:
                    raise wire.unreachable(self.address.url, error) from error
            await anyio.sleep(_pause(attempt, retry_after))
            attempt += 1

    async def _deltas(self, request: Request) -> AsyncGenerator[Delta, None]:
        stream = wire.Stream()
        async for data in self._stream(request, TIMEOUT):
            for delta in stream.feed(data):
                yield delta
        if not stream.done:
            raise CoreProtocolError("The stream ended before the answer did.", "Send the call again.")

    async def _stream(self, request: Request, patience: httpx.Timeout) -> AsyncGenerator[str, None]:
        events = wire.Events()
        try:
            async with self._http.stream(
                request.method, request.path, json=request.body, timeout=patience
            ) as response:
                if response.status_code >= 400:
                    body = await response.aread()
                    wire.raise_for(response.status_code, body, response.headers.get("retry-after"))
                async for line in response.aiter_lines():
                    if (data := events.feed(line)) is not None:
                        yield data
        except httpx.TimeoutException as error:
            raise CoreTimeout(f"The stream stalled ({error!r}).", "Raise the client's timeout.") from error
        except httpx.TransportError as error:
            raise wire.unreachable(self.address.url, error) from error


class Client:
    """The synchronous client: see AsyncClient, whose methods it has. Safe to use from several threads."""

    def __init__(
        self,
        base_url: str | None = None,
        *,
        api_key: str | None = None,
        agent: str | None = None,
        retries: int = RETRIES,
        timeout: httpx.Timeout | float = TIMEOUT,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        self.address = Address.find(base_url, api_key, agent)
        self._retries = retries
        self._http = httpx.Client(
            base_url=self.address.url, headers=self.address.headers(), timeout=timeout, transport=transport,
            trust_env=False,
        )  # fmt: skip

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        self._http.close()

    @overload
    def chat(
        self, messages: Sequence[MessageLike], *, stream: Literal[False] = False, **options: Any
    ) -> Completion: ...
    @overload
    def chat(
        self, messages: Sequence[MessageLike], *, stream: Literal[True], **options: Any
    ) -> Iterator[Delta]: ...
    def chat(
        self, messages: Sequence[MessageLike], *, stream: bool = False, **options: Any
    ) -> Completion | Iterator[Delta]:
        """Go on with a conversation: see AsyncClient.chat."""
        request = wire.chat(messages, options, stream=stream)
        return self._deltas(request) if stream else wire.completion(self._send(request))

    def complete(self, prompt: str | Sequence[int], **options: Any) -> Completion:
        return wire.completion(self._send(wire.text(prompt, options, stream=False)))

    def embed(self, inputs: Sequence[str], model: str = "") -> Embeddings:
        return wire.embeddings(self._send(wire.embed(inputs, model)))

    def models(self) -> list[str]:
        told = msgspec.json.decode(self._send(Request("GET", "/v1/models")))
        return [row["id"] for row in told["data"]]

    def syscall(self, call: Syscall) -> Result:
        body = msgspec.to_builtins(call)
        data = self._send(Request("POST", "/aios/v1/syscalls", body, retriable=isinstance(call, Ps)))
        return msgspec.json.decode(data, type=Result)

    def processes(self, *, all: bool = False) -> tuple[ProcessInfo, ...]:
        query = "?all=true" if all else ""
        data = self._send(Request("GET", f"/aios/v1/processes{query}"))
        return msgspec.json.decode(data, type=ProcessList).processes

    def spawn(self, name: str, **options: Any) -> ProcessInfo:
        return _info(self.syscall(Spawn(name=name, **options)))

    def kill(self, pid: int, reason: str = "") -> ProcessInfo:
        return _info(self.syscall(_signal(pid, "kill", reason)))

    def pause(self, pid: int, reason: str = "") -> ProcessInfo:
        return _info(self.syscall(_signal(pid, "pause", reason)))

    def resume(self, pid: int) -> ProcessInfo:
        return _info(self.syscall(_signal(pid, "resume", "")))

    def nice(self, pid: int, nice: int) -> ProcessInfo:
        return _info(self.syscall(Nice(pid=pid, nice=nice)))

    def exit(self, status: int = 0) -> ProcessInfo:
        return _info(self.syscall(Exit(status=status)))

    def status(self) -> dict[str, Any]:
        return msgspec.json.decode(self._send(Request("GET", "/aios/v1/status")))

    def events(self, pid: int | None = None) -> Generator[AnyEvent]:
        path = "/aios/v1/events" + (f"?pid={pid}" if pid is not None else "")
        for data in self._stream(Request("GET", path), httpx.Timeout(5.0, read=None)):
            yield msgspec.json.decode(data, type=AnyEvent)

    def request(self, request: Request) -> bytes:
        """Send any request of the kernel's API. Raises AiosError."""
        return self._send(request)

    def _send(self, request: Request) -> bytes:
        attempt = 0
        while True:
            again = request.retriable and attempt < self._retries
            retry_after: str | None = None
            try:
                response = self._http.request(request.method, request.path, json=request.body)
                retry_after = response.headers.get("retry-after")
                if response.status_code not in AGAIN or not again:
                    wire.raise_for(response.status_code, response.content, retry_after)
                    return response.content
            except httpx.TimeoutException as error:
                raise CoreTimeout(f"No answer in time ({error!r}).", "Raise the client's timeout.") from error
            except httpx.TransportError as error:
                if not again:
                    raise wire.unreachable(self.address.url, error) from error
            time.sleep(_pause(attempt, retry_after))
            attempt += 1

    def _deltas(self, request: Request) -> Generator[Delta]:
        stream = wire.Stream()
        for data in self._stream(request, TIMEOUT):
            yield from stream.feed(data)
        if not stream.done:
            raise CoreProtocolError("The stream ended before the answer did.", "Send the call again.")

    def _stream(self, request: Request, patience: httpx.Timeout) -> Generator[str]:
        events = wire.Events()
        try:
            with self._http.stream(
                request.method, request.path, json=request.body, timeout=patience
            ) as response:
                if response.status_code >= 400:
                    wire.raise_for(response.status_code, response.read(), response.headers.get("retry-after"))
                for line in response.iter_lines():
                    if (data := events.feed(line)) is not None:
                        yield data
        except httpx.TimeoutException as error:
            raise CoreTimeout(f"The stream stalled ({error!r}).", "Raise the client's timeout.") from error
        except httpx.TransportError as error:
            raise wire.unreachable(self.address.url, error) from error


def _info(result: Result) -> ProcessInfo:
    if not isinstance(result, ProcessInfo):
        raise AiosError("The kernel answered another question.", "Are client and kernel of one version?")
    return result
