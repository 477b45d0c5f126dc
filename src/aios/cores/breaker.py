"""A circuit breaker: while an endpoint can't be reached, its calls fail at once and one probe looks for it.

Source: Nygard, Release It! (2nd ed. 2018), chapter 5. No caller's call is spent on the probe.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Literal, NoReturn

from aios.cores.retry import Backoff
from aios.errors import CoreUnavailable
from aios.events import CoreChanged, EventBus

State = Literal["ready", "lost", "open", "half_open"]


class Breaker:
    """Opens after `threshold` failures to connect with no success between; `backoff` paces the probes."""

    def __init__(self, core: str, bus: EventBus, *, backoff: Backoff, threshold: int = 5) -> None:
        self._core, self._bus = core, bus
        self._backoff, self._threshold = backoff, threshold
        self._state: State = "ready"
        self._failures = 0
        self._reason = ""
        self._next_probe = 0.0
        self._tripped = asyncio.Event()

    @property
    def closed(self) -> bool:
        """Whether calls may pass."""
        return self._state == "ready"

    def check(self) -> None:
        """Raises CoreUnavailable unless calls may pass."""
        if self._state != "ready":
            wait = max(0.0, self._next_probe - time.monotonic())
            raise CoreUnavailable(
                f"Core {self._core} is out of reach: {self._reason}.",
                f"Check that its endpoint runs; the next probe is in {wait:.0f} s.",
                retry_after=max(1.0, wait),
            )

    def worked(self) -> None:
        """The endpoint answered, whatever it said."""
        self._failures = 0
        if self._state != "ready":
            self._become("ready")
            self._tripped.clear()

    def failed(self, reason: str) -> None:
        """No connection. The last straw opens the breaker."""
        self._failures += 1
        if self._state == "ready" and self._failures >= self._threshold:
            self.trip("open", reason)

    def trip(self, state: Literal["lost", "open"], reason: str) -> None:
        """Let no call pass until a probe finds the endpoint again."""
        self._reason = reason
        self._become(state)
        self._tripped.set()

    async def watch(self, probe: Callable[[], Awaitable[str]]) -> NoReturn:
        """Whenever the breaker is open, `probe` with growing pauses until it returns no reason against it."""
        while True:
            await self._tripped.wait()
            tries = 0
            while self._tripped.is_set():
                tries += 1
                delay = self._backoff.delay(tries)
                self._next_probe = time.monotonic() + delay
                await asyncio.sleep(delay)
                self._become("half_open")
                if reason := await probe():
                    self.trip("open", reason)
                else:
                    self.worked()

    def _become(self, state: State) -> None:
        self._state = state
        reason = "" if state == "ready" else self._reason
        self._bus.publish(CoreChanged(core=self._core, state=state, reason=reason))
