"""What both clients know of HTTP: patience, when to try again, what a failure means."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager

import httpx

from aios.errors import AiosError, CoreProtocolError, CoreTimeout, CoreUnavailable
from aios.sdk.answers import raise_for

TIMEOUT = httpx.Timeout(600.0, connect=5.0)
"""A call may wait long for its turn: that is what the kernel is for."""

ENDLESS = httpx.Timeout(5.0, read=None)
"""For a stream of events: nothing may happen for hours."""

RETRIES = 3
AGAIN = frozenset({429, 502, 503})
"""Statuses after which the same request may succeed."""

LONGEST_PAUSE_S = 60.0


class Tries:
    """Counts the tries of one request; `pause` says how long to wait before the next."""

    def __init__(self, retries: int, *, repeatable: bool) -> None:
        self._left = retries if repeatable else 0
        self._made = 0

    def pause(self, error: AiosError) -> float:
        """Seconds: what the other side asks for, else 0.5, 1, 2, … Raises `error` when trying again is of no
        use or none is left."""
        if self._left == 0 or error.status not in AGAIN or isinstance(error, CoreProtocolError):
            raise error
        self._left -= 1
        self._made += 1
        wait = error.retry_after if error.retry_after is not None else 0.5 * 2.0 ** (self._made - 1)
        return min(LONGEST_PAUSE_S, wait)


@contextmanager
def failures_told(url: str) -> Generator[None]:
    """Raises CoreTimeout and CoreUnavailable for what httpx raises."""
    try:
        yield
    except httpx.TimeoutException as error:
        raise CoreTimeout(f"No answer in time ({error!r}).", "Raise the client's timeout.") from error
    except httpx.TransportError as error:
        what = f"Nothing answers at {url} ({error or type(error).__name__})."
        raise CoreUnavailable(what, "Start the kernel (`aios serve`), or set AIOS_BASE_URL.") from error


def checked(response: httpx.Response) -> bytes:
    """The body of a success. Raises the error that the kernel raised."""
    raise_for(response.status_code, response.content, response.headers.get("retry-after"))
    return response.content
