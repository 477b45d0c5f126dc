"""What plain language needs of a kernel."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol, TypeVar

from aios.sdk.requests import MessageLike
from aios.syscalls import Completion
from aios.syscalls.base import Call

R = TypeVar("R")


class Calls(Protocol):
    """Does syscalls as one agent: AsyncClient has it."""

    async def syscall(self, call: Call[R]) -> R:
        """Raises AiosError."""
        ...


class Chats(Protocol):
    """Asks a model: AsyncClient has it."""

    async def chat(self, messages: Sequence[MessageLike], **options: Any) -> Completion:
        """Raises AiosError."""
        ...
