"""What subscribers of the bus get."""

from __future__ import annotations

import pytest

from aios.events import Event, EventBus, Finished, KernelChanged, Lost, Queued

pytestmark = pytest.mark.anyio


async def test_numbers_have_no_gap_where_an_event_follows_from_another() -> None:
    bus = EventBus()
    bus.listen(Queued, lambda event: bus.publish(Finished(core="c", slot=0)))
    with bus.subscribe() as told:
        bus.publish(Queued(core="c"))
        bus.publish(KernelChanged(state="ready"))
        bus.close()
        assert [(event.seq, type(event)) async for event in told] == [
            (1, Finished), (2, Queued), (3, KernelChanged),
        ]  # fmt: skip


async def test_who_reads_too_slowly_is_told_how_many_events_are_missing() -> None:
    bus = EventBus()
    bus.publish(Queued(core="before"))  # not a loss: nobody had subscribed
    with bus.subscribe(limit=2) as told:
        for number in range(5):
            bus.publish(Queued(core=str(number)))
        bus.close()
        got: list[Event] = [event async for event in told]
    assert isinstance(got[0], Lost)
    assert got[0].count == 3
    assert [event.core for event in got[1:] if isinstance(event, Queued)] == ["3", "4"]
