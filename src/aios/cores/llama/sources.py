"""Sources of grammars: what a caller may ask for, turned into text that the grammar library compiles.

A source is Lark text, in the dialect of llguidance, so it travels to the worker as it is. JSON is written
as `json.dumps` writes it (`", "` and `": "`, no other whitespace): that is how chat templates render it back,
so a generated answer stays a prefix of the next prompt, and a small model can't ramble in whitespace.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any, cast

from llguidance import LLMatcher
from llguidance.gbnf_to_lark import any_to_lark

from aios.errors import InvalidSchema

Schema = dict[str, Any]

MAX_SCHEMA_BYTES = 262_144
MAX_GRAMMAR_BYTES = 65_536
MAX_NODES = 1_500
MAX_DEPTH = 48

_MAPS = ("properties", "patternProperties", "$defs", "definitions", "dependentSchemas")
_SINGLE = (
    "items", "additionalItems", "additionalProperties", "unevaluatedProperties", "unevaluatedItems",
    "contains", "propertyNames", "not", "if", "then", "else",
)  # fmt: skip
_LISTS = ("anyOf", "oneOf", "allOf", "prefixItems", "items")
_COMBINING = ("properties", "anyOf", "oneOf", "allOf", "$ref", "if")
_LITERALS = re.compile(r'"(?:\\.|[^"\\\n])*"i?|/(?:\\.|[^/\\\n])+/[imslux]*|(?://|#)[^\n]*', re.ASCII)


def json_object() -> str:
    """Any JSON object."""
    return json_schema({"type": "object"})


def json_schema(schema: Mapping[str, Any], *, lenient: bool = False) -> str:
    """JSON that is valid by `schema`. `lenient`: keywords that can't be enforced are left out, not refused.
    Raises InvalidSchema."""
    return f"start: {inline_json(schema, lenient=lenient)}"


def inline_json(schema: Mapping[str, Any], *, lenient: bool = False) -> str:
    """The same as a piece of Lark, to stand within a rule. Raises InvalidSchema."""
    return "%json " + json.dumps(_configured(schema, lenient))


def grammar(text: str) -> str:
    """A grammar in GBNF (rule `root`) or Lark (rule `start`). Raises InvalidSchema."""
    _check_size(len(text), MAX_GRAMMAR_BYTES)
    try:
        lark = any_to_lark(text)
    except Exception as error:  # the converter raises nothing narrower for an unknown rule
        raise InvalidSchema(f"This is no grammar: {error}.", "Correct the GBNF (or Lark) text.") from error
    code = _LITERALS.sub(" ", lark)
    if re.search(r"<", code):
        raise InvalidSchema("A grammar can't name special tokens (`<…>`): they make no text.", "Remove them.")
    if found := re.search(r"\b(max_tokens|stop|suffix|temperature)\s*=", code):
        raise InvalidSchema(f"A grammar can't set {found[1]!r}.", "Use the parameters of the request.")
    return lark


def regex(pattern: str) -> str:
    """Text that `pattern` matches as a whole; `^` at its start and `$` at its end change nothing. Raises
    InvalidSchema."""
    _check_size(len(pattern), MAX_GRAMMAR_BYTES)
    pattern = pattern.removeprefix("^")
    if pattern.endswith("$") and not pattern.endswith(r"\$"):
        pattern = pattern[:-1]
    compiled: dict[str, Any] = json.loads(LLMatcher.grammar_from_regex(pattern))
    return compiled["grammars"][0]["lark_grammar"]


def literal(text: str) -> str:
    """`text` as a Lark string."""
    return json.dumps(text)


def _configured(schema: Mapping[str, Any], lenient: bool) -> Schema:
    try:
        text = json.dumps(schema)
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidSchema(f"The schema is not JSON: {error}.", "Send a JSON object.") from error
    _check_size(len(text), MAX_SCHEMA_BYTES)
    copy: Schema = json.loads(text)
    nodes = list(_nodes(copy, 0))
    if len(nodes) > MAX_NODES:
        raise InvalidSchema(f"The schema has {len(nodes)} parts; {MAX_NODES} is the most.", "Make it smaller.")
    if not any(_combines(node) for node in nodes):
        for node in nodes:
            _close(node)
    copy["x-guidance"] = {
        "item_separator": ", ",
        "key_separator": ": ",
        "whitespace_flexible": False,
        "coerce_one_of": True,
        "lenient": lenient,
    }
    return copy


def _check_size(size: int, most: int) -> None:
    if size > most:
        raise InvalidSchema(f"The schema or grammar has {size} bytes; {most} is the most.", "Make it smaller.")


def _nodes(schema: Any, depth: int) -> Iterator[Schema]:
    """All object schemas within `schema`, itself first."""
    if depth > MAX_DEPTH:
        raise InvalidSchema(f"The schema is nested deeper than {MAX_DEPTH} levels.", "Flatten it.")
    if not isinstance(schema, dict):
        return
    node = cast(Schema, schema)
    yield node
    for name in _MAPS:
        inner = node.get(name)
        if isinstance(inner, dict):
            for value in cast(Schema, inner).values():
                yield from _nodes(value, depth + 1)
    for name in _SINGLE:
        yield from _nodes(node.get(name), depth + 1)
    for name in _LISTS:
        inner = node.get(name)
        if isinstance(inner, list):
            for value in cast("list[Any]", inner):
                yield from _nodes(value, depth + 1)


def _combines(node: Schema) -> bool:
    """Whether several sets of properties meet in one object, so that closing one would exclude the others."""
    branches = node.get("allOf")
    if isinstance(branches, list) and len(cast("list[Any]", branches)) > 1:
        return True
    return sum(name in node for name in _COMBINING) > 1


def _close(node: Schema) -> None:
    """An object that lists its properties gets no others. Most schemas mean this without saying so, and small
    models would go on inventing properties; what is generated is valid by the schema as it was."""
    if "properties" in node and not {"additionalProperties", "patternProperties"} & node.keys():
        node["additionalProperties"] = False
