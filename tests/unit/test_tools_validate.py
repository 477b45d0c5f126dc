import pytest

from aios.errors import InvalidSchema, ToolError
from aios.tools.validate import Checker

SCHEMA = {
    "type": "object",
    "properties": {
        "count": {"type": "integer", "minimum": 1},
        "ratio": {"type": "number"},
        "deep": {"type": "boolean"},
        "tags": {"type": "array", "items": {"type": "string"}},
        "unit": {"enum": ["h", "min"]},
        "place": {"$ref": "#/$defs/Place"},
        "note": {"anyOf": [{"type": "string"}, {"type": "null"}]},
    },
    "required": ["count"],
    "additionalProperties": False,
    "$defs": {"Place": {"type": "object", "properties": {"x": {"type": "integer"}}, "required": ["x"]}},
}


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ('{"count": "3"}', {"count": 3}),
        ({"count": 1, "deep": "true"}, {"count": 1, "deep": True}),
        ({"count": 1, "ratio": "1e-3"}, {"count": 1, "ratio": 0.001}),
        ({"count": 1, "tags": "a"}, {"count": 1, "tags": ["a"]}),
        ({"count": 1, "tags": '["a", "b"]'}, {"count": 1, "tags": ["a", "b"]}),
        ({"count": 1, "place": '{"x": "2"}'}, {"count": 1, "place": {"x": 2}}),
        ({"count": 1, "place": {"x": "2"}}, {"count": 1, "place": {"x": 2}}),
        ({"count": 1, "note": "3"}, {"count": 1, "note": "3"}),
    ],
)
def test_what_was_meant_is_made_what_was_asked_for(given, meant):
    assert Checker(SCHEMA).arguments("t", given) == meant


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"count": "3.5"}, "count: expected integer, got '3.5'"),
        ({"count": "three"}, "count: expected integer, got 'three'"),
        ({"count": 1, "tags": [1]}, "tags.0: expected string, got 1"),
        ({"count": 1, "unit": "day"}, """unit: expected one of "h", "min", got 'day'"""),
        ({"cuont": 1}, "no argument is called 'cuont'; known: count"),
        ({}, "argument 'count' is missing"),
        ({"count": 0}, "count: 0 is less than the minimum of 1"),
        ({"count": 1, "deep": "perhaps"}, "deep: expected boolean, got 'perhaps'"),
        ("{", "not JSON"),
        ("[1]", "expected object"),
    ],
)
def test_a_wrong_call_is_told_the_field_the_expectation_and_an_example(given, words):
    with pytest.raises(ToolError) as caught:
        Checker(SCHEMA).arguments("t", given)
    assert words in str(caught.value)
    assert 'For example: t({"count":1})' in str(caught.value)


def test_the_example_would_pass():
    text = {"type": "object", "properties": {"a": {"type": "string"}, "b": {"$ref": "#/$defs/B"}},
            "required": ["a", "b"], "$defs": {"B": {"enum": [7]}}}  # fmt: skip
    with pytest.raises(ToolError) as caught:
        Checker(text).arguments("t", {})
    example = caught.value.mend.partition("t(")[2].removesuffix(")")
    assert Checker(text).arguments("t", example) == {"a": "text", "b": 7}


def test_what_is_no_schema_is_refused():
    with pytest.raises(InvalidSchema):
        Checker({"type": "nothing"})


def test_a_result_that_is_not_what_was_promised():
    with pytest.raises(ToolError, match="wrong result"):
        Checker({"type": "integer"}).result("t", "x")
