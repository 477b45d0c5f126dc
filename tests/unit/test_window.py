"""How many requests an endpoint gets at once."""

import asyncio
import time

import pytest

from aios.cores.window import Window

pytestmark = pytest.mark.anyio


class Caller:
    """Takes a place and keeps it until told to leave."""

    def __init__(self, window: Window, tasks: asyncio.TaskGroup) -> None:
        self._window, self._leave = window, asyncio.Event()
        self.has_place = False
        self.task = tasks.create_task(self._stay())

    async def _stay(self) -> None:
        with self._window.inside():
            async with self._window.place():
                self.has_place = True
                await self._leave.wait()

    def leave(self) -> None:
        self._leave.set()


async def settle() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_a_refusal_halves_it_once_a_round_trip_and_success_opens_it_slowly():
    window = Window(16)
    sent = time.monotonic()
    for _ in range(5):
        window.refused(sent)  # five requests of one round trip: one cut
    assert window.limit == 8
    for _ in range(8):
        window.succeeded()
    assert window.limit == 8  # 8 + 8 * 1/8, a little less
    window.succeeded()
    assert window.limit == 9
    for _ in range(10):
        window.refused(time.monotonic())
    assert window.limit == 1
    for _ in range(10_000):
        window.succeeded()
    assert window.limit == 16


async def test_capacity_is_whoever_is_there_and_the_free_places():
    window = Window(2)
    async with asyncio.TaskGroup() as tasks:
        one, two, three = (Caller(window, tasks) for _ in range(3))
        await settle()
        assert (one.has_place, two.has_place, three.has_place) == (True, True, False)
        assert window.capacity == 3
        one.leave()
        await settle()
        assert three.has_place
        assert window.capacity == 2
        two.leave()
        three.leave()
    assert window.capacity == 2


async def test_one_that_waits_to_try_again_holds_no_place():
    window = Window(1)
    with window.inside():
        assert window.capacity == 2
        async with window.place():
            assert window.capacity == 1
        assert window.capacity == 2


async def test_nothing_is_sent_while_it_is_closed_and_capacity_does_not_grow():
    window = Window(4)
    window.close_for(0.02)
    assert window.capacity == 1
    opens = time.monotonic() + 0.02
    async with window.place() as sent:
        assert sent >= opens - 0.001
    assert window.capacity == 4


async def test_a_shrunk_window_lets_nobody_in_until_enough_have_left():
    window = Window(4)
    async with asyncio.TaskGroup() as tasks:
        callers = [Caller(window, tasks) for _ in range(4)]
        await settle()
        window.refused(time.monotonic())
        late = Caller(window, tasks)
        for caller, expected in zip(callers, [False, False, True, True], strict=True):
            caller.leave()
            await settle()
            assert late.has_place == expected
        late.leave()


async def test_a_caller_who_goes_away_takes_no_place_with_him():
    window = Window(1)
    async with asyncio.TaskGroup() as tasks:
        first, gone, given, last = (Caller(window, tasks) for _ in range(4))
        await settle()
        gone.task.cancel()
        await settle()
        first.leave()
        await settle()
        assert given.has_place
        given.leave()
        given.task.cancel()
        await settle()
        assert last.has_place
        last.leave()
    assert window.capacity == 1


async def test_a_place_given_to_one_who_is_gone_goes_to_the_next():
    window = Window(1)
    async with asyncio.TaskGroup() as tasks:
        first, gone, last = (Caller(window, tasks) for _ in range(3))
        await settle()
        first.task.cancel()
        await asyncio.sleep(0)  # the place is handed to `gone`, who has not run yet
        gone.task.cancel()
        await settle()
        assert last.has_place
        last.leave()
