"""Whatever calls do and however they end, no limit is passed and nothing stays held."""

import asyncio
import contextlib

from hypothesis import given
from hypothesis import strategies as st

from aios.errors import LimitExceeded
from aios.kernel.limits import Budget, Charge
from aios.syscalls import Limits

most = st.none() | st.integers(0, 30)
limits = st.builds(Limits, calls=most, tokens=most, concurrency=st.none() | st.integers(1, 3))
calls = st.tuples(
    st.integers(0, 2),  # whose
    st.integers(0, 8),  # tokens of the prompt
    st.integers(0, 8),  # most tokens of the answer
    st.floats(0, 1),  # how much of that it uses
    st.integers(0, 3),  # how long it runs, turns of the loop
    st.booleans(),  # whether it is cancelled on the way
)


def within(account: Budget) -> bool:
    def fits(most: int | None, used: int) -> bool:
        return most is None or used <= most

    return fits(account.limits.calls, account.calls + account.held_calls) and fits(
        account.limits.tokens, account.tokens + account.held_tokens
    )


@given(st.tuples(limits, limits, limits), st.lists(calls, max_size=12))
def test_no_limit_is_passed_and_nothing_leaks(three: tuple[Limits, Limits, Limits], plan: list) -> None:
    async def run() -> None:
        root = Budget(1, three[0], None)
        child = Budget(2, three[1], root)
        accounts = [root, child, Budget(3, three[2], child)]
        running = [0, 0, 0]

        async def call(whose: int, prompt: int, answer: int, share: float, turns: int) -> None:
            charge = Charge(accounts[whose])
            used, began = 0, False
            try:
                await charge.enter()
                charge.hold(prompt, answer)
                began = True
                for i in range(whose + 1):
                    running[i] += 1
                for _ in range(turns):
                    await asyncio.sleep(0)
                used = prompt + int(answer * share)
            finally:
                for i in range(whose + 1 if began else 0):
                    running[i] -= 1
                charge.settle(calls=int(began), tokens=used)

        async def check() -> None:
            while True:
                for account, count in zip(accounts, running, strict=True):
                    assert within(account)
                    assert account.limits.concurrency is None or count <= account.limits.concurrency
                await asyncio.sleep(0)

        checker = asyncio.create_task(check())
        tasks = [asyncio.create_task(call(*fields)) for *fields, _ in plan]
        await asyncio.sleep(0)
        for task, (*_, cancelled) in zip(tasks, plan, strict=True):
            if cancelled:
                task.cancel()
        for task in tasks:
            with contextlib.suppress(LimitExceeded, asyncio.CancelledError):
                await task
        checker.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await checker
        assert all(account.held_calls == account.held_tokens == 0 for account in accounts)
        assert all(account.gate is None or not account.gate.locked() for account in accounts)

    asyncio.run(run())
