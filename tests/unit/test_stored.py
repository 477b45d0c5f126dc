"""Who may start from whose contexts."""

from itertools import count

import pytest

from aios.context.entry import Entry
from aios.context.packed import packed
from aios.context.residency import Residency
from aios.context.stored import MIN_SHARED, Stored
from aios.cores.core import ContextSpec, Sequence
from aios.events import EventBus
from aios.syscalls import Generate

SYSTEM = list(range(300, 400))


def entry(number: int, pid: int, tokens: list[int], group: str = "g") -> Entry:
    return Entry(number, pid, group, packed(tokens), len(tokens))


@pytest.mark.parametrize("share", [True, False])
def test_a_process_finds_its_own_and_with_sharing_its_groups_but_never_another_groups(share):
    stored = Stored(share=share)
    mine, theirs = entry(1, 1, [*SYSTEM, 1]), entry(2, 2, [*SYSTEM, 2])
    foreign = entry(3, 3, [*SYSTEM, 3], group="other")
    for each in (mine, theirs, foreign):
        stored.insert(each)
    length, found = stored.longest("g", 1, packed([*SYSTEM, 2, 2]))
    assert length == (len(SYSTEM) + 1 if share else len(SYSTEM))
    assert set(found) == ({theirs} if share else {mine})
    assert stored.longest("g", 4, packed(SYSTEM))[0] == (len(SYSTEM) if share else 0)


def test_what_was_taken_out_is_found_no_more_and_leaves_nothing():
    stored = Stored(share=False)
    stored.insert(mine := entry(1, 1, SYSTEM))
    stored.remove(mine)
    assert stored.longest("g", 1, packed(SYSTEM))[0] == 0
    with pytest.raises(KeyError):
        stored.remove(mine)


def test_a_prefix_gets_an_entry_of_the_groups_own_once():
    stored = Stored(share=True)
    assert stored.should_share("g", packed(SYSTEM))
    stored.insert(own := entry(1, 0, SYSTEM))
    assert not stored.should_share("g", packed([*SYSTEM, *range(MIN_SHARED - 1)]))
    assert stored.should_share("g", packed([*SYSTEM, *range(MIN_SHARED)]))
    assert stored.should_share("other", packed(SYSTEM))
    stored.remove(own)
    assert stored.should_share("g", packed(SYSTEM))
    assert not Stored(share=False).should_share("g", packed(SYSTEM))


@pytest.mark.parametrize("share", [True, False])
def test_without_sharing_the_second_agent_computes_the_system_prompt_again_and_each_comes_back_to_its_own(
    share,
):
    spec = ContextSpec(bytes_base=64, bytes_per_token=8, ram_bytes=1 << 20)
    residency, numbers = Residency(spec, 1, EventBus(), share=share), count(1)

    def turn(pid: int, *words: int) -> int:
        """Tokens that did not have to be computed."""
        sequence = Sequence(next(numbers), Generate(), pid, "g", tokens=[*SYSTEM, *words])
        residency.enter(sequence)
        seat = residency.seat(sequence)
        assert seat is not None
        sequence.kv = len(sequence.tokens)
        residency.leave(sequence)
        residency.exit(sequence)
        return seat.cached

    assert turn(1, 1, 2, 3) == 0
    assert turn(2, 4, 5, 6) == (len(SYSTEM) if share else 0)
    assert turn(1, 1, 2, 3, 7) == len(SYSTEM) + 3
    assert turn(2, 4, 5, 6, 8) == len(SYSTEM) + 3
