"""Memory and files as tools of an agent that runs its own. The kernel offers the same by the same names."""

from __future__ import annotations

from typing import Protocol, TypeVar

from aios.sdk.tool import Tool
from aios.syscalls import Call
from aios.tools.knowledge import OF_FILES, OF_MEMORY

R = TypeVar("R")


class Syscalls(Protocol):
    """Makes syscalls as an agent: AsyncClient."""

    async def syscall(self, call: Call[R]) -> R: ...


def memory_tools(client: Syscalls) -> list[Tool]:
    """`remember`, `recall`, `add_memory`, `read_memory`, `edit_memory`, `memory_blocks`."""
    return [Tool(function, given={"trap": client.syscall}) for function in OF_MEMORY]


def file_tools(client: Syscalls) -> list[Tool]:
    """`list_files`, `read_file`, `write_file`, `append_file`, `move_file`, `delete_file`, `find_files`."""
    return [Tool(function, given={"trap": client.syscall}) for function in OF_FILES]
