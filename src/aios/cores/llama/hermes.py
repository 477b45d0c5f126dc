"""How a tool call is written: the Hermes form, that Qwen2.5 and others are trained on.

    <tool_call>
    {"name": "weather", "arguments": {"city": "Oslo"}}
    </tool_call>

Models that were trained on no form, or on another, are told this one in the system message.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from aios.cores.llama import sources
from aios.cores.llama.sources import Schema
from aios.errors import InvalidSchema
from aios.syscalls import FunctionSpec, ToolSpec

OPEN, CLOSE = "<tool_call>", "</tool_call>"
MAX_CALLS = 8
"""Most calls in one answer: a small model may find no end of them."""


def call_text(name: str, arguments: str) -> str:
    """One call as the model writes it; `arguments` is a JSON text."""
    return f'{OPEN}\n{{"name": {json.dumps(name, ensure_ascii=False)}, "arguments": {arguments}}}\n{CLOSE}'


def result_text(content: str) -> str:
    """The result of a call as it is shown to the model."""
    return f"<tool_response>\n{content}\n</tool_response>"


def instructions(tools: Sequence[dict[str, Any]]) -> str:
    """What a model is told of its tools when its own template has no place for them."""
    described = "\n".join(json.dumps(tool, ensure_ascii=False) for tool in tools)
    return (
        "# Tools\n\n"
        "You can call these functions. Each line describes one, as JSON:\n"
        f"<tools>\n{described}\n</tools>\n\n"
        "To call a function, write its name and its arguments as JSON, in this form and nothing after it:\n"
        f'{OPEN}\n{{"name": "the function", "arguments": {{"an argument": "its value"}}}}\n{CLOSE}\n'
        "You then get its result between <tool_response> and </tool_response>."
    )


def call_grammar(
    tools: Sequence[ToolSpec], *, required: bool, parallel: bool, answer: Schema | None = None
) -> str:
    """The source of a grammar for answers that call `tools`.

    `required`: one call (up to MAX_CALLS if `parallel`) and nothing else. Otherwise free text that is free up
    to the first `<tool_call>`; from there on only calls. `answer`: instead of free text, JSON by that schema.
    Each call has the arguments of its own tool. Raises InvalidSchema."""
    opened, another = sources.literal(OPEN), sources.literal(f"\n{OPEN}")
    head, tail = sources.literal('\n{"name": '), sources.literal(f"}}\n{CLOSE}")
    calls = " | ".join(_call(tool.function) for tool in tools)
    again = f" more{{0,{MAX_CALLS - 1}}}" if parallel else ""
    rules = [
        f"body: {head} call {tail}",
        f"call: {calls}",
        f"more: {another} body" if parallel else "",
    ]
    if required:
        start = [f"start: {opened} body{again}"]
    elif answer is not None:
        start = [f"start: answer | {opened} body{again}", f"answer: {sources.inline_json(answer)}"]
    else:
        start = [
            f"start: TEXT | opened body{again}",
            f"opened[lazy]: TEXT {opened}",
            "TEXT: /(.|\\n)*/",
        ]
    return "\n".join(["%llguidance {}", *start, *filter(None, rules)])


def _call(function: FunctionSpec) -> str:
    parameters = function.parameters or {"type": "object", "properties": {}}
    if not {"type", "$ref", "anyOf", "oneOf", "allOf"} & parameters.keys():
        parameters = {"type": "object", **parameters}
    if parameters.get("type", "object") != "object":
        raise InvalidSchema(
            f"The parameters of tool {function.name!r} are not an object.",
            'Give them a schema with "type": "object".',
            param="tools",
        )
    head = f'{json.dumps(function.name, ensure_ascii=False)}, "arguments": '
    return f"{sources.literal(head)} {sources.inline_json(parameters, lenient=True)}"
