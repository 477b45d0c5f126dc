"""A model that calls tools until it has its answer. Every step is a syscall like any other."""

from __future__ import annotations

import asyncio

import msgspec

from aios.errors import BadRequest, Forbidden, NotFound, ToolError
from aios.syscalls import (
    FunctionSpec,
    Generate,
    Message,
    ToolCall,
    ToolSpec,
    Trap,
    Usage,
)
from aios.syscalls.toolruns import RunTools, ToolRun
from aios.syscalls.tools import CallTool, ListTools, Tool

MOST_TURNS = 100
MOST_CALLS = 64
"""Calls of tools in one turn."""


async def run_tools(trap: Trap, asked: RunTools) -> ToolRun:
    """What a tool refuses, or a rule or a person denies, goes back to the model, for it to mend its call or do
    without.

    Raises BadRequest, NotFound (no such tool), and what the syscalls raise."""
    if asked.call.n != 1 or not 1 <= asked.max_turns <= MOST_TURNS:
        what = f"A run of tools takes n=1 and 1 to {MOST_TURNS} turns."
        raise BadRequest(what, "Correct `n` of its call, or `max_turns`.", param="max_turns")
    ours = await _tools(trap, asked.tools)
    specs = (*asked.call.tools, *map(_spec, ours.values()))
    added: list[Message] = []
    usage = Usage()
    turn = 0
    while True:
        turn += 1
        messages = (*asked.call.messages, *added)
        completion = await trap(_turn(asked.call, messages, specs, turn))
        usage = _added(usage, completion.usage)
        answer = completion.choices[0]
        added.append(Message(role="assistant", content=answer.content, tool_calls=answer.tool_calls))
        finished = not answer.tool_calls or any(call.function.name not in ours for call in answer.tool_calls)
        if not finished:
            key = asked.call.idempotency_key
            added += await _results(trap, answer.tool_calls, f"{key}/{turn}" if key else None)
        if finished or turn == asked.max_turns:
            return ToolRun(
                completion=completion, messages=tuple(added), turns=turn, usage=usage, finished=finished
            )


async def _tools(trap: Trap, names: tuple[str, ...]) -> dict[str, Tool]:
    """Raises NotFound."""
    wanted = [ListTools(name=name) for name in names] or [ListTools()]
    found: dict[str, Tool] = {}
    for call in wanted:
        told = await trap(call)
        found |= {tool.name: tool for tool in told.tools}
    return found


def _turn(call: Generate, messages: tuple[Message, ...], specs: tuple[ToolSpec, ...], turn: int) -> Generate:
    """A key names one answer, so each turn has its own; a choice that forces a tool forces the first turn only,
    or the model could never answer."""
    forced = turn > 1 and call.tool_choice not in ("auto", "none")
    return msgspec.structs.replace(
        call, messages=messages, tools=specs, tool_choice="auto" if forced else call.tool_choice,
        idempotency_key=f"{call.idempotency_key}/{turn}" if call.idempotency_key else None,
    )  # fmt: skip


async def _results(trap: Trap, calls: tuple[ToolCall, ...], key: str | None) -> list[Message]:
    """All at once; in the order of the calls. Under a `key` each runs once, however often the run is sent."""
    try:
        async with asyncio.TaskGroup() as tasks:
            running = [
                tasks.create_task(_result(trap, call, f"{key}/{number}" if key else None))
                for number, call in enumerate(calls[:MOST_CALLS])
            ]
    except ExceptionGroup as errors:
        raise errors.exceptions[0] from None
    told = [task.result() for task in running]
    told += ["Error: too many calls at once; make fewer."] * (len(calls) - len(told))
    return [
        Message(role="tool", content=text, tool_call_id=call.id, name=call.function.name)
        for call, text in zip(calls, told, strict=True)
    ]


async def _result(trap: Trap, call: ToolCall, key: str | None) -> str:
    name, arguments = call.function.name, call.function.arguments
    try:
        asked = CallTool(name=name, arguments=arguments, id=call.id, idempotency_key=key)
        result = await trap(asked)
    except (ToolError, NotFound, Forbidden) as error:
        return f"Error: {error}"
    return result.text


def _spec(tool: Tool) -> ToolSpec:
    return ToolSpec(
        function=FunctionSpec(name=tool.name, description=tool.description, parameters=tool.parameters)
    )


def _added(a: Usage, b: Usage) -> Usage:
    return Usage(
        prompt_tokens=a.prompt_tokens + b.prompt_tokens,
        completion_tokens=a.completion_tokens + b.completion_tokens,
        cached_tokens=a.cached_tokens + b.cached_tokens,
    )
