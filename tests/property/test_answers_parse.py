"""An answer under a grammar always parses: whatever the model writes, and wherever `max_tokens` cuts it."""

import json
import re
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.words import EOS, Drawn, grammar_factory, ramble, text_of, tokenize

from aios.cores.llama import hermes, sources
from aios.cores.llama.grammar import GrammarFactory
from aios.errors import InvalidSchema
from aios.syscalls import FunctionSpec, ToolSpec

Schema = dict[str, Any]

LEAVES: list[Schema] = [
    {"type": "string"},
    {"type": "string", "minLength": 5},
    {"type": "string", "pattern": "^[A-Z]{2}-[a-z]*x[0-9]{3}$"},
    {"type": "integer", "minimum": 18, "maximum": 130},
    {"type": "number"},
    {"type": "boolean"},
    {"enum": ["alpha", "a much longer alternative", None]},
]


def objects(inner: st.SearchStrategy[Schema]) -> st.SearchStrategy[Schema]:
    properties = st.dictionaries(st.sampled_from(["name", "city", "é", 'q"', "z"]), inner, max_size=3)
    return properties.flatmap(
        lambda p: (
            st.lists(st.sampled_from(sorted(p)), unique=True).map(
                lambda required: {"type": "object", "properties": p, "required": required}
            )
            if p
            else st.just({"type": "object", "properties": {}})
        )
    )


def arrays(inner: st.SearchStrategy[Schema]) -> st.SearchStrategy[Schema]:
    return st.builds(lambda i, n: {"type": "array", "items": i, "minItems": n}, inner, st.integers(0, 2))


SCHEMAS = objects(st.recursive(st.sampled_from(LEAVES), lambda s: objects(s) | arrays(s), max_leaves=5))


def valid(value: Any, schema: Schema) -> Any:
    """A plain check of the keywords used here."""
    if "enum" in schema:
        return value in schema["enum"]
    match schema["type"]:
        case "object":
            known = schema["properties"]
            return set(schema.get("required", ())) <= value.keys() <= known.keys() and all(
                valid(v, known[k]) for k, v in value.items()
            )
        case "array":
            return len(value) >= schema["minItems"] and all(valid(v, schema["items"]) for v in value)
        case "string":
            return len(value) >= schema.get("minLength", 0) and re.search(schema.get("pattern", ""), value)
        case "integer":
            return isinstance(value, int) and schema["minimum"] <= value <= schema["maximum"]
        case "boolean":
            return isinstance(value, bool)
        case _:
            return isinstance(value, int | float)


@pytest.fixture(scope="module")
def factory() -> GrammarFactory:
    return grammar_factory()


def least(factory: GrammarFactory, source: str) -> int:
    try:
        factory.make(source, 1)
    except InvalidSchema as error:
        return int(re.findall(r"\d+", error.mend)[-1])
    return 1


@given(SCHEMAS, st.integers(0, 60), st.integers(0, 2**32))
@settings(max_examples=120, deadline=None)
def test_json_is_valid_by_its_schema(factory: GrammarFactory, schema: Schema, spare: int, seed: int) -> None:
    source = sources.json_schema(schema)
    most = least(factory, source) + spare
    tokens, _ = ramble(factory.make(source, most), most, seed)
    assert valid(json.loads(text_of(tokens)), schema)


@given(SCHEMAS, st.integers(0, 40), st.integers(0, 2**32), st.data())
@settings(max_examples=40, deadline=None)
def test_a_state_rebuilt_by_replay_goes_on_alike(
    factory: GrammarFactory, schema: Schema, spare: int, seed: int, data: st.DataObject
) -> None:
    source = sources.json_schema(schema)
    most = least(factory, source) + spare
    state = factory.make(source, most)
    tokens, _ = ramble(state, most, seed)
    cut = data.draw(st.integers(0, len(tokens)))
    first, second = factory.make(source, most), factory.make(source, most)
    ramble(first, cut, seed)  # draws and refuses as the whole run did
    second.replay(tokens[:cut])  # only accepts
    assert (first.allowed() == second.allowed()).all()
    assert ramble(first, most - cut, seed + 1) == ramble(second, most - cut, seed + 1)


LIST = 'root ::= item+ "END"\nitem ::= [A-Z] [a-z]+ ": " [0-9]+ "\\n"'


@pytest.mark.parametrize(
    ("source", "pattern"),
    [
        (sources.grammar(LIST), r"([A-Z][a-z]+: \d+\n)+END"),
        (sources.regex(r"[a-z]+ = (foo|bar)[0-9]{2,5};"), r"[a-z]+ = (foo|bar)[0-9]{2,5};"),
        (sources.regex(r"(a|b){40}"), r"(a|b){40}"),
    ],
)
@pytest.mark.parametrize("seed", range(8))
def test_other_grammars_are_met_too(factory: GrammarFactory, source: str, pattern: str, seed: int) -> None:
    most = least(factory, source) + seed * 3
    tokens, _ = ramble(factory.make(source, most), most, seed)
    assert re.fullmatch(pattern, text_of(tokens))


TOOLS = (
    ToolSpec(function=FunctionSpec(name="weather", parameters={"properties": {"city": {"type": "string"}}})),
    ToolSpec(function=FunctionSpec(name="add", parameters={"type": "object", "properties": {}})),
)
CALL = re.compile(r'<tool_call>\n\{"name": "(weather|add)", "arguments": (.*)\}\n</tool_call>')


@given(st.integers(0, 60), st.integers(0, 2**32), st.booleans())
@settings(max_examples=60, deadline=None)
def test_required_calls_are_calls(factory: GrammarFactory, spare: int, seed: int, parallel: bool) -> None:
    source = hermes.call_grammar(TOOLS, required=True, parallel=parallel)
    most = least(factory, source) + spare
    tokens, _ = ramble(factory.make(source, most), most, seed)
    text = text_of(tokens)
    calls = text.split("\n<tool_call>")
    for i, call in enumerate(calls):
        found = CALL.fullmatch(call if i == 0 else "<tool_call>" + call)
        assert found
        assert isinstance(json.loads(found[2]), dict)
    assert len(calls) <= (hermes.MAX_CALLS if parallel else 1)


@pytest.mark.parametrize("beginning", ["Look.\n<tool_call>", '{"name": "weather", "arguments":', "<tool_call>"])
@pytest.mark.parametrize("seed", range(6))
def test_a_call_once_begun_is_completed(factory: GrammarFactory, beginning: str, seed: int) -> None:
    source = hermes.call_grammar(TOOLS, required=False, parallel=True)
    prefix = tokenize(beginning.encode())
    most = len(prefix) + 60 + seed * 4
    state = factory.make(source, most)
    state.replay(prefix)
    tokens, _ = ramble(state, most - len(prefix), seed)
    text = text_of(prefix + tokens)
    body = text[text.index("{") :].split("\n</tool_call>")[0]
    assert json.loads(body)["name"] in ("weather", "add")


def test_a_call_that_would_not_fit_is_not_begun(factory: GrammarFactory) -> None:
    marker = tokenize(b"<tool_call>")
    state = factory.make(hermes.call_grammar(TOOLS, required=False, parallel=True), len(marker) + 8)
    state.replay(marker[:-1])
    drawn: list[int] = []

    def draw(allowed: Any) -> Any:
        token = marker[-1] if allowed[marker[-1]] else EOS
        drawn.append(token)
        return Drawn(token)

    assert state.pick(draw).token != marker[-1]
    assert drawn[0] == marker[-1]
