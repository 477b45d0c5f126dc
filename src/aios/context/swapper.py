"""Copies contexts from the parking memory to files, beside everything else."""

from __future__ import annotations

import asyncio
import logging
import time
from contextlib import suppress

from aios.context.entry import Entry
from aios.context.packed import unpacked
from aios.context.parking import Parking
from aios.context.swap import Label, SwapSpace
from aios.context.worth import Worth
from aios.cores.core import ContextKeeper
from aios.errors import AiosError

log = logging.getLogger(__name__)

RETRY_S = 0.02
"""A context whose turn came before its KV was saved is tried again so much later."""
TRIES = 50


class Swapper:
    """The one task that writes swap files of a core."""

    def __init__(self, keeper: ContextKeeper, parking: Parking, swap: SwapSpace, worth: Worth) -> None:
        self._keeper, self._parking, self._swap, self._worth = keeper, parking, swap, worth
        self._broken = ""

    async def run(self) -> None:
        """Copy while RAM is scarce, for ever."""
        while True:
            await self._parking.scarce.wait()
            entry = self._parking.dirty(time.monotonic())
            if entry and not await self.copy(entry):
                await asyncio.sleep(RETRY_S)

    async def copy_all(self, patience_s: float) -> None:
        """Copy all that is parked, what is worth most first, as long as the budget and `patience_s` last."""
        until = time.monotonic() + patience_s
        while time.monotonic() < until and (entry := self._parking.dirty(time.monotonic(), all=True)):
            await self.copy(entry)
        with suppress(AiosError):  # without a label it is not found, and computed again
            await self._swap.label({e.file: self.label(e) for e in self._parking.entries if e.file})

    async def copy(self, entry: Entry) -> bool:
        """Copy one parked context. False if it was not possible; it is tried again at most TRIES times."""
        extent, size = entry.extent, self._worth.size(len(entry.tokens))
        if extent is None or not self._parking.make_file_room(entry, size, time.monotonic()):
            entry.asked = True  # worth less than all that is there: it is not asked for again
            return False
        path = self._swap.reserve(size, entry.pid)
        assert path is not None  # room was made
        entry.asked = True
        whole = False
        try:
            for _ in range(TRIES):
                if entry.extent is not extent or (whole := await self._keeper.swap_out(extent, path)):
                    break
                await asyncio.sleep(RETRY_S)
            if whole and entry.extent is extent:
                await self._swap.label({path: self.label(entry)})
                self._broken = ""
        except (OSError, AiosError) as error:
            whole = False
            self._complain(f"Contexts can't be swapped: {error}")
            await asyncio.sleep(1.0)
        finally:
            if whole and entry.extent is extent:
                entry.file = path
                entry.asked = False
            else:
                self._swap.remove(path)
        return whole

    def label(self, entry: Entry) -> Label:
        return Label(
            fingerprint=self._keeper.fingerprint, pid=entry.pid, group=entry.group,
            tokens=unpacked(entry.tokens), prompt=entry.prompt, size=self._worth.size(len(entry.tokens)),
        )  # fmt: skip

    def _complain(self, what: str) -> None:
        """Once, not for each context."""
        if what != self._broken:
            log.warning("%s", what)
        self._broken = what
