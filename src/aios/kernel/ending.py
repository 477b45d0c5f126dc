"""How a call ended: told once, whatever became of it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from types import TracebackType

from aios.errors import AiosError, Cancelled


class Ending:
    """`with Ending(over):` encloses all of a call. `over(error)` is told how it ended, by the code that journal
    and events name it by: "" for a result, the error's own, that of `Cancelled` when its caller went away."""

    __slots__ = ("_over",)

    def __init__(self, over: Callable[[str], None]) -> None:
        self._over = over

    def __enter__(self) -> None:
        pass

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over("" if error is None else _code(error))


def _code(error: BaseException) -> str:
    if isinstance(error, AiosError):
        return error.code
    gone = isinstance(error, asyncio.CancelledError | GeneratorExit)
    return Cancelled.code if gone else AiosError.code
