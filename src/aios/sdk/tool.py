"""`@tool`: a typed Python function that a model can call."""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import msgspec

from aios.errors import AiosError, ToolError
from aios.syscalls import FunctionSpec, ToolSpec
from aios.tools import schema


class Tool:
    """A function with a name, a description and the JSON Schema of its arguments, made from its signature and
    docstring (the first paragraph describes the tool; a line `name: text` describes an argument).

    `given` are arguments of the function that are none of the tool's. Raises TypeError for a function whose
    arguments have no types."""

    def __init__(
        self,
        function: Callable[..., Any],
        name: str = "",
        *,
        given: Mapping[str, Any] = MappingProxyType({}),
    ) -> None:
        self.function, self._given = function, given
        self.name = name or getattr(function, "__name__", "tool")
        self.description = schema.summary(function)
        self._struct = schema.arguments(function, self.name, given)
        self.parameters = schema.of(self._struct, inspect.getdoc(function) or "")

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
            result = self.function(**checked, **self._given)
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
        return self.function(*args, **kwargs, **self._given)


def tool(function: Callable[..., Any]) -> Tool:
    """Make a Tool of a typed function: `@tool`."""
    return Tool(function)
