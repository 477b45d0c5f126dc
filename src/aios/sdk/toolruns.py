"""`client.run_tools`: a model that calls tools until it has its answer.

With tools of the kernel alone the kernel runs the whole loop, in one request. Functions of this program have to
be run here: then each turn is a request, and so is each call of one of the kernel's tools.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from aios.errors import NotFound, ToolError
from aios.sdk import answers, requests
from aios.sdk.agent import added
from aios.sdk.requests import MessageLike, Request
from aios.sdk.tool import Tool as Function
from aios.sdk.tools import called, shown
from aios.syscalls import Completion, FunctionSpec, Message, ToolCall, ToolSpec, Usage
from aios.syscalls.toolruns import ToolRun

ToolLike = Function | str
"""A function of this program (`@tool`), or the name of one of the kernel's tools."""


class Send(Protocol):
    """Sends a request and returns its answer."""

    async def __call__(self, request: Request[Any], /) -> Any: ...


def whole(
    messages: Sequence[MessageLike], tools: Sequence[ToolLike], max_turns: int, options: Mapping[str, Any]
) -> Request[ToolRun] | None:
    """The one request of a run with tools of the kernel alone; None if some are functions."""
    names = [tool for tool in tools if isinstance(tool, str)]
    if len(names) < len(tools):
        return None
    chat = dict(requests.chat(messages, options).body or {})
    choice: Any = chat.pop("tool_choice", "auto")
    if isinstance(choice, dict):  # as the OpenAI API names one function
        choice = f"={choice['function']['name']}"
    body = {"chat": chat, "tools": names, "tool_choice": choice, "max_turns": max_turns}
    return Request("POST", "/aios/v1/runs", lambda told: answers.decoded(told, ToolRun), body)


async def run(
    send: Send,
    messages: Sequence[MessageLike],
    tools: Sequence[ToolLike],
    max_turns: int,
    options: Mapping[str, Any],
) -> ToolRun:
    """Turn by turn. Raises what the requests raise; what a tool refuses goes back to the model."""
    functions = {tool.name: tool for tool in tools if isinstance(tool, Function)}
    names = {tool for tool in tools if isinstance(tool, str)}
    specs = [function.spec for function in functions.values()] + [await _spec(send, name) for name in names]
    new: list[Message] = []
    usage, turn = Usage(), 0
    while True:
        turn += 1
        forced = turn > 1 and options.get("tool_choice") not in (None, "auto", "none")
        asked = {**options, "tools": specs, **({"tool_choice": "auto"} if forced else {})}
        completion: Completion = await send(requests.chat([*messages, *new], asked))
        usage = added(usage, completion.usage)
        answer = completion.choices[0]
        new.append(Message(role="assistant", content=answer.content, tool_calls=answer.tool_calls))
        for call in answer.tool_calls:
            text = await _result(send, functions, names, call)
            new.append(Message(role="tool", content=text, tool_call_id=call.id, name=call.function.name))
        if not answer.tool_calls or turn >= max_turns:
            return ToolRun(
                completion=completion, messages=tuple(new), turns=turn, usage=usage,
                finished=not answer.tool_calls,
            )  # fmt: skip


async def _result(send: Send, functions: Mapping[str, Function], names: set[str], call: ToolCall) -> str:
    name, arguments = call.function.name, call.function.arguments
    try:
        if name in functions:
            return await functions[name].call(arguments)
        if name not in names:
            raise NotFound(f"There is no tool {name!r}.", f"Tools: {', '.join([*functions, *names])}.")
        return (await send(called(name, arguments, call.id))).text
    except (ToolError, NotFound) as error:
        return f"Error: {error}"


async def _spec(send: Send, name: str) -> ToolSpec:
    tool = await send(shown(name))
    return ToolSpec(
        function=FunctionSpec(name=tool.name, description=tool.description, parameters=tool.parameters)
    )


def blocking(send: Callable[[Request[Any]], Any]) -> Send:
    """A `Send` from a client that blocks."""

    async def send_now(request: Request[Any], /) -> Any:
        return send(request)

    return send_now
