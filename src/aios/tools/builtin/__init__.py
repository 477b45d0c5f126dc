"""The tools that come with AIOS. They work offline but for `web`, which is off until hosts are allowed."""

from __future__ import annotations

from aios.syscalls.tools import Profile
from aios.tools.builtin.boxed import BoxedTools
from aios.tools.builtin.calculator import calculator
from aios.tools.builtin.clock import clock
from aios.tools.builtin.knowledge import TrapOf, knowledge_tools
from aios.tools.builtin.results import Results
from aios.tools.builtin.web import Web
from aios.tools.tool import Bound


def builtin_tools(
    *, profile: Profile | None = None, hosts: tuple[str, ...] = (), trap: TrapOf | None = None,
    result_chars: int = 20_000,
) -> list[Bound]:  # fmt: skip
    """All of them. `profile`: limits of what runs in a box. `hosts`: those that may be fetched from;
    without any the web tools are left out. `trap`: makes syscalls; without it memory and files are left
    out. `result_chars`: as of the tool manager."""
    web = Web(hosts).tools() if hosts else []
    known = knowledge_tools(trap) if trap else []
    boxed = BoxedTools(profile or Profile()).tools()
    return [calculator, clock, *Results(result_chars).tools(), *boxed, *known, *web]
