"""A kernel that says what a test tells it to, behind the real server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import msgspec
import pytest

from aios.access.keys import KeyRing
from aios.config import Settings, parse
from aios.errors import AiosError, NotFound
from aios.events import EventBus, KernelChanged
from aios.server.app import create_app
from aios.syscalls import (
    Choice,
    Completion,
    Delta,
    Embed,
    Embeddings,
    Generate,
    Nice,
    ProcessInfo,
    SendSignal,
    Spawn,
    ToolCall,
    Usage,
)


class FakeProcesses:
    def __init__(self) -> None:
        self._table: dict[int, ProcessInfo] = {}

    def attach(self, name: str, *, group: str = "default", own: bool = False) -> int:
        for info in self._table.values():
            if (info.name, info.group) == (name, group):
                return info.pid
        return self.add(name, group)

    def add(self, name: str, group: str, parent: int = 0) -> int:
        pid = len(self._table) + 1
        self._table[pid] = ProcessInfo(pid=pid, name=name, parent=parent, group=group, state="idle")
        return pid

    def info(self, pid: int) -> ProcessInfo:
        if pid not in self._table:
            raise NotFound(f"There is no process {pid}.")
        return self._table[pid]

    def get(self, pid: int) -> ProcessInfo:
        return self.info(pid)

    def list(self, all: bool = False) -> tuple[ProcessInfo, ...]:
        return tuple(self._table.values())


class FakeKernel:
    """Answers each call with `script`: a Delta is yielded, an error raised, an Event awaited."""

    def __init__(self, settings: Settings, keys: KeyRing) -> None:
        self.settings = settings
        self.keys = keys
        self.bus = EventBus()
        self.processes = FakeProcesses()
        self.ready = True
        self.draining = False
        self.script: list[Delta | AiosError | asyncio.Event] = [
            Delta(content="Hello"),
            Delta(content=" world"),
        ]
        self.tool_calls: tuple[ToolCall, ...] = ()
        self.made: list[tuple[str, Any]] = []
        """(process name, syscall) of each call."""
        self.noted: list[tuple[str, str]] = []
        self.guard = SimpleNamespace(note=lambda _, action, resource: self.noted.append((action, resource)))
        """What administrators did."""
        self.called = asyncio.Event()
        self.cancelled = asyncio.Event()
        self.drained = asyncio.Event()

    def models(self) -> tuple[Any, ...]:
        return (SimpleNamespace(id="tiny", core="main", kind="scripted", window=4096, embeddings=True),)

    def status(self) -> Any:
        return msgspec.defstruct("Status", [("version", str)])("1.2.3")

    def drain(self) -> None:
        self.draining = True
        self.drained.set()
        self.bus.publish(KernelChanged(state="draining"))

    async def trap(self, pid: int, call: Any) -> Any:
        match call:
            case Generate():
                async for step in self.stream(pid, call):
                    last = step
                return last
            case Embed():
                vectors = tuple((float(i), 0.5) for i, _ in enumerate(call.inputs))
                return Embeddings(model="tiny", vectors=vectors, usage=Usage(prompt_tokens=3))
            case Spawn():
                return self.processes.info(self.processes.add(call.name, call.group or "default", parent=pid))
            case SendSignal() | Nice():
                self._note(pid, call)
                return self.processes.info(call.pid)

    async def stream(self, pid: int, call: Generate) -> AsyncGenerator[Delta | Completion, None]:
        self._note(pid, call)
        texts: dict[int, str] = {}
        try:
            for step in self.script:
                match step:
                    case AiosError():
                        raise step
                    case asyncio.Event():
                        await step.wait()
                    case Delta():
                        texts[step.choice] = texts.get(step.choice, "") + step.content
                        yield step
        except (asyncio.CancelledError, GeneratorExit):
            self.cancelled.set()
            raise
        deltas = [step for step in self.script if isinstance(step, Delta)]
        done = [
            Choice(
                index=i,
                content=None if self.tool_calls else text,
                tool_calls=self.tool_calls,
                finish_reason="tool_calls" if self.tool_calls else "stop",
                logprobs=tuple(t for delta in deltas if delta.choice == i for t in delta.logprobs),
            )
            for i, text in sorted(texts.items())
        ]
        usage = Usage(prompt_tokens=7, completion_tokens=2, cached_tokens=4)
        yield Completion(id="1", model=call.model or "tiny", created=1, choices=tuple(done), usage=usage)

    def _note(self, pid: int, call: Any) -> None:
        self.made.append((self.processes.info(pid).name, call))
        self.called.set()


class Stand:
    """The server over a fake kernel, and clients of it."""

    def __init__(self, folder: Path, **server: Any) -> None:
        settings = parse({"server": server, "state": {"dir": str(folder)}})
        self.kernel = FakeKernel(settings, KeyRing(folder / "keys.json"))
        self.app = create_app(self.kernel, admin_token="aios-daemon-token")  # type: ignore[arg-type]

    def client(self, key: str = "", peer: str = "127.0.0.1", **headers: str) -> httpx.AsyncClient:
        if key:
            headers["authorization"] = f"Bearer {key}"
        transport = httpx.ASGITransport(self.app, client=(peer, 4711), raise_app_exceptions=False)
        headers = {name.replace("_", "-"): value for name, value in headers.items()}
        return httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:8420", headers=headers)


@pytest.fixture
def make_stand(tmp_path: Path) -> Callable[..., Stand]:
    def make(**server: Any) -> Stand:
        return Stand(tmp_path, **server)

    return make


@pytest.fixture
def stand(make_stand: Any) -> Stand:
    return make_stand()
