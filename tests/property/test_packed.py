"""Token ids as text: nothing is lost, and prefixes stay prefixes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aios.context.packed import packed, unpacked

ids = st.lists(st.one_of(st.integers(0, 300), st.integers(0xD7FE, 0xE001), st.integers(0, 0x10FFFF)))


@given(ids, ids)
def test_text_is_its_ids_and_is_cut_and_joined_as_they_are(first: list[int], second: list[int]) -> None:
    assert unpacked(packed(first)) == first
    assert packed(first + second) == packed(first) + packed(second)
    assert len(packed(first)) == len(first)
    assert (packed(first) == packed(second)) == (first == second)


def test_an_id_beyond_all_vocabularies_is_refused() -> None:
    with pytest.raises(UnicodeDecodeError):
        packed([0x110000])
