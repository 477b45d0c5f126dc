"""An endpoint that can't be reached fails at once, and is looked for."""

import asyncio
from contextlib import suppress

import pytest

from aios.cores.breaker import Breaker
from aios.cores.retry import Backoff
from aios.errors import CoreUnavailable
from aios.events import CoreChanged, EventBus

pytestmark = pytest.mark.anyio


def test_it_opens_after_failures_in_a_row_only():
    breaker = Breaker("far", EventBus(), backoff=Backoff(), threshold=3)
    for _ in range(2):
        breaker.failed("connection refused")
    breaker.worked()
    for _ in range(2):
        breaker.failed("connection refused")
    breaker.check()
    breaker.failed("connection refused")
    with pytest.raises(CoreUnavailable, match="far is out of reach: connection refused") as caught:
        breaker.check()
    assert caught.value.retry_after is not None


async def test_one_probe_after_the_other_until_one_works():
    bus, found = EventBus(), ["no route", "no route", ""]
    breaker = Breaker("far", bus, backoff=Backoff(first_s=0.001, draw=lambda: 0.0))
    passes: list[bool] = []

    async def probe() -> str:
        passes.append(breaker.closed)
        return found.pop(0)

    with bus.subscribe() as events:
        watch = asyncio.create_task(breaker.watch(probe))
        breaker.trip("lost", "no route")
        states = []
        async for event in events:
            assert isinstance(event, CoreChanged)
            states.append(event.state)
            if event.state == "ready":
                break
        watch.cancel()
        with suppress(asyncio.CancelledError):
            await watch
    assert states == ["lost", "half_open", "open", "half_open", "open", "half_open", "ready"]
    assert passes == [False, False, False]  # no caller's call passes while a probe is out
    breaker.check()
