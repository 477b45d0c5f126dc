"""The JSON Schema of a typed function's arguments, from its signature and docstring."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection
from typing import Any, get_type_hints

import msgspec


def arguments(function: Callable[..., Any], name: str, leave_out: Collection[str] = ()) -> type[msgspec.Struct]:
    """A Struct with a field for each argument but those of `leave_out`. Raises TypeError for a function whose
    arguments have no types or no names."""
    hints = get_type_hints(function)
    fields: list[Any] = []
    for parameter in inspect.signature(function).parameters.values():
        if parameter.name in leave_out:
            continue
        if parameter.kind not in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY):
            raise TypeError(f"Tool {name}: *args and **kwargs have no schema; name the arguments.")
        if parameter.name not in hints:
            raise TypeError(f"Tool {name}: give argument {parameter.name!r} a type.")
        kind = hints[parameter.name]
        has_default = parameter.default is not parameter.empty
        fields.append((parameter.name, kind, parameter.default) if has_default else (parameter.name, kind))
    return msgspec.defstruct(f"{name}_arguments", fields, kw_only=True, forbid_unknown_fields=True)


def summary(function: Callable[..., Any]) -> str:
    """The first paragraph of the docstring, in one line."""
    return " ".join((inspect.getdoc(function) or "").split("\n\n")[0].split())


def of(struct: type[msgspec.Struct], doc: str) -> dict[str, Any]:
    """The schema of an object; a line `name: text` of `doc` describes the field `name`."""
    (_,), components = msgspec.json.schema_components([struct], ref_template="#/$defs/{name}")
    own = components.pop(struct.__name__)
    properties = {name: dict(rest) for name, rest in own.get("properties", {}).items()}
    for line in doc.splitlines():
        name, colon, text = line.strip().partition(":")
        if colon and name in properties:
            properties[name]["description"] = text.strip()
    result: dict[str, Any] = {
        "type": "object",
        "properties": properties,
        "required": own.get("required", []),
        "additionalProperties": False,
    }
    if components:
        result["$defs"] = components
    return result
