"""Text comes out whole characters at a time, and never any part of a stop string."""

from aios.cores.llama.text import TextStream


def shown(stream: TextStream, *pieces: bytes) -> list[str]:
    return [stream.push(piece) for piece in pieces]


def test_a_character_waits_until_it_is_whole() -> None:
    assert shown(TextStream(), b"a\xe2", b"\x82", b"\xac!") == ["a", "", "€!"]


def test_bytes_that_are_no_text_are_replaced_and_an_unfinished_character_at_the_end() -> None:
    stream = TextStream()
    assert shown(stream, b"a\xffb", b"\xe2\x82") == ["a\ufffdb", ""]
    assert stream.flush() == "\ufffd"


def test_a_stop_string_across_tokens_is_never_shown() -> None:
    stream = TextStream(("\nObservation:",))
    assert shown(stream, b"Action: go\nObs", b"erva", b"tion: fake") == ["Action: go", "", ""]
    assert stream.stopped
    assert stream.push(b"more") == ""
    assert stream.flush() == ""


def test_what_did_not_become_a_stop_string_is_shown_as_soon_as_that_is_clear() -> None:
    stream = TextStream(("</end>",))
    assert shown(stream, b"a </", b"en", b"t>") == ["a ", "", "</ent>"]
    assert shown(stream, b"</en") == [""]
    assert not stream.stopped
    assert stream.flush() == "</en"


def test_the_stop_string_that_is_complete_first_ends_the_text() -> None:
    stream = TextStream(("abcd", "bc"))
    assert shown(stream, b"xabcd") == ["xa"]
    assert stream.stopped


def test_of_two_complete_at_once_the_longer_ends_the_text() -> None:
    assert shown(TextStream(("c", "abc")), b"xabc") == ["x"]


def test_empty_stop_strings_stop_nothing() -> None:
    assert shown(TextStream(("",)), b"abc") == ["abc"]
