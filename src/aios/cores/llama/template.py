"""The chat template of a model file: Jinja, in a sandbox, with a bound on time and size."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any, NoReturn

from jinja2 import TemplateError, nodes
from jinja2.exceptions import SecurityError, TemplateSyntaxError
from jinja2.ext import Extension
from jinja2.parser import Parser
from jinja2.runtime import Context
from jinja2.sandbox import ImmutableSandboxedEnvironment

from aios.errors import BadRequest, ModelError

MAX_SECONDS = 2.0
MAX_STEPS = 1_000_000
MAX_GROWTH = 1_000_000
"""Characters that a rendering may have beyond four times the text it was given."""

_REFUSED = (TemplateError, TypeError, ValueError, LookupError, ArithmeticError, AttributeError, RecursionError)


class RawJson(dict[str, Any]):
    """A JSON object that `tojson` writes as the text it came in, so that a rendering repeats it exactly."""

    def __init__(self, text: str, value: Mapping[str, Any]) -> None:
        super().__init__(value)
        self.text = text


class ChatTemplate:
    """A compiled template. `bos` and `eos` are what `bos_token` and `eos_token` stand for in it.

    What templates of model hubs count on is there: `raise_exception`, `strftime_now`, a `tojson` that escapes
    nothing for HTML, loop controls, `{% generation %}`. Raises ModelError for a template that is no Jinja.

    The bounds hold off loops and floods of output. They can't hold off every expression that fills memory;
    the template comes from a model file that the operator chose."""

    def __init__(self, source: str, *, bos: str, eos: str, now: Callable[[], datetime]) -> None:
        environment = _Environment(
            trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols", _Generation]
        )
        environment.filters["tojson"] = _to_json  # pyright: ignore[reportUnknownMemberType]

        def strftime_now(form: str) -> str:
            return now().strftime(form)

        names = {"raise_exception": _refuse, "strftime_now": strftime_now, "bos_token": bos, "eos_token": eos}
        try:
            self._template = environment.from_string(source, globals=names)
        except TemplateSyntaxError as error:
            raise ModelError(
                f"The model's chat template can't be read: {error.message} (line {error.lineno}).",
                "Use another file of this model.",
            ) from error

    def render(
        self, messages: Sequence[Mapping[str, Any]], tools: Sequence[Mapping[str, Any]] | None, *, answer: bool
    ) -> str:
        """The conversation as one text, with the beginning of an answer if `answer`. Raises BadRequest for
        messages that the template refuses."""
        given = sum(len(str(message.get("content"))) for message in messages)
        given += sum(len(str(tool)) for tool in tools or ())
        deadline = time.monotonic() + MAX_SECONDS
        values: dict[str, Any] = {"messages": messages, "tools": tools, "add_generation_prompt": answer}
        values["range"] = _Ranges().range
        pieces: list[str] = []
        size = 0
        try:
            for piece in self._template.generate(values):
                pieces.append(piece)
                size += len(piece)
                if size > 4 * given + MAX_GROWTH:
                    raise SecurityError("it writes without end")
                if time.monotonic() > deadline:
                    raise SecurityError(f"it takes longer than {MAX_SECONDS} s")
        except _REFUSED as error:
            raise BadRequest(
                f"The model's chat template refuses these messages: {error}.",
                "Change their roles or order.",
                param="messages",
            ) from error
        return "".join(pieces)


class _Environment(ImmutableSandboxedEnvironment):
    intercepted_binops = frozenset(["*", "**"])

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        for value, times in ((left, right), (right, left)):
            if isinstance(times, int) and isinstance(value, str | list | tuple) and times > MAX_GROWTH:
                raise SecurityError("it repeats a text too often")
        if operator == "**" and isinstance(right, int) and right > 64:
            raise SecurityError("it computes too large a number")
        return super().call_binop(context, operator, left, right)


class _Generation(Extension):
    """`{% generation %}…{% endgeneration %}` marks the answers for training; here it is just its content."""

    tags = {"generation"}  # noqa: RUF012

    def parse(self, parser: Parser) -> list[nodes.Node]:
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


class _Ranges:
    """The `range` of one rendering: MAX_STEPS numbers in all."""

    def __init__(self) -> None:
        self._left = MAX_STEPS

    def range(self, *bounds: int) -> range:
        numbers = range(*bounds)
        self._left -= len(numbers)
        if self._left < 0:
            raise SecurityError("it loops too often")
        return numbers


def _refuse(message: str) -> NoReturn:
    raise TemplateError(message)


def _to_json(value: Any, indent: int | None = None) -> str:
    if isinstance(value, RawJson):
        return value.text
    return json.dumps(value, ensure_ascii=False, indent=indent)
