"""What the wording of a command leaves open of its verbs."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aios.sdk.plain import plan
from aios.sdk.plain.verbs import MOST, READS, antecedent, clauses

EVERY = frozenset(str(step.__struct_config__.tag) for step in plan.STEP_TYPES)


def verbs(command: str) -> list[str]:
    """Those of each clause in a line."""
    return ["any" if c.verbs == EVERY else " ".join(sorted(c.verbs)) for c in clauses(command, EVERY)]


@pytest.mark.parametrize(
    ("command", "verb"),
    [
        ("which spreadsheets did I edit last week?", "find"),
        ("do I have anything about mortgage rates?", "find"),
        ("how many letters did I write?", "count"),
        ("I'd like a new folder called taxes inside finance", "folder"),
        ("the file motto.txt should now say: be kind", "write"),
        ("tack 'see you soon' onto the end of letter.txt", "append"),
        ("could you put all photos tagged beach into summer/beach", "move"),
        ("save a copy of the contract in legal", "copy"),
        ("put notes.md in the bin", "delete"),
        ("please deleet everything tagged old", "delete"),
        ("discard my latest edit of essay.md", "rollback undelete"),
        ("get the letter out of the bin", "rollback undelete"),
        ("let my boss read the report for a day", "share"),
        ("remove the link to the report", "unshare"),
        ("which of my files are public right now?", "shares"),
        ("put my recipes into a folder for each tag", "group"),
        ("please create a digest of all papers in digest.md", "summarise"),
        ("write a brief overview of the lab notes into overview.md", "summarise"),
    ],
)
def test_words_say_the_verb(command: str, verb: str):
    assert verbs(command) == [verb]


def test_a_question_changes_nothing():
    (clause,) = clauses("should the letter be moved?", EVERY)
    assert clause.verbs == READS


def test_what_no_rule_knows_is_left_to_the_model():
    assert verbs("yarrow the borogoves") == ["any"]


def test_a_text_to_write_says_no_verb():
    assert verbs("create a.txt saying: find the keys and delete them") == ["folder write"]
    assert verbs("add 'share the cake' to todo.txt") == ["append"]
    assert verbs("add call the bank back by tag to todo.txt") == ["append"]


def test_each_verb_opens_a_clause_of_its_own():
    assert verbs("share a.md and delete b.md") == ["share", "delete"]
    assert verbs("make a folder red, then copy a.md into it") == ["folder", "copy"]


@pytest.mark.parametrize(
    "command",
    [
        "find the notes on cooking and move them to kitchen",
        "take the notes out of inbox and put them into kitchen",
        "I no longer use the notes, move them to kitchen",
    ],
)
def test_a_clause_that_says_what_is_meant_is_no_step(command: str):
    assert verbs(command) == ["move"]


def test_what_is_said_again_is_no_step():
    assert verbs("summarise a.md and save the summary as b.md") == ["summarise"]
    assert verbs("which notes belong together? make 3 groups") == ["group"]


def test_them_is_what_the_first_clause_names():
    assert antecedent("please look for my notes on cooking and move them to kitchen") == "my notes on cooking"
    assert antecedent("move the notes to kitchen") == ""


@given(
    st.text(max_size=200)
    | st.lists(st.sampled_from(["find", "copy", "it", "and", ",", "then", "the", "a.md", "?", "move"])).map(
        " ".join
    )
)
def test_any_text_has_clauses_and_a_schema(command: str):
    found = clauses(command, EVERY)
    assert 1 <= len(found) <= MOST
    assert all(clause.verbs and clause.verbs <= EVERY and 1 <= clause.most <= MOST for clause in found)
    steps = plan.schema(command)["properties"]["steps"]
    assert 1 <= steps["minItems"] <= steps["maxItems"] <= plan.STEPS
