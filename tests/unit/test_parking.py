"""What it costs that a context leaves its slot."""

from __future__ import annotations

from pathlib import Path

import pytest

from aios.context.entry import Entry
from aios.context.parking import Parking
from aios.context.swap import SwapSpace
from aios.context.worth import Gaps, Worth
from aios.cores.core import ContextSpec

SPEC = ContextSpec(bytes_base=0, bytes_per_token=64, ram_bytes=64 * 100, prefill_s=0.01)
COMPUTE_S = 100 * 0.01


class Store:
    """Only its names are needed here."""

    def reserve(self, size: int, owner: str) -> Path:
        return Path("a.slab")

    def remove(self, path: Path) -> None: ...


def context(gaps: Gaps, pid: int, away_s: float, *, tokens: int = 100) -> Entry:
    """Of a process whose call is over, and who comes back after so long."""
    gaps.came(pid, 0.0)
    gaps.went(pid, 0.0)
    gaps.declare(pid, away_s, 0.0)
    return Entry(pid, pid, "g", "x" * tokens, tokens, used=pid)


def parking(gaps: Gaps, *, swap: SwapSpace | None = None) -> Parking:
    """With room for one context of 100 tokens."""
    return Parking(SPEC.ram_bytes, Worth(SPEC, gaps), swap, lambda entry, where: None)


def full(gaps: Gaps, least: Entry, *, swap: SwapSpace | None = None) -> Parking:
    ram = parking(gaps, swap=swap)
    extent = ram.extents.allocate(SPEC.ram_bytes)
    assert extent is not None
    ram.park(least, extent)
    return ram


def test_with_room_in_ram_nothing_is_lost() -> None:
    gaps = Gaps()
    mine = context(gaps, 1, 5.0)
    assert parking(gaps).losses([mine], 0.0) == {mine: 0.0}


def test_what_no_ram_has_room_for_is_computed_again() -> None:
    gaps = Gaps()
    mine = context(gaps, 1, 5.0, tokens=200)
    assert parking(gaps).losses([mine], 0.0)[mine] == pytest.approx(2 * COMPUTE_S / 5.0)


def test_where_ram_is_full_what_must_go_for_it_is_computed_again() -> None:
    gaps = Gaps()
    soon, late = context(gaps, 1, 5.0), context(gaps, 2, 50.0)
    worth = Worth(SPEC, gaps)
    load = worth.rates.ram.seconds(worth.size(100)) / 5.0
    assert full(gaps, late).losses([soon], 0.0)[soon] == pytest.approx(load + COMPUTE_S / 50.0)


def test_what_is_worth_less_than_all_that_is_parked_goes_itself() -> None:
    gaps = Gaps()
    soon, late = context(gaps, 1, 5.0), context(gaps, 2, 50.0)
    assert full(gaps, soon).losses([late], 0.0)[late] == pytest.approx(COMPUTE_S / 50.0)


@pytest.mark.parametrize("copied", [True, False])
def test_what_goes_on_in_a_file_is_only_read(copied: bool) -> None:
    """One that is there, or that can be written, whoever of the two is worth more."""
    gaps = Gaps()
    swap = None if copied else SwapSpace(Store(), "core", 10**9)  # pyright: ignore[reportArgumentType]
    soon, late = context(gaps, 1, 5.0), context(gaps, 2, 50.0)
    ram, worth = full(gaps, soon, swap=swap), Worth(SPEC, gaps)
    soon.file = Path("a.slab") if copied else None
    assert worth.read_s(soon) < 0.01 * COMPUTE_S
    load = worth.rates.ram.seconds(worth.size(100)) / 50.0
    assert ram.losses([late], 0.0)[late] == pytest.approx(load + worth.read_s(soon) / 5.0)
