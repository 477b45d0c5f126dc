"""Bytes of a stream into events."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aios.cores.sse import EventParser
from aios.errors import CoreProtocolError


def feed(*chunks: bytes, limit: int = 1000) -> list[bytes]:
    parser = EventParser(limit)
    return [event for chunk in chunks for event in parser.feed(chunk)]


def test_data_is_kept_and_all_else_is_skipped():
    assert feed(b": hello\n\nevent: x\nid: 3\ndata: one\n\ndata:two\n\nretry: 5\n\n") == [b"one", b"two"]


def test_lines_of_one_event_are_joined_and_one_space_is_dropped():
    assert feed(b"data:  a\ndata: b\n\n") == [b" a\nb"]


def test_an_event_counts_once_it_has_ended():
    assert feed(b"data: one\n") == []
    assert feed(b"data: o", b"ne\n", b"\n") == [b"one"]


@given(
    events=st.lists(st.binary().filter(lambda data: b"\n" not in data and b"\r" not in data), min_size=1),
    end=st.sampled_from([b"\n", b"\r\n"]),
    cuts=st.lists(st.integers(min_value=0, max_value=200)),
)
def test_it_does_not_matter_how_the_stream_is_cut(events: list[bytes], end: bytes, cuts: list[int]):
    stream = b"".join(b"data: " + event + end + end for event in events)
    at = [0, *sorted(min(cut, len(stream)) for cut in cuts), len(stream)]
    chunks = [stream[a:b] for a, b in itertools.pairwise(at)]
    assert feed(*chunks) == events


@pytest.mark.parametrize(
    "chunks", [[b"data: " + b"x" * 2000], [b"x" * 600] * 4, [b"data: " + b"x" * 500 + b"\n"] * 3]
)
def test_an_event_that_does_not_end_is_an_error(chunks: list[bytes]):
    with pytest.raises(CoreProtocolError, match="more than 1000 bytes"):
        feed(*chunks)
