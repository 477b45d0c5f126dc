"""AIOS: an operating system for LLM agents.

`from aios import Kernel, Client, AsyncClient, Agent, ReAct, PlanStep, tool, Settings`: each is imported when it
is first used, so that `import aios` costs nothing.
"""

from __future__ import annotations

from importlib import import_module
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from aios.config import Settings
    from aios.kernel.kernel import Kernel
    from aios.sdk.agent import Agent
    from aios.sdk.agents.react import ReAct
    from aios.sdk.client import AsyncClient, Client
    from aios.sdk.tool import tool
    from aios.syscalls import PlanStep

__all__ = ["Agent", "AsyncClient", "Client", "Kernel", "PlanStep", "ReAct", "Settings", "tool"]


def __getattr__(name: str) -> Any:
    homes = {
        "Kernel": "aios.kernel.kernel",
        "Settings": "aios.config",
        "Client": "aios.sdk.client",
        "AsyncClient": "aios.sdk.client",
        "Agent": "aios.sdk.agent",
        "ReAct": "aios.sdk.agents.react",
        "PlanStep": "aios.syscalls",
        "tool": "aios.sdk.tool",
    }
    if name == "__version__":
        return version("aios")
    if name not in homes:
        raise AttributeError(f"module 'aios' has no attribute {name!r}")
    return getattr(import_module(homes[name]), name)
