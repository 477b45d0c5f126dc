"""First in, first out: the baseline every other policy is compared with."""

from __future__ import annotations

from aios.scheduler.keyed import KeyedPolicy
from aios.scheduler.policy import Item


class Fifo(KeyedPolicy):
    """Runs items in the order in which they became ready, each to its end (AIOS paper, section 3.3). To be
    raised changes nothing: who waits longest is first as it is."""

    name = "fifo"

    def key(self, item: Item) -> float:
        return item.queued
