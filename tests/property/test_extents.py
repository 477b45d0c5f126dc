from hypothesis import given
from hypothesis import strategies as st

from aios.context.extents import ALIGN, Extents
from aios.cores.core import Extent


@given(st.integers(0, 4096), st.lists(st.one_of(st.integers(1, 700), st.none()), max_size=60), st.randoms())
def test_extents_never_overlap_and_all_memory_comes_back(size, wishes, random):
    size = size // ALIGN * ALIGN
    extents = Extents(size)
    held: list[Extent] = []
    serials: set[int] = set()
    for wish in wishes:
        if wish is None and held:
            extents.free(held.pop(random.randrange(len(held))))
        elif wish is not None and (extent := extents.allocate(wish)):
            assert extent.size >= wish
            assert extent.offset + extent.size <= size
            assert all(
                extent.offset + extent.size <= other.offset or other.offset + other.size <= extent.offset
                for other in held
            )
            assert extent.serial not in serials
            serials.add(extent.serial)
            held.append(extent)
        assert extents.used == sum(e.size for e in held)
    for extent in held:
        extents.free(extent)
    # merged back into one gap: the whole memory can be had at once
    assert size == 0 or extents.allocate(size) == Extent(0, size, extents._serial)


def test_what_does_not_fit_is_refused_not_squeezed_in():
    extents = Extents(256)
    assert extents.allocate(300) is None
    first = extents.allocate(128)
    assert first
    assert extents.allocate(192) is None
    extents.free(first)
    assert extents.allocate(192)
