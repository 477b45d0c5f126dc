"""Kernels over a scripted core, which says the last user message again, for tests of the kernel."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

from aios.config import Settings, parse
from aios.kernel.kernel import Kernel
from aios.syscalls import Completion, Delta, Generate, Message, ProcessInfo, SendSignal, Spawn


def settings(folder: Path, *, core: dict[str, Any] | None = None, **tables: Any) -> Settings:
    """Of a kernel with one scripted core, `parrot`; `tables` are tables of aios.toml."""
    parrot = {"name": "main", "kind": "scripted", "models": ["parrot"], **(core or {})}
    return parse({"state": {"dir": str(folder)}, "cores": [parrot], "server": {"drain_s": 0}, **tables})


def say(text: str, **fields: Any) -> Generate:
    """The call that is answered by `text`."""
    return Generate(messages=(Message(role="user", content=text),), **fields)


async def ask(kernel: Kernel, pid: int, text: str, **fields: Any) -> Completion:
    done = await kernel.trap(pid, say(text, **fields))
    assert isinstance(done, Completion)
    return done


async def heard(kernel: Kernel, pid: int, call: Generate) -> list[Delta | Completion]:
    return [output async for output in kernel.stream(pid, call)]


async def spawn(kernel: Kernel, parent: int, name: str, **fields: Any) -> ProcessInfo:
    child = await kernel.trap(parent, Spawn(name=name, **fields))
    assert isinstance(child, ProcessInfo)
    return child


async def signal(kernel: Kernel, pid: int, what: Any, *, by: int = 1, **fields: Any) -> ProcessInfo:
    info = await kernel.trap(by, SendSignal(pid=pid, signal=what, **fields))
    assert isinstance(info, ProcessInfo)
    return info


async def until(true: Callable[[], object]) -> None:
    """Wait for what comes soon, a few seconds at most."""
    async with asyncio.timeout(10):
        while not true():
            await asyncio.sleep(0.002)
