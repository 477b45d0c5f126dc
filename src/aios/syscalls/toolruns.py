"""A model and tools in one request: the model is asked, the tools that it calls are run, and it is asked
again."""

from __future__ import annotations

from aios.syscalls.base import Record
from aios.syscalls.llm import Completion, Generate, Message, Usage


class RunTools(Record, frozen=True):
    """`call` is made, with the kernel's tools of these names (none: all) besides its own, and again with what
    they returned, `max_turns` times at most. A call of a tool that is not the kernel's ends the run."""

    call: Generate
    tools: tuple[str, ...] = ()
    max_turns: int = 8


class ToolRun(Record, frozen=True):
    """`completion`: the last answer. `messages`: what the run added to the conversation, that answer included.
    `turns`: how often the model was asked; `usage`: of all turns. `finished`: False if it ran out of turns."""

    completion: Completion
    messages: tuple[Message, ...]
    turns: int
    usage: Usage
    finished: bool
