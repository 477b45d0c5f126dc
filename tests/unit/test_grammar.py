"""Which forms an answer can be held to, and what is said of those that can't be met."""

import json
from typing import Any

import numpy as np
import pytest
from tests.words import CONTROL, EOS, EOT, accepts, grammar_factory, ramble, text_of, tokenize

from aios.cores.llama import sources
from aios.cores.llama.grammar import GrammarFactory, validate
from aios.errors import CoreError, InvalidSchema

PERSON = {
    "type": "object",
    "properties": {"name": {"type": "string"}, "age": {"type": "integer"}},
    "required": ["name"],
}


@pytest.fixture(scope="module")
def factory() -> GrammarFactory:
    return grammar_factory()


@pytest.mark.parametrize(
    ("source", "good", "bad"),
    [
        (sources.json_object(), ['{"a": [1, {"b": null}], "c": "é"}', "{}"], ["[1]", '{"a":1}', "{ }"]),
        (sources.json_schema(PERSON), ['{"name": "x"}', '{"name": "x", "age": 3}'], ['{"age": 3}', '{"name"}']),
        (sources.regex(r"^\d{4}-\d{2}$"), ["2024-05"], ["24-05", "2024-x"]),
        (sources.regex("a/b"), ["a/b"], ["ab"]),
        (sources.grammar('root ::= "yes" | "no" [0-9]+'), ["yes", "no12"], ["maybe", "nox"]),
        (sources.grammar('start: "<a>" NAME // a comment <b>\nNAME: /[a-z<]+/'), ["<a>ab<"], ["<b>"]),
    ],
)
def test_forms(factory: GrammarFactory, source: str, good: list[str], bad: list[str]) -> None:
    validate(source)
    for text in good:
        state = factory.make(source, 100)
        assert accepts(state, text)
        assert state.accepting
    for text in bad:
        assert not accepts(factory.make(source, 100), text)


def test_json_is_written_as_chat_templates_write_it(factory: GrammarFactory) -> None:
    value = {"name": 'Zoë "Z" \\ \n', "age": -3}
    assert accepts(factory.make(sources.json_schema(PERSON), 200), json.dumps(value, ensure_ascii=False))


def test_objects_that_list_their_properties_get_no_others(factory: GrammarFactory) -> None:
    assert not accepts(factory.make(sources.json_schema(PERSON), 100), '{"name": "x", "other": 1}')
    opened = {**PERSON, "additionalProperties": True}
    assert accepts(factory.make(sources.json_schema(opened), 100), '{"name": "x", "other": 1}')


def test_schemas_that_combine_are_left_as_they_are(factory: GrammarFactory) -> None:
    both = {"allOf": [PERSON, {"properties": {"z": {"type": "integer"}}, "required": ["z"]}]}
    assert accepts(factory.make(sources.json_schema(both), 100), '{"name": "x", "age": 3, "z": 1}')


def test_a_property_may_be_called_properties(factory: GrammarFactory) -> None:
    schema = {"type": "object", "properties": {"properties": {"type": "integer"}}, "required": ["properties"]}
    assert accepts(factory.make(sources.json_schema(schema), 100), '{"properties": 1}')


def test_only_ends_and_text_are_allowed(factory: GrammarFactory) -> None:
    state = factory.make(sources.regex("a*"), 10)
    allowed = np.flatnonzero(state.allowed())
    assert {EOS, EOT, ord("a")} <= set(allowed)
    assert CONTROL not in allowed
    assert len(state.allowed()) == CONTROL + 2


def test_done_means_that_nothing_can_follow(factory: GrammarFactory) -> None:
    state = factory.make(sources.json_schema(PERSON), 50)
    *tokens, last = tokenize(b'{"name": "x", "age": 3}')
    assert not any(state.accept(token) for token in tokens)
    assert not state.done
    assert state.accept(last)
    assert state.done
    assert set(np.flatnonzero(state.allowed())) == {EOS, EOT}


def test_a_token_outside_the_grammar_is_refused(factory: GrammarFactory) -> None:
    with pytest.raises(CoreError):
        factory.make(sources.json_object(), 50).accept(ord("x"))


def test_too_few_tokens_are_told_with_the_number_that_is_enough(factory: GrammarFactory) -> None:
    with pytest.raises(InvalidSchema, match=r"at least (\d+)") as caught:
        factory.make(sources.json_schema(PERSON), 3)
    least = int(caught.value.mend.split()[-1].rstrip("."))
    tokens, _ = ramble(factory.make(sources.json_schema(PERSON), least), least, seed=0)
    assert "name" in json.loads(text_of(tokens))


def deep(levels: int) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": "integer"}
    for _ in range(levels):
        schema = {"type": "array", "items": schema}
    return schema


@pytest.mark.parametrize(
    ("schema", "reason"),
    [
        ({"type": "nonsense"}, "Invalid type"),
        ({"not": {"type": "string"}}, "not"),
        ({"type": "object", "properties": {"a": False}, "required": ["a"]}, "required property 'a'"),
        ({"$ref": "#/$defs/a", "$defs": {"a": {"$ref": "#/$defs/a"}}}, "No text"),
        ({"type": "string", "minLength": 10**9}, "No text"),
        ({"type": "string", "pattern": "^(a{1000}){1000}$"}, "No text"),
        ({"type": "object", "properties": {f"p{i}": {} for i in range(3000)}}, "parts"),
        ({"enum": ["x" * 300_000]}, "bytes"),
        (deep(100), "deeper"),
        ({"default": {1, 2}}, "not JSON"),
    ],
)
def test_schemas_that_can_not_be_used_say_why(schema: dict[str, Any], reason: str) -> None:
    with pytest.raises(InvalidSchema, match=reason):
        validate(sources.json_schema(schema))


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("hello", "no grammar"),
        ("root ::= missing", "missing"),
        ("", "root"),
        ('start: "a" <|im|>', "special tokens"),
        ('start: <[3]> "a"', "special tokens"),
        ("start: x\nx[max_tokens=3]: /a*/", "max_tokens"),
        ('start: "a" start', "No text"),
        ("root ::= " + "(" * 3000 + '"a"' + ")" * 3000, "no grammar"),
        ("root ::= " + '"a" ' * 30_000, "bytes"),
    ],
)
def test_grammars_that_can_not_be_used_say_why(text: str, reason: str) -> None:
    with pytest.raises(InvalidSchema, match=reason):
        validate(sources.grammar(text))


def test_a_wrong_regex_says_why() -> None:
    with pytest.raises(InvalidSchema, match="unclosed"):
        validate(sources.regex("a{3"))
