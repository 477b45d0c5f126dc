"""Arguments and results against their JSON Schema; what is wrong is said so that a model can mend it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from functools import cached_property
from typing import Any, cast

import msgspec
from jsonschema import Draft202012Validator, SchemaError
from jsonschema.exceptions import ValidationError

from aios.errors import InvalidSchema, ToolError

_INTEGER = re.compile(r"[+-]?\d{1,18}")
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")
SHOWN = 3
DEPTH = 20
JsonObject = dict[str, Any]


class Checker:
    """Checks against one schema. Raises InvalidSchema if it is none."""

    def __init__(self, schema: JsonObject) -> None:
        try:
            Draft202012Validator.check_schema(schema)
        except SchemaError as error:
            raise InvalidSchema(f"Not a JSON Schema: {error.message}.", "See json-schema.org.") from error
        self._schema = schema

    @cached_property
    def _validator(self) -> Any:
        return Draft202012Validator(self._schema)

    def arguments(self, name: str, given: str | JsonObject) -> JsonObject:
        """The arguments of tool `name`, with what was meant made what was asked for: "3" a number where only a
        number will do, "true" a boolean, one value a list of it, JSON text the object in it. Nothing is lost.

        Raises ToolError that names the field, what was expected, and shows a call that would pass."""
        try:
            value = json.loads(given or "{}") if isinstance(given, str) else given
        except ValueError as error:
            raise ToolError(f"{name}: the arguments are not JSON: {error}.", self._mend(name)) from error
        if self._validator.is_valid(value):
            return value
        coerced = self._coerce(value, self._schema, 0)
        if errors := self._errors(coerced):
            raise ToolError(f"{name}: {'; '.join(errors)}.", self._mend(name))
        return cast(JsonObject, coerced)

    def result(self, name: str, value: Any) -> None:
        """Raises ToolError if a result is not what its tool promises."""
        if errors := self._errors(value):
            raise ToolError(f"{name} returned a wrong result: {'; '.join(errors)}.", "Its author must mend it.")

    def _errors(self, value: Any) -> list[str]:
        found: Iterator[ValidationError] = self._validator.iter_errors(value)
        ordered = sorted(found, key=lambda error: list(map(str, error.absolute_path)))
        return [_told(error) for error in ordered[:SHOWN]]

    def _mend(self, name: str) -> str:
        return f"For example: {name}({msgspec.json.encode(_example(self._schema, self._schema, 0)).decode()})"

    def _coerce(self, value: Any, schema: Any, depth: int) -> Any:
        schema = _resolved(schema, self._schema)
        if depth > DEPTH or not schema or self._fits(value, schema):
            return value  # what is right is left as it is
        for choice in schema.get("anyOf", schema.get("oneOf", [])):
            meant = self._coerce(value, choice, depth + 1)
            if self._fits(meant, choice):
                return meant
        kinds = _kinds(schema, self._schema)
        if isinstance(value, str):
            value = _from_text(value, kinds)
        if "array" in kinds and not isinstance(value, list | None):
            value = [value]
        if isinstance(value, dict):
            known: JsonObject = schema.get("properties", {})
            rest = schema.get("additionalProperties")
            return {
                key: self._coerce(inner, known.get(key, rest), depth + 1)
                for key, inner in cast(JsonObject, value).items()
            }
        if isinstance(value, list):
            return [self._coerce(inner, schema.get("items"), depth + 1) for inner in cast("list[Any]", value)]
        return value

    def _fits(self, value: Any, schema: JsonObject) -> bool:
        return self._validator.evolve(schema=schema | _definitions(self._schema)).is_valid(value)


def _definitions(root: JsonObject) -> JsonObject:
    return {key: root[key] for key in ("$defs", "definitions") if key in root}


def _told(error: ValidationError) -> str:
    """Which field, what was given, what was expected."""
    while error.context:  # of several choices, the one that came furthest
        error = max(error.context, key=lambda choice: len(choice.absolute_path))
    path = ".".join(map(str, error.absolute_path))
    given = repr(error.instance)
    given = given if len(given) <= 60 else given[:57] + "..."
    rule: Any = error.validator_value
    match error.validator:
        case "required":
            missing = [name for name in rule if name not in cast(JsonObject, error.instance)]
            return f"{path + ': ' if path else ''}argument {', '.join(map(repr, missing))} is missing"
        case "additionalProperties" | "unevaluatedProperties":
            schema = cast(JsonObject, error.schema)
            known = schema.get("properties", {})
            odd = [name for name in cast(JsonObject, error.instance) if name not in known]
            return (
                f"{path + ': ' if path else ''}no argument is called {', '.join(map(repr, odd))}; known: "
                + (", ".join(known) or "none")
            )
        case "type":
            return f"{path or 'the arguments'}: expected {_or(rule)}, got {given}"
        case "enum":
            return f"{path}: expected one of {', '.join(map(json.dumps, rule))}, got {given}"
        case _:
            return f"{path or 'the arguments'}: {error.message[:200]}"


def _or(kinds: str | list[str]) -> str:
    return kinds if isinstance(kinds, str) else " or ".join(kinds)


def _resolved(schema: Any, root: JsonObject) -> JsonObject:
    """`schema`, followed if it is a reference into `root`."""
    for _ in range(DEPTH):
        if not isinstance(schema, dict):
            return {}
        reference = cast(JsonObject, schema).get("$ref")
        if not isinstance(reference, str) or not reference.startswith("#/"):
            return cast(JsonObject, schema)
        found: Any = root
        for part in reference[2:].split("/"):
            found = cast(JsonObject, found).get(part, {}) if isinstance(found, dict) else {}
        schema = found
    return {}


def _kinds(schema: JsonObject, root: JsonObject) -> set[str]:
    """The types that `schema` allows, as far as it says so plainly."""
    kind = schema.get("type", [])
    kinds: set[str] = {kind} if isinstance(kind, str) else set(kind)
    for choice in schema.get("anyOf", schema.get("oneOf", [])):
        kinds |= _kinds(_resolved(choice, root), root)
    if not kinds and "properties" in schema:
        kinds.add("object")
    return kinds


def _from_text(text: str, kinds: set[str]) -> Any:
    """What a text says, where a text is not allowed; the text itself if that is not plain."""
    bare = text.strip()
    if "string" in kinds:
        return text
    if "integer" in kinds and _INTEGER.fullmatch(bare):
        return int(bare)
    if "number" in kinds and _NUMBER.fullmatch(bare):
        return float(bare)
    if "boolean" in kinds and bare.lower() in ("true", "false"):
        return bare.lower() == "true"
    if "null" in kinds and bare.lower() in ("", "null", "none"):
        return None
    if kinds & {"object", "array"} and bare[:1] in ("{", "["):
        try:
            return json.loads(bare)
        except ValueError:
            return text
    return text


def _example(schema: Any, root: JsonObject, depth: int) -> Any:
    """A value that `schema` most likely takes: required fields only."""
    schema = _resolved(schema, root)
    for key in ("default", "const"):
        if key in schema:
            return schema[key]
    for key in ("enum", "examples"):
        if schema.get(key):
            return schema[key][0]
    if choices := schema.get("anyOf", schema.get("oneOf")):
        return _example(choices[0], root, depth + 1)
    kinds = _kinds(schema, root)
    if "object" in kinds and depth < DEPTH:
        known: JsonObject = schema.get("properties", {})
        return {name: _example(known.get(name, {}), root, depth + 1) for name in schema.get("required", [])}
    plain: JsonObject = {"array": [], "integer": schema.get("minimum", 1), "number": schema.get("minimum", 1.5)}
    plain |= {"boolean": True, "null": None, "string": "text"}
    return next((plain[kind] for kind in ("string", *plain) if kind in kinds), "text")
