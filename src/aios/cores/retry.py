"""When to try again: capped exponential backoff with jitter, and what the endpoint itself asks for."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC
from email.utils import parsedate_to_datetime


@dataclass(frozen=True, slots=True)
class Backoff:
    """Waits `first_s`, then twice as long each time, at most `most_s` (seconds), each shortened by up to a half
    at random, so that callers who failed together do not come back together. An endpoint that asks for more
    than `patience_s` is not waited for. `draw` gives numbers in [0, 1)."""

    first_s: float = 0.25
    most_s: float = 20.0
    patience_s: float = 120.0
    draw: Callable[[], float] = random.random

    def delay(self, tries: int, asked_s: float | None = None) -> float:
        """Seconds to wait after `tries` failures (at least 1). What the endpoint asked for is never undercut,
        only stretched by up to a tenth."""
        if asked_s is not None:
            return asked_s * (1.0 + 0.1 * self.draw())
        return min(self.most_s, self.first_s * 2.0 ** min(tries - 1, 30)) * (1.0 - 0.5 * self.draw())


def retry_after(header: str | None, now: float) -> float | None:
    """Seconds that a `Retry-After` header asks for: a number of them, or an HTTP date (RFC 9110, section
    10.2.3). None without a header or with a senseless one. `now`: Unix time."""
    if not header:
        return None
    try:
        seconds = float(header)
    except ValueError:
        try:
            date = parsedate_to_datetime(header)
        except ValueError:
            return None
        seconds = date.replace(tzinfo=date.tzinfo or UTC).timestamp() - now
    return seconds if 0.0 <= seconds < 1e9 else 0.0 if seconds < 0.0 else None
