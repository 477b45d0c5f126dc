"""Where an answer may be cut, and how it goes on. Pure."""

from hypothesis import given
from hypothesis import strategies as st

from aios.cores.core import Ended
from aios.cores.request import continued
from aios.cores.talk import Talk
from aios.syscalls import Delta

BODY = {"prompt": "Say:", "max_tokens": 12, "seed": 3}


def said(*contents: str) -> list[Delta]:
    return [Delta(content=content) for content in contents]


def length(generated: int) -> Ended:
    return Ended(reasons={0: "length"}, prompt_tokens=4, completion_tokens=generated)


def heard(talk: Talk, *contents: str) -> list[str]:
    return [delta.content for each in said(*contents) for delta in talk.heard(each)]


def test_white_space_half_characters_and_beginnings_of_stop_strings_wait_for_what_follows():
    talk = Talk(BODY, ("\nUser:",), cuts=True)
    talk.request()
    assert heard(talk, "one", " ", " two") == ["one", " ", " two"]
    assert heard(talk, ".\n", "User") == []
    assert heard(talk, " is") == [".\n", "User", " is"]
    assert heard(talk, "\ufffd") == []
    assert [delta.content for delta in talk.rest()] == ["\ufffd"]


def test_what_waits_at_a_cut_is_generated_again():
    talk = Talk(BODY, cuts=True)
    talk.request()
    assert heard(talk, "one", " ") == ["one"]
    body = talk.request()
    assert (body["prompt"], body["max_tokens"]) == ("Say:one", 11)
    assert heard(talk, " two") == [" two"]  # and not "  two"


def test_an_answer_that_is_never_cut_shows_everything_at_once():
    talk = Talk(BODY, ("\n",), cuts=False, piece=4)
    assert talk.request() == BODY
    assert heard(talk, "a", " ") == ["a", " "]


def test_pieces_go_on_until_the_answer_is_over():
    talk = Talk(BODY, cuts=True, piece=5)
    assert talk.request()["max_tokens"] == 5
    heard(talk, "a", "b", "c", "d", "e")
    assert talk.ended(length(5), 5) is None
    body = talk.request()
    assert (body["prompt"], body["max_tokens"]) == ("Say:abcde", 5)
    heard(talk, "f", "g")
    stop = Ended(reasons={0: "stop"}, prompt_tokens=9, completion_tokens=2)
    assert talk.ended(stop, 2) == Ended(reasons={0: "stop"}, prompt_tokens=4, completion_tokens=7)


def test_tokens_that_made_no_delta_of_their_own_count():
    talk = Talk(BODY, cuts=True, piece=5)
    talk.request()
    heard(talk, "abcd", " ")  # one of the five is held, three came in one chunk
    assert talk.ended(length(5), 5) is None
    assert talk.request()["max_tokens"] == 5
    heard(talk, "efghi")
    assert talk.ended(length(5), 5) is None
    assert talk.request()["max_tokens"] == 3  # of twelve nine are there


def test_a_piece_that_ends_early_is_the_last_since_the_endpoints_window_is_full():
    talk = Talk(BODY, cuts=True, piece=5)
    talk.request()
    heard(talk, "a", "b")
    ended = talk.ended(length(2), 2)
    assert ended is not None
    assert ended.reasons == {0: "length"}


def test_a_piece_of_nothing_settled_is_asked_for_again_and_longer():
    talk = Talk({"prompt": "Say:"}, cuts=True, piece=2)
    sizes: list[int] = []
    for _ in range(3):
        sizes.append(talk.request()["max_tokens"])
        heard(talk, " ", "\n")
        assert talk.ended(length(sizes[-1]), sizes[-1]) is None
    assert sizes == [2, 4, 8]


def test_an_answer_that_begins_with_thoughts_comes_whole():
    talk = Talk(BODY, cuts=True, piece=4)
    talk.request()
    assert talk.unfit(Delta())  # ask again
    assert talk.request() == BODY
    assert not talk.unfit(Delta())
    assert heard(talk, "", " ") == ["", " "]


def test_each_part_of_an_answer_draws_from_a_seed_of_its_own():
    seeds = [continued(BODY, "x" * n, n)["seed"] for n in range(1, 9)]
    assert len({BODY["seed"], *seeds}) == 9
    assert all(0 <= seed < 2**31 for seed in seeds)


def generated(words: list[str], body: dict) -> list[str]:
    """What an endpoint that always says `words` generates; it can go on in the middle of them."""
    rest = "".join(words)[len(body["prompt"]) :]
    pieces: list[str] = []
    while rest and len(pieces) < body["max_tokens"]:
        pieces.append(next(word for word in [*words, rest[:1]] if rest.startswith(word)))
        rest = rest[len(pieces[-1]) :]
    return pieces


@given(
    words=st.lists(st.sampled_from(["a", "bc", " ", "\n", " d", "e ", "STO", "P"]), min_size=1, max_size=30),
    piece=st.integers(1, 7),
)
def test_whatever_the_pieces_the_answer_is_all_there(words: list[str], piece: int):
    talk = Talk({"prompt": "", "max_tokens": 10_000}, ("STOPX",), cuts=True, piece=piece)
    shown: list[str] = []
    ended = None
    while ended is None:
        body = talk.request()
        pieces = generated(words, body)
        shown += heard(talk, *pieces)
        over = body["prompt"] + "".join(pieces) == "".join(words)
        end = Ended(reasons={0: "stop" if over else "length"}, completion_tokens=len(pieces))
        ended = talk.ended(end, len(pieces))
    shown += [delta.content for delta in talk.rest()]
    assert "".join(shown) == "".join(words)
