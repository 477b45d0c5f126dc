"""Approvals: what they are bound to, who may answer, and how often they can be used."""

from __future__ import annotations

import pytest

from aios.access.approvals import Approval, Approvals
from aios.access.canonical import canonical, digest
from aios.errors import BadRequest, Conflict, Forbidden, NotFound

OPERATOR = frozenset({"admin:operator"})


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def asked(book: Approvals, digest: str = "d", agent: str = "default:ann") -> Approval:
    approval = book.asked(
        pid=2, agent=agent, action="tool.call", resource="tool:rm", arguments="{}", digest=digest, rule="r"
    )
    book.keep(approval)
    return approval


def test_it_is_used_once_and_for_what_was_shown() -> None:
    book = Approvals(60)
    one = asked(book)
    with pytest.raises(Forbidden):
        book.used(one.id, "d")
    book.keep(*book.answered(one.id, "once", "admin:operator", OPERATOR))
    with pytest.raises(Forbidden):
        book.used(one.id, "another")
    assert [a.id for a in book.open("default:ann", "d")] == [one.id]
    assert book.open("default:bob", "d") == ()
    book.keep(book.used(one.id, "d"))
    with pytest.raises(Forbidden):
        book.used(one.id, "d")
    assert book.open("default:ann", "d") == ()


def test_neither_who_asked_nor_who_stands_below_it_answers() -> None:
    book = Approvals(60)
    one = asked(book)
    for lineage in ({"default:ann"}, {"default:ann/sub", "default:ann"}):
        with pytest.raises(Forbidden, match="neither the asker nor below"):
            book.answered(one.id, "once", "x", frozenset(lineage))
    assert book.get(one.id).state == "waiting"


def test_an_answer_is_given_once_and_in_time() -> None:
    clock = Clock()
    book = Approvals(60, clock=clock)
    one, two = asked(book), asked(book, "e")
    book.keep(*book.answered(one.id, "deny", "admin:operator", OPERATOR, "No."))
    with pytest.raises(Conflict):
        book.answered(one.id, "once", "admin:operator", OPERATOR)
    clock.now += 61
    with pytest.raises(Conflict, match="expired"):
        book.answered(two.id, "once", "admin:operator", OPERATOR)
    with pytest.raises(NotFound):
        book.get("none")


def test_what_is_approved_can_not_be_used_after_its_time() -> None:
    clock = Clock()
    book = Approvals(60, clock=clock)
    one = asked(book)
    book.keep(*book.answered(one.id, "once", "admin:operator", OPERATOR))
    clock.now += 61
    with pytest.raises(Forbidden, match="expired"):
        book.used(one.id, "d")


def test_always_is_for_one_rule_and_one_agent_until_it_is_taken_back() -> None:
    book = Approvals(60)
    one = asked(book)
    book.keep(*book.answered(one.id, "always", "admin:operator", OPERATOR))
    standing = book.always("r", "default:ann")
    assert standing is not None
    assert standing.by == "admin:operator"
    assert book.always("r", "default:bob") is None
    assert book.always("s", "default:ann") is None
    book.withdraw("r", "default:ann")
    assert book.always("r", "default:ann") is None
    with pytest.raises(NotFound):
        book.withdraw("r", "default:ann")


def test_a_bounded_number_is_kept_and_none_that_is_open_is_lost() -> None:
    book = Approvals(60, kept=10)
    waiting = [asked(book, f"w{n}") for n in range(8)]
    for n in range(50):
        one = asked(book, f"d{n}")
        book.keep(*book.answered(one.id, "deny", "admin:operator", OPERATOR))
    assert len(book.list()) == 10
    assert [a.id for a in book.list("waiting")] == [a.id for a in waiting]


# -- the text that is signed for ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ({"b": 1, "a": [True, None, "é\n"]}, '{"a":[true,null,"é\\n"],"b":1}'),
        # RFC 8785, section 3.2.3: by UTF-16 code units
        ({"\u20ac": 1, "\r": 2, "\ufb33": 3, "1": 4, "\U0001f600": 5, "\x80": 6, "ö": 7}, None),
        (1.0, "1"),
        (-0.0, "0"),
        (1e21, "1e+21"),
        (1e20, "100000000000000000000"),
        (1e-6, "0.000001"),
        (1.5e-7, "1.5e-7"),
        (0.00001234, "0.00001234"),
        (-1.25e-5, "-0.0000125"),
        (333333333.33333329, "333333333.3333333"),
        (2**60 + 1, "1152921504606846977"),
    ],
)
def test_canonical_text(value: object, text: str | None) -> None:
    if text is None:
        text = '{"\\r":2,"1":4,"\x80":6,"ö":7,"€":1,"😀":5,"\ufb33":3}'
    assert canonical(value).decode() == text


@pytest.mark.parametrize("value", [float("nan"), float("inf"), "\ud800", {1: 2}, {1, 2}, b"x"])
def test_what_json_has_not_is_refused(value: object) -> None:
    with pytest.raises(BadRequest):
        canonical(value)


def test_another_argument_action_or_resource_is_another_digest() -> None:
    one = digest("tool.call", "tool:rm", {"path": "/a", "n": 1})
    assert one == digest("tool.call", "tool:rm", {"n": 1.0, "path": "/a"})
    others = [
        digest("tool.call", "tool:rm", {"path": "/a", "n": 2}),
        digest("tool.call", "tool:mv", {"path": "/a", "n": 1}),
        digest("tool.test", "tool:rm", {"path": "/a", "n": 1}),
    ]
    assert one not in others
    assert len(set(others)) == 3
