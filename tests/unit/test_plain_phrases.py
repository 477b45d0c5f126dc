"""What words mean in plain language: times, names, folders, tags, and what a model may copy."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aios.sdk.plain import plan
from aios.sdk.plain.phrases import Selection, parse, place
from aios.sdk.plain.scene import Scene
from aios.sdk.plain.spans import spans
from aios.sdk.plain.when import changed, length_s, state_at, until_s, version_of
from aios.sdk.plain.words import alike
from aios.syscalls.storage_records import Stat

NOW = datetime(2026, 3, 18, 10, tzinfo=UTC)  # a Wednesday


def at(month: int, day: int, hour: int = 0) -> float:
    return datetime(2026, month, day, hour, tzinfo=UTC).timestamp()


# -- times ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("said", "time"),
    [
        ("how it was a week ago", at(3, 11, 10)),
        ("on Monday", at(3, 17)),
        ("yesterday's state", at(3, 18)),
        ("on 10 March", at(3, 11)),
        ("March 1st", at(3, 2)),
        ("last year", at(1, 1)),
        ("before Friday", at(3, 13)),
    ],
)
def test_a_state_is_that_of_the_end_of_the_day_that_is_named(said: str, time: float):
    assert state_at(said, NOW) == pytest.approx(time, abs=0.01)


def test_no_time_is_no_state():
    assert state_at("the second version", NOW) is None
    assert state_at("the monument", NOW) is None


@pytest.mark.parametrize(
    ("said", "hours"),
    [("for 2 days", 48), ("a week", 168), ("half an hour", 0.5), ("until friday", 62), ("till tomorrow", 38)],
)
def test_links_last_for_a_length_or_to_the_end_of_a_day(said: str, hours: float):
    assert until_s(said, NOW) == hours * 3600


def test_files_are_older_newer_or_of_a_day():
    period, rest = changed("everything older than two weeks", NOW)
    assert period is not None
    assert (period.start, period.end) == (None, at(3, 4, 10))
    assert rest.split() == ["everything"]
    period, _ = changed("files I changed yesterday", NOW)
    assert period is not None
    assert (period.start, period.end) == (at(3, 17), at(3, 18))
    period, _ = changed("notes since Monday", NOW)
    assert period is not None
    assert (period.start, period.end) == (at(3, 16), None)
    assert changed("the 3 notes", NOW) == (None, "the 3 notes")


@given(st.text(max_size=60))
def test_any_text_can_be_asked_for_times(text: str):
    changed(text, NOW)
    state_at(text, NOW)
    until_s(text, NOW)
    length_s(text)


@pytest.mark.parametrize(
    ("said", "version"),
    [("version 2", 1), ("the first version", 0), ("two versions back", 1), ("my last change", 2),
     ("original", 0), ("version 9", None), ("blue", None)],
)  # fmt: skip
def test_versions_count_from_the_oldest_and_steps_from_the_newest(said: str, version: int | None):
    assert version_of(said, 4) == version


# -- files ------------------------------------------------------------------------------------------

SCENE = Scene(
    [
        *(Stat(path=path, kind="dir", version=1) for path in ("/notes", "/reports", "/reports/old")),
        Stat(path="/notes/caching-redis.md", kind="file", version=2, tags=("infra",)),
        Stat(path="/reports/q1-2026.md", kind="file", version=3),
        Stat(path="/reports/sales.csv", kind="file", version=4),
        Stat(path="/todo.txt", kind="file", version=5),
    ]
)


def said(phrase: str) -> Selection:
    return parse(phrase, SCENE, NOW)


def test_a_phrase_says_folder_words_and_number():
    found = said("the notes about caching")
    assert (found.folder, found.about, found.many, found.inside) == ("/notes", ("caching",), True, True)
    found = said("the 2 newest markdown files in reports")
    assert (found.order, found.count, found.suffixes, found.folder) == (
        "newest", 2, (".md", ".markdown"), "/reports",
    )  # fmt: skip
    assert said("everything tagged infra").tags == ("infra",)


def test_names_are_found_by_their_end_and_in_spite_of_a_slip():
    assert said("q1-2026.md").names == ("/reports/q1-2026.md",)
    assert said("the file reports/sales.csv please").names == ("/reports/sales.csv",)
    assert said("cahcing-redis.md").names == ("/notes/caching-redis.md",)
    assert said("nothing.md").unknown == ("nothing.md",)


def test_a_folder_is_itself_or_what_is_in_it():
    assert said("the reports folder").itself
    assert not said("everything in the reports folder").about
    assert said("them").again


@pytest.mark.parametrize(
    ("words", "path"),
    [
        ("a new folder /invoices", "/invoices"),
        ("notes/tuesday.md", "/notes/tuesday.md"),
        ("outline.md in my notes", "/notes/outline.md"),
        ("the old folder", "/reports/old"),
        ("archive/2025", "/archive/2025"),
        ("one folder", ""),
    ],
)
def test_a_destination_is_there_or_to_be_made(words: str, path: str):
    assert place(words, SCENE) == path


@pytest.mark.parametrize(
    ("a", "b"), [("caching", "cache"), ("recpie", "recipe"), ("bills", "bill"), ("tomatos", "tomato")]
)
def test_words_are_alike_in_other_forms_and_with_slips(a: str, b: str):
    assert alike(a, b)


@pytest.mark.parametrize(
    ("a", "b"), [("january", "february"), ("2025", "2026"), ("cat", "car"), ("raft", "draft")]
)
def test_other_words_are_not(a: str, b: str):
    assert not alike(a, b)


# -- what a model may say ---------------------------------------------------------------------------


def test_spans_are_words_of_the_command_without_their_punctuation():
    found = spans("write 'hello, you' to a.txt, please.")
    assert {"hello, you", "a.txt", "please", "write", "to a.txt"} <= set(found)
    assert all(span in "write 'hello, you' to a.txt, please." for span in found)


@given(st.text(max_size=200))
def test_spans_stand_in_the_command(text: str):
    assert all(span in text and span for span in spans(text))


def test_a_plan_is_written_as_it_is_read():
    steps = (plan.Move("the notes", "old"), plan.Group("them", "tag", 3, True))
    assert plan.decoded(plan.encoded(steps)).steps == steps
    form = plan.schema("move the notes to old")
    assert "the notes" in form["$defs"]["words"]["enum"]
    assert "" in form["$defs"]["words_or_none"]["enum"]
