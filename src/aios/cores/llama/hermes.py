"""How a tool call is written: the Hermes form, that Qwen2.5 and others are trained on.

    <tool_call>
    {"name": "weather", "arguments": {"city": "Oslo"}}
    </tool_call>

Models that were trained on no form, or on another, are told this one in the system message. Some that know it
still write an answer that is nothing but the JSON of a call, bare or in a code fence (Qwen2.5-Coder does,
more often than not): that is read as a call, too.
"""

from __future__ import annotations

import json
import re
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


def bare_names(tools: Sequence[ToolSpec]) -> tuple[str, ...]:
    """The tools whose calls may stand without `<tool_call>`: those with plain names."""
    return tuple(t.function.name for t in tools if re.fullmatch(r"[A-Za-z0-9_-]{1,64}", t.function.name))


def call_grammar(
    tools: Sequence[ToolSpec], *, required: bool, parallel: bool, answer: Schema | None = None
) -> str:
    """The source of a grammar for answers that call `tools`.

    `required`: one call (up to MAX_CALLS if `parallel`) and nothing else. Otherwise free text that is free up
    to the first `<tool_call>`, or up to `"arguments":` where the answer begins as a bare call; from there on
    only calls. `answer`: instead of free text, JSON by that schema. Each call has the arguments of its own
    tool. Raises InvalidSchema."""
    opened, another = sources.literal(OPEN), sources.literal(f"\n{OPEN}")
    head, tail = sources.literal('\n{"name": '), sources.literal(f"}}\n{CLOSE}")
    again = f" more{{0,{MAX_CALLS - 1}}}" if parallel else ""
    rules = [f"body: {head} call {tail}"]
    if parallel:
        rules.append(f"more: {another} body")
    if required:
        starts = [f"{opened} body{again}"]
    elif answer is not None:
        starts = ["answer", f"{opened} body{again}"]
        rules.append(f"answer: {sources.inline_json(answer)}")
    else:
        starts = ["TEXT", f"opened body{again}"]
        rules += ["TEXT: /(.|\\n)*/", f"opened[lazy]: TEXT {opened}"]
        for i, tool in enumerate(tools):
            if bare_names([tool]):
                more, its_rules = _bare(i, tool.function.name)
                starts += more
                rules += its_rules
    calls = [f"{sources.literal(_named(t.function))} arguments_{i}" for i, t in enumerate(tools)]
    rules += [f"call: {' | '.join(calls)}"]
    rules += [f"arguments_{i}: {_arguments(t.function)}" for i, t in enumerate(tools)]
    return "\n".join(["%llguidance {}", f"start: {' | '.join(starts)}", *rules])


def _bare(i: int, name: str) -> tuple[list[str], list[str]]:
    """Starts and rules for a bare call of tool number i. The lazy lexemes win over free text once complete."""
    head = rf'\{{\s*"name":\s*"{name}",\s*"arguments":'
    starts = [f'bare_{i} " " arguments_{i} "}}"', f'fenced_{i} " " arguments_{i} "\\n}}\\n```"']
    return starts, [rf"bare_{i}[lazy]: /\s*{head}/", rf"fenced_{i}[lazy]: /\s*```(json)?\s*{head}/"]


def _named(function: FunctionSpec) -> str:
    return f'{json.dumps(function.name, ensure_ascii=False)}, "arguments": '


def _arguments(function: FunctionSpec) -> str:
    parameters = function.parameters or {"type": "object", "properties": {}}
    if not {"type", "$ref", "anyOf", "oneOf", "allOf"} & parameters.keys():
        parameters = {"type": "object", **parameters}
    if parameters.get("type", "object") != "object":
        raise InvalidSchema(
            f"The parameters of tool {function.name!r} are not an object.",
            'Give them a schema with "type": "object".',
            param="tools",
        )
    return sources.inline_json(parameters, lenient=True)
