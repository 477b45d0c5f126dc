"""An event loop in which waiting takes no time: its clock jumps to whatever comes next."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any


class TimelessLoop(asyncio.SelectorEventLoop):
    """`time()` stands still while anything can run. Only for what waits for nothing from outside."""

    def __init__(self) -> None:
        super().__init__()
        self._now = 1000.0

    def time(self) -> float:
        return self._now

    def _run_once(self) -> None:
        if not self._ready and self._scheduled:
            self._now = max(self._now, min(timer.when() for timer in self._scheduled))
        super()._run_once()


def run(work: Coroutine[Any, Any, None]) -> None:
    with asyncio.Runner(loop_factory=TimelessLoop) as runner:
        runner.run(work)
