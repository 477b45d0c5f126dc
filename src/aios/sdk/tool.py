"""`@tool`: a typed Python function that a model can call."""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable
from typing import Any, get_type_hints

import msgspec

from aios.errors import AiosError, ToolError
from aios.syscalls import FunctionSpec, ToolSpec


class Tool:
    """A function with a name, a description and the JSON Schema of its arguments, made from its signature and
    docstring (the first paragraph describes the tool; a line `name: text` describes an argument).

    Raises TypeError for a function whose arguments have no types."""

    def __init__(self, function: Callable[..., Any], name: str = "") -> None:
        self.function = function
        self.name = name or getattr(function, "__name__", "tool")
        doc = inspect.getdoc(function) or ""
        self.description = " ".join(doc.split("\n\n")[0].split())
        self._struct = _arguments(function, self.name)
        self.parameters = _schema(self._struct, doc)

    @property
    def spec(self) -> ToolSpec:
        """What a model is shown."""
        return ToolSpec(
            function=FunctionSpec(name=self.name, description=self.description, parameters=self.parameters)
        )

    def check(self, arguments: str | dict[str, Any]) -> dict[str, Any]:
        """The arguments as the function takes them; "3" becomes 3 where a number is wanted.

        Raises ToolError with words a model can repair its call from."""
        try:
            given = json.loads(arguments or "{}") if isinstance(arguments, str) else arguments
            filled = msgspec.convert(given, self._struct, strict=False)
        except (ValueError, msgspec.ValidationError) as error:
            wanted = ", ".join(f"{n}: {p.get('type', 'any')}" for n, p in self.parameters["properties"].items())
            raise ToolError(f"{self.name}: {error}.", f"It takes ({wanted}).") from error
        return {name: getattr(filled, name) for name in self._struct.__struct_fields__}

    async def call(self, arguments: str | dict[str, Any]) -> str:
        """Check the arguments, run the function, and return its result as text (JSON unless it is text).

        Raises ToolError for wrong arguments, for what the kernel refuses, and for what the function itself
        raises as ValueError, LookupError, ArithmeticError, TypeError or OSError; other exceptions are defects
        and pass through."""
        checked = self.check(arguments)
        try:
            result = self.function(**checked)
            if inspect.isawaitable(result):
                result = await result
        except ToolError:
            raise
        except AiosError as error:
            if error.status >= 500:
                raise  # not the call's fault: another one would not help
            raise ToolError(f"{self.name} failed: {error.what}", error.mend) from error
        except (ValueError, LookupError, ArithmeticError, TypeError, OSError) as error:
            raise ToolError(
                f"{self.name} failed: {type(error).__name__}: {error}", "Try other arguments."
            ) from error
        return result if isinstance(result, str) else msgspec.json.encode(result).decode()

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """The plain function, for its author's own use."""
        return self.function(*args, **kwargs)


def tool(function: Callable[..., Any]) -> Tool:
    """Make a Tool of a typed function: `@tool`."""
    return Tool(function)


def _arguments(function: Callable[..., Any], name: str) -> type[msgspec.Struct]:
    hints = get_type_hints(function)
    fields: list[Any] = []
    for parameter in inspect.signature(function).parameters.values():
        if parameter.kind not in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY):
            raise TypeError(f"Tool {name}: *args and **kwargs have no schema; name the arguments.")
        if parameter.name not in hints:
            raise TypeError(f"Tool {name}: give argument {parameter.name!r} a type.")
        kind = hints[parameter.name]
        has_default = parameter.default is not parameter.empty
        fields.append((parameter.name, kind, parameter.default) if has_default else (parameter.name, kind))
    return msgspec.defstruct(f"{name}_arguments", fields, kw_only=True, forbid_unknown_fields=True)


def _schema(struct: type[msgspec.Struct], doc: str) -> dict[str, Any]:
    (schema,), components = msgspec.json.schema_components([struct], ref_template="#/$defs/{name}")
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
    return result if schema else {}
