"""One llm syscall under way: what kills, deadlines and the drain take hold of.

A call runs in its caller's own task; there is no task a call. So it can be interrupted only while that task is
inside the call (waiting for a slot or a token), never while the caller does something else between two tokens.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from types import TracebackType
from typing import Any

from aios.errors import AiosError, DeadlineExceeded


class Active:
    """`with active:` encloses each wait of the call; in it, `end(fate)` makes `fate` be raised.

    Of its sequences `waiting` are ready for a slot and `seated` have one; the process table counts them.
    `arrival` and `since` are of the monotonic clock: when the call came, and since when none has a slot."""

    __slots__ = (
        "_baseline", "_loop", "_task", "_tasks", "_timer", "arrival", "counts", "fate", "id", "kind", "seated",
        "since", "steps", "waiting",
    )  # fmt: skip

    def __init__(
        self, id: int, kind: str, arrival: float, tasks: asyncio.TaskGroup, loop: asyncio.AbstractEventLoop
    ) -> None:
        self.id, self.kind, self.arrival, self.since = id, kind, arrival, arrival
        self.waiting = self.seated = 0
        self.fate: AiosError | None = None
        self.steps: AsyncGenerator[Any, None] | None = None
        """What the call reads from its core."""
        self._tasks, self._loop = tasks, loop
        self._task: asyncio.Task[Any] | None = None
        self.counts = True
        """It is one of the calls that its process made."""
        self._baseline = 0
        self._timer: asyncio.TimerHandle | None = None

    def end_after(self, seconds: float) -> None:
        """The call has so long from now."""
        fate = DeadlineExceeded(
            f"The call was not done within its {seconds:g} s.", "Give it more time, or ask for less."
        )
        self._timer = self._loop.call_later(max(0.0, seconds), self.end, fate)

    def over(self) -> None:
        """No fate can reach it any more."""
        self.steps = None
        if self._timer is not None:
            self._timer.cancel()

    def end(self, fate: AiosError) -> None:
        """Make the call fail with `fate`, and free its slots. Only the first fate counts."""
        if self.fate is not None:
            return
        self.fate = fate
        if self._task is not None:
            self._task.cancel()
        elif self.steps is not None:
            # Its caller is busy elsewhere and may never come back: the slots must not wait for that.
            self._tasks.create_task(_close(self.steps), name=f"end of call {self.id}")

    def __enter__(self) -> None:
        if self.fate is not None:
            raise self.fate
        task = asyncio.current_task(self._loop)  # without it the loop is looked for, by a system call
        assert task is not None
        self._task, self._baseline = task, task.cancelling()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        task, self._task = self._task, None
        if self.fate is None or task is None:
            return
        # The task was cancelled to get it out of here; that is taken back, as asyncio.timeout does. If it
        # was cancelled by others as well, that goes on.
        left = task.uncancel()
        if left <= self._baseline and (kind is None or issubclass(kind, asyncio.CancelledError)):
            raise self.fate from None


async def _close(steps: AsyncGenerator[Any, None]) -> None:
    await steps.aclose()
