"""Whatever calls do and however they end, groups hold nothing afterwards and no budget is passed."""

import asyncio
import contextlib

from hypothesis import given, settings
from hypothesis import strategies as st

from aios.config import GroupSettings
from aios.errors import AiosError
from aios.kernel.groups import GroupTable

limits = st.builds(
    dict,
    concurrency=st.none() | st.integers(1, 3),
    max_queue=st.none() | st.integers(1, 6),
    spend=st.none() | st.integers(1, 20),
    tokens_per_min=st.none() | st.just(1e9),
    requests_per_min=st.none() | st.just(1e9),
    max_context=st.none() | st.integers(1, 100),
)
calls = st.tuples(
    st.sampled_from(["a", "a/b", "a/b/c", "d"]),
    st.integers(0, 60),  # tokens of the prompt
    st.integers(0, 8),  # most it may cost
    st.floats(0, 1),  # how much of that it does
    st.integers(0, 3),  # how long it runs, turns of the loop
    st.booleans(),  # whether it is cancelled on the way
)


@settings(deadline=None)
@given(st.tuples(limits, limits), st.lists(calls, max_size=14))
def test_nothing_leaks_and_no_budget_is_passed(two, plan) -> None:
    groups = GroupTable(
        [GroupSettings(name="a", **two[0]), GroupSettings(name="a/b", **two[1])], keep=lambda group: None
    )

    async def one(name: str, prompt: int, cost: int, share: float, turns: int, cancelled: bool) -> None:
        with contextlib.suppress(AiosError, asyncio.CancelledError):
            held = groups.enter(name)
            if held is None:
                return
            used = 0.0
            try:
                await held.enter()
                await held.hold(prompt, prompt + 10, float(cost))
                used = cost * share
                for _ in range(turns):
                    await asyncio.sleep(0)
                    if cancelled:
                        raise asyncio.CancelledError
            finally:
                held.settle(prompt, used)

    async def run() -> None:
        tasks = [asyncio.create_task(one(*call)) for call in plan]
        for number, task in enumerate(tasks):
            await asyncio.sleep(0)
            if plan[number][5] and number % 2:
                task.cancel()
            for info in groups.list():
                assert info.max_queue is None or info.calls <= info.max_queue
                assert info.spend is None or info.spent <= info.spend + 1e-9
        async with asyncio.timeout(5):
            await asyncio.gather(*tasks, return_exceptions=True)
        for group in groups._groups.values():
            assert group.calls == 0
            assert abs(group.purse.held) < 1e-9
            assert group.gate is None or group.gate._value == group.settings.concurrency

    asyncio.run(run())
