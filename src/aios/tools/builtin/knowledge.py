"""Memory and files of the calling agent: its own syscalls, so the rules for those hold here too."""

from __future__ import annotations

import hashlib
from itertools import count
from typing import Any, Protocol, TypeVar

import msgspec

from aios.errors import AiosError, Cancelled, ToolError
from aios.syscalls import Call, Trap
from aios.syscalls.tools import KERNEL
from aios.tools.knowledge import OF_FILES, OF_MEMORY, READERS
from aios.tools.tool import Body, Bound, Context, bind

R = TypeVar("R")
WAITS_S = 30 * 86_400.0
"""What an access rule asks a person about takes as long as that: `approval_ttl_s` ends it, not the tool."""


class TrapOf(Protocol):
    """Makes a syscall for a process."""

    async def __call__(self, pid: int, call: Call[R], /) -> R: ...


def knowledge_tools(trap: TrapOf) -> list[Bound]:
    """All of them; each makes its syscalls for the process that called it."""

    def own(context: Context) -> Trap:
        pid, key, numbers = context.caller.pid, context.caller.key, count(1)

        async def once(call: Call[R], /) -> R:
            """Under a key that follows from the tool's: made again after a crash, it happens once."""
            if key and getattr(call, "idempotency_key", "") is None:
                named = f"tool {next(numbers)} {hashlib.sha256(key.encode()).hexdigest()}"
                call = msgspec.structs.replace(call, idempotency_key=named)
            return await trap(pid, call)

        return once

    found: list[Bound] = []
    for function in (*OF_MEMORY, *OF_FILES):
        effect = "pure" if function in READERS else "idempotent"  # by the keys of its syscalls
        bound = bind(function, given={"trap": own}, effect=effect, provider=KERNEL, timeout_s=WAITS_S)
        found.append(Bound(bound.tool, _mendable(bound)))
    return found


def _mendable(bound: Bound) -> Body:
    """What the kernel refuses comes back as what a model can mend its call by."""

    async def run(context: Context, arguments: dict[str, Any]) -> Any:
        try:
            return await bound.body(context, arguments)
        except (ToolError, Cancelled):
            raise
        except AiosError as error:
            if error.status >= 500:
                raise  # not the call's fault: another one would not help
            raise ToolError(f"{bound.tool.name} failed: {error.what}", error.mend) from error

    return run
