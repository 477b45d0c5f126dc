"""Labels that go with one call, from who makes it into what it writes, and from what it reads back to it.

A manager keeps labels beside what they are of, in the same transaction; how they are kept says nothing of what
they mean, which is access control's (access/labels.py)."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Flow:
    """`given`: what is written has these from now on. `seen`: those of all that was looked at."""

    given: frozenset[str] = frozenset()
    seen: set[str] = field(default_factory=set[str])


_FLOW: ContextVar[Flow] = ContextVar("flow")


@contextmanager
def flowing(given: frozenset[str]) -> Generator[Flow]:
    """The flow of the call that is made inside."""
    flow = Flow(given)
    token = _FLOW.set(flow)
    try:
        yield flow
    finally:
        _FLOW.reset(token)


def current() -> Flow:
    """The flow of the call under way; outside of one, one that nobody asks."""
    return _FLOW.get(None) or Flow()
