"""Clients of the kernel, sync and async. Results are the kernel's own types, errors its own classes."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Generator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType
from typing import Any, Literal, Self, TypeVar, overload

import anyio
import httpx

from aios.errors import AiosError
from aios.events import AnyEvent
from aios.sdk import requests, toolruns
from aios.sdk.access import Approvals, AsyncApprovals
from aios.sdk.address import Address
from aios.sdk.answers import decoded
from aios.sdk.files import AsyncFiles, Files
from aios.sdk.memory import AsyncMemory, Memory
from aios.sdk.requests import MessageLike, Request
from aios.sdk.stream import AsyncDeltas, Deltas, EventLines
from aios.sdk.toolruns import ToolLike
from aios.sdk.tools import AsyncTools, Tools
from aios.sdk.transport import ENDLESS, RETRIES, TIMEOUT, Tries, checked, failures_told
from aios.syscalls import (
    Call,
    Completion,
    ContextInfo,
    DeclarePlan,
    Embeddings,
    Exit,
    GroupInfo,
    Nice,
    PlanStep,
    ProcessInfo,
    Spawn,
)
from aios.syscalls.toolruns import ToolRun

T = TypeVar("T")


class AsyncClient:
    """Talks to a kernel (or any OpenAI-compatible endpoint) as one agent.

    `base_url`, `api_key` and `agent` default to the environment, then to this user's daemon. Use as an async
    context manager, or `await close()`. `options`: of `chat` and `complete`, for all calls that don't say
    otherwise (priority, scheduling_class, policy, deadline_s, …). Broken connections and 429/502/503 are tried
    again with the same idempotency key, so nothing runs twice. Raises the kernel's errors (aios.errors).

    `memory` and `files` are what the agent knows and keeps."""

    def __init__(
        self,
        base_url: str | None = None,
        *,
        api_key: str | None = None,
        agent: str | None = None,
        options: Mapping[str, Any] | None = None,
        retries: int = RETRIES,
        timeout: httpx.Timeout | float = TIMEOUT,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self.address = Address.find(base_url, api_key, agent)
        self._options, self._retries = dict(options or {}), retries
        self.memory, self.files = AsyncMemory(self.request), AsyncFiles(self.request)
        limits = httpx.Limits(max_connections=None, max_keepalive_connections=None)
        self._http = httpx.AsyncClient(
            base_url=self.address.url, headers=self.address.headers(), timeout=timeout, limits=limits,
            transport=transport, trust_env=False,
        )  # fmt: skip
        self.approvals = AsyncApprovals(self)
        self.tools = AsyncTools(self)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        await self._http.aclose()

    @overload
    async def chat(
        self, messages: Sequence[MessageLike], *, stream: Literal[False] = False, **options: Any
    ) -> Completion: ...
    @overload
    async def chat(
        self, messages: Sequence[MessageLike], *, stream: Literal[True], **options: Any
    ) -> AsyncDeltas: ...
    async def chat(
        self, messages: Sequence[MessageLike], *, stream: bool = False, **options: Any
    ) -> Completion | AsyncDeltas:
        """Go on with a conversation. `options`: those of the OpenAI API (model, tools, tool_choice,
        response_format, temperature, max_tokens, stop, n, seed, …) and the kernel's (priority, deadline_s,
        idempotency_key). With `stream` an iterator of deltas, else the whole answer."""
        request = requests.chat(messages, {**self._options, **options})
        return AsyncDeltas(self.lines(request.streamed())) if stream else await self.request(request)

    async def complete(self, prompt: str | Sequence[int], **options: Any) -> Completion:
        """Go on with a text. Options as of `chat`."""
        return await self.request(requests.text(prompt, {**self._options, **options}))

    async def run_tools(
        self,
        messages: Sequence[MessageLike],
        tools: Sequence[ToolLike] = (),
        *,
        max_turns: int = 8,
        **options: Any,
    ) -> ToolRun:
        """Ask a model, run the `tools` that it calls (functions made by `@tool`, names of the kernel's tools;
        none: all of the kernel's), and ask it again, until it has its answer. Options as of `chat`."""
        options = {**self._options, **options}
        request = toolruns.whole(messages, tools, max_turns, options)
        if request is not None:
            return await self.request(request)
        return await toolruns.run(self.request, messages, tools, max_turns, options)

    async def embed(self, inputs: Sequence[str], model: str = "") -> Embeddings:
        """One vector a text."""
        return await self.request(requests.embed(inputs, model))

    async def models(self) -> list[str]:
        """Names of the models that are served."""
        return await self.request(requests.models())

    async def syscall(self, call: Call[T]) -> T:
        """Any syscall, as this client's process; answered by what its type says."""
        return await self.request(requests.syscall(call))

    async def processes(self, *, all: bool = False) -> tuple[ProcessInfo, ...]:
        """Live processes; `all`: exited ones too."""
        return await self.request(requests.processes(all=all))

    async def spawn(self, name: str, **options: Any) -> ProcessInfo:
        """Make a child process (options: fields of `Spawn`)."""
        return await self.request(requests.process(Spawn(name=name, **options)))

    async def fork(self, name: str, **options: Any) -> AsyncClient:
        """A client of a child process of this one (options: fields of `Spawn`). It may go on from the same
        conversation: what the two have in common is computed once."""
        child = self.address.child(name)
        await self.spawn(child.agent, **options)
        return AsyncClient(
            child.url, api_key=child.key, agent=child.agent, options=self._options, retries=self._retries
        )

    async def plan(self, steps: Sequence[PlanStep]) -> ProcessInfo:
        """Say what this client's program will do, so that the scheduler knows what is left of it and which
        calls hold up others. A call says which step it is by `step=`; else it is the next one that can be
        done."""
        return await self.request(requests.process(DeclarePlan(steps=tuple(steps))))

    async def kill(self, pid: int, reason: str = "") -> ProcessInfo:
        """End a process and its children; their calls fail at once."""
        return await self.request(requests.signal(pid, "kill", reason))

    async def pause(self, pid: int, reason: str = "") -> ProcessInfo:
        """Hold the calls of a process; running ones leave their slots and lose nothing."""
        return await self.request(requests.signal(pid, "pause", reason))

    async def resume(self, pid: int) -> ProcessInfo:
        """Let a paused process go on."""
        return await self.request(requests.signal(pid, "resume"))

    async def nice(self, pid: int, nice: int) -> ProcessInfo:
        """-20 (most favoured) to 19."""
        return await self.request(requests.process(Nice(pid=pid, nice=nice)))

    async def exit(self, status: int = 0) -> ProcessInfo:
        """This client's process is done; its contexts are freed."""
        return await self.request(requests.process(Exit(status=status)))

    async def status(self) -> dict[str, Any]:
        """What the kernel says of itself."""
        return await self.request(requests.status())

    async def trace(self) -> dict[str, Any]:
        """The kernel's newest events as a timeline in Chrome's trace format."""
        return await self.request(requests.trace())

    async def set_policy(self, policy: str, core: str = "") -> dict[str, Any]:
        """Order the calls of a core ("": of all) by another policy; the kernel's status then."""
        return await self.request(requests.set_policy(policy, core))

    async def context(self, pid: int) -> ContextInfo:
        """What the window of a process's last call holds, in tokens."""
        return await self.request(requests.context(pid))

    async def groups(self) -> tuple[GroupInfo, ...]:
        """Groups with limits, and what is used of them."""
        return await self.request(requests.groups())

    async def set_group(self, name: str, **limits: Any) -> GroupInfo:
        """Change limits of a group (fields of `[[groups]]`): those that are named; None takes one away."""
        return await self.request(requests.set_group(name, limits))

    async def events(self, pid: int | None = None) -> AsyncGenerator[AnyEvent, None]:
        """The kernel's events from now on; `pid`: of one process."""
        async for data in self.lines(requests.events(pid), ENDLESS):
            yield decoded(data, AnyEvent)

    async def request(self, request: Request[T]) -> T:
        """Send any request of the kernel's API. Raises AiosError."""
        tries = Tries(self._retries, repeatable=request.repeatable)
        while True:
            try:
                with failures_told(self.address.url):
                    response = await self._http.request(
                        request.method, request.path, json=request.body, content=request.content
                    )
                return request.read(checked(response))
            except AiosError as error:
                await anyio.sleep(tries.pause(error))

    async def lines(
        self, request: Request[Any], patience: httpx.Timeout = TIMEOUT
    ) -> AsyncGenerator[str, None]:
        """The data of each event of a stream, as it comes. Raises AiosError."""
        events = EventLines()
        with failures_told(self.address.url):
            async with self._http.stream(
                request.method, request.path, json=request.body, timeout=patience
            ) as response:
                if response.is_error:
                    await response.aread()
                    checked(response)
                async for line in response.aiter_lines():
                    if (data := events.feed(line)) is not None:
                        yield data


class Client:
    """The synchronous client: see AsyncClient, whose methods it has. Safe to use from several threads."""

    def __init__(
        self,
        base_url: str | None = None,
        *,
        api_key: str | None = None,
        agent: str | None = None,
        options: Mapping[str, Any] | None = None,
        retries: int = RETRIES,
        timeout: httpx.Timeout | float = TIMEOUT,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        self.address = Address.find(base_url, api_key, agent)
        self._options, self._retries = dict(options or {}), retries
        self.memory, self.files = Memory(self.request), Files(self.request)
        self._http = httpx.Client(
            base_url=self.address.url, headers=self.address.headers(), timeout=timeout, transport=transport,
            trust_env=False,
        )  # fmt: skip
        self.approvals = Approvals(self)
        self.tools = Tools(self)

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
    def chat(self, messages: Sequence[MessageLike], *, stream: Literal[True], **options: Any) -> Deltas: ...
    def chat(
        self, messages: Sequence[MessageLike], *, stream: bool = False, **options: Any
    ) -> Completion | Deltas:
        request = requests.chat(messages, {**self._options, **options})
        return Deltas(self.lines(request.streamed())) if stream else self.request(request)

    def complete(self, prompt: str | Sequence[int], **options: Any) -> Completion:
        return self.request(requests.text(prompt, {**self._options, **options}))

    def run_tools(
        self,
        messages: Sequence[MessageLike],
        tools: Sequence[ToolLike] = (),
        *,
        max_turns: int = 8,
        **options: Any,
    ) -> ToolRun:
        options = {**self._options, **options}
        request = toolruns.whole(messages, tools, max_turns, options)
        if request is not None:
            return self.request(request)
        send = toolruns.blocking(self.request)
        with ThreadPoolExecutor(1) as thread:  # whose event loop is free, whatever runs in this one
            return thread.submit(anyio.run, toolruns.run, send, messages, tools, max_turns, options).result()

    def embed(self, inputs: Sequence[str], model: str = "") -> Embeddings:
        return self.request(requests.embed(inputs, model))

    def models(self) -> list[str]:
        return self.request(requests.models())

    def syscall(self, call: Call[T]) -> T:
        return self.request(requests.syscall(call))

    def processes(self, *, all: bool = False) -> tuple[ProcessInfo, ...]:
        return self.request(requests.processes(all=all))

    def spawn(self, name: str, **options: Any) -> ProcessInfo:
        return self.request(requests.process(Spawn(name=name, **options)))

    def fork(self, name: str, **options: Any) -> Client:
        child = self.address.child(name)
        self.spawn(child.agent, **options)
        return Client(
            child.url, api_key=child.key, agent=child.agent, options=self._options, retries=self._retries
        )

    def plan(self, steps: Sequence[PlanStep]) -> ProcessInfo:
        return self.request(requests.process(DeclarePlan(steps=tuple(steps))))

    def kill(self, pid: int, reason: str = "") -> ProcessInfo:
        return self.request(requests.signal(pid, "kill", reason))

    def pause(self, pid: int, reason: str = "") -> ProcessInfo:
        return self.request(requests.signal(pid, "pause", reason))

    def resume(self, pid: int) -> ProcessInfo:
        return self.request(requests.signal(pid, "resume"))

    def nice(self, pid: int, nice: int) -> ProcessInfo:
        return self.request(requests.process(Nice(pid=pid, nice=nice)))

    def exit(self, status: int = 0) -> ProcessInfo:
        return self.request(requests.process(Exit(status=status)))

    def status(self) -> dict[str, Any]:
        return self.request(requests.status())

    def trace(self) -> dict[str, Any]:
        return self.request(requests.trace())

    def set_policy(self, policy: str, core: str = "") -> dict[str, Any]:
        return self.request(requests.set_policy(policy, core))

    def context(self, pid: int) -> ContextInfo:
        return self.request(requests.context(pid))

    def groups(self) -> tuple[GroupInfo, ...]:
        return self.request(requests.groups())

    def set_group(self, name: str, **limits: Any) -> GroupInfo:
        return self.request(requests.set_group(name, limits))

    def events(self, pid: int | None = None) -> Generator[AnyEvent]:
        for data in self.lines(requests.events(pid), ENDLESS):
            yield decoded(data, AnyEvent)

    def request(self, request: Request[T]) -> T:
        """Send any request of the kernel's API. Raises AiosError."""
        tries = Tries(self._retries, repeatable=request.repeatable)
        while True:
            try:
                with failures_told(self.address.url):
                    response = self._http.request(
                        request.method, request.path, json=request.body, content=request.content
                    )
                return request.read(checked(response))
            except AiosError as error:
                time.sleep(tries.pause(error))

    def lines(self, request: Request[Any], patience: httpx.Timeout = TIMEOUT) -> Generator[str]:
        events = EventLines()
        with (
            failures_told(self.address.url),
            self._http.stream(request.method, request.path, json=request.body, timeout=patience) as response,
        ):
            if response.is_error:
                response.read()
                checked(response)
            for line in response.iter_lines():
                if (data := events.feed(line)) is not None:
                    yield data
