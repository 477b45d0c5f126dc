"""However bytes are cut into pieces, the text that is shown is the same."""

from hypothesis import given
from hypothesis import strategies as st

from aios.cores.llama.text import TextStream

ALPHABET = "ab\n€"


def reference(data: bytes, stops: tuple[str, ...]) -> tuple[str, bool]:
    """The text before the stop string that ends first; the longest of those that end there."""
    text = data.decode("utf-8", "replace")
    for end in range(1, len(text) + 1):
        starts = [end - len(s) for s in stops if s and text[:end].endswith(s)]
        if starts:
            return text[: min(starts)], True
    return text, False


@given(
    st.lists(st.one_of(st.text(ALPHABET, max_size=8).map(str.encode), st.binary(max_size=3)), max_size=12),
    st.lists(st.text(ALPHABET, max_size=4), max_size=4).map(tuple),
    st.data(),
)
def test_any_cut_gives_the_reference(parts: list[bytes], stops: tuple[str, ...], data: st.DataObject) -> None:
    whole = b"".join(parts)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(whole)), max_size=10)))
    pieces = [whole[a:b] for a, b in zip([0, *cuts], [*cuts, len(whole)], strict=True)]
    stream = TextStream(stops)
    text = ""
    for piece in pieces:
        text += stream.push(piece)
        assert not any(s and s in text for s in stops)
    text += stream.flush()
    assert (text, stream.stopped) == reference(whole, stops)
