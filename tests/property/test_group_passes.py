"""Whatever calls do and however they end, groups hold nothing afterwards and no budget is passed."""

import asyncio
import contextlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests import timeless

from aios.config import GroupSettings
from aios.errors import AiosError
from aios.kernel.groups import GroupTable
from aios.kernel.rates import Bucket

limits = st.builds(
    dict,
    concurrency=st.none() | st.integers(1, 3),
    max_queue=st.none() | st.integers(1, 6),
    spend=st.none() | st.integers(1, 20),
    tokens_per_min=st.none() | st.integers(1, 100),
    requests_per_min=st.none() | st.integers(1, 4),
    max_context=st.none() | st.integers(1, 100),
)
calls = st.tuples(
    st.sampled_from(["a", "a/b", "a/b/c", "d"]),
    st.integers(0, 60),  # tokens of the prompt
    st.integers(0, 8),  # most it may cost
    st.floats(0, 1),  # how much of that it does
    st.integers(0, 3),  # how long it runs, turns of the loop
    st.none() | st.integers(0, 12),  # after how many turns of the loop it is cancelled
    st.floats(0, 90),  # when, seconds
    st.booleans(),  # whether it is refused by something else, when it was let in
)


class Waits:
    """Groups over a clock that does not go on by itself, and how the calls of a plan fare."""

    def __init__(self, two: tuple[dict, dict]) -> None:
        self.groups = GroupTable(
            [GroupSettings(name="a", **two[0]), GroupSettings(name="a/b", **two[1])], keep=lambda group: None
        )
        self.begun = {"a": 0, "a/b": 0}
        self.tokens = {"a": 0, "a/b": 0}
        for group in self.groups._groups.values():
            for name in ("requests", "tokens"):
                if (bucket := getattr(group, name)) is not None:
                    setattr(group, name, Bucket(bucket.per_minute, asyncio.get_running_loop().time))

    async def one(self, name: str, prompt: int, cost: int, share: float, turns: int, refused: bool) -> None:
        held = self.groups.enter(name)
        if held is None:
            return
        used, began = 0.0, False
        try:
            await held.enter()
            await held.hold(prompt, prompt + 10, float(cost))
            if refused:
                return
            began = True
            used = cost * share
            for each in ("a", "a/b") if name != "a" else ("a",):
                self.begun[each] += 1
                self.tokens[each] += prompt + turns
            for _ in range(turns):
                await asyncio.sleep(0)
        finally:
            held.settle(prompt + turns if began else 0, used, began=began)

    def check(self) -> None:
        for info in self.groups.list():
            assert info.max_queue is None or info.calls <= info.max_queue
            assert info.spend is None or info.spent <= info.spend + 1e-9

    def check_empty(self) -> None:
        self.check()
        for group in self.groups._groups.values():
            assert group.calls == 0
            assert abs(group.purse.held) < 1e-9
            assert group.gate is None or group.gate._value == group.settings.concurrency


def full(waits: Waits, name: str, kind: str, used: float) -> bool:
    """Of that bucket no more is gone than what began used: time may have given some of it back."""
    bucket: Bucket | None = getattr(waits.groups._groups[name], kind)
    return bucket is None or bucket.level >= bucket.per_minute - used - 1e-6


@settings(deadline=None)
@given(st.tuples(limits, limits), st.lists(calls, max_size=14))
def test_nothing_leaks_and_no_budget_is_passed(two, plan) -> None:
    async def run() -> None:
        waits = Waits(two)

        async def ended(call: tuple) -> None:
            *fields, turns, seconds, refused = call
            task = asyncio.create_task(waits.one(*fields, refused))
            if turns is not None:
                await asyncio.sleep(seconds)
                for _ in range(turns):
                    await asyncio.sleep(0)
                task.cancel()
            with contextlib.suppress(AiosError, asyncio.CancelledError):
                await task
            waits.check()

        await asyncio.gather(*(ended(call) for call in plan))
        waits.check_empty()
        for name in ("a", "a/b"):
            assert full(waits, name, "requests", waits.begun[name])
            assert full(waits, name, "tokens", waits.tokens[name])

    timeless.run(run())


@settings(deadline=None)
@given(st.tuples(limits, limits), st.lists(calls, max_size=14))
def test_calls_of_which_none_begins_leave_every_bucket_as_it_was(two, plan) -> None:
    async def run() -> None:
        waits = Waits(two)
        waiting = [asyncio.create_task(waits.one(*call[:5], True)) for call in plan]
        for number, task in enumerate(waiting):
            for _ in range(plan[number][5] or 0):
                await asyncio.sleep(0)
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)
        waits.check_empty()
        assert asyncio.get_running_loop().time() == pytest.approx(1000.0)  # so no time filled them
        assert all(full(waits, name, kind, 0) for name in ("a", "a/b") for kind in ("requests", "tokens"))

    timeless.run(run())
