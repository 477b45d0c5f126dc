"""What an agent is: a name, a client, tools, and a way to work on a task."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Literal, Protocol

from aios.errors import ToolError
from aios.sdk.requests import MessageLike
from aios.sdk.tool import Tool
from aios.syscalls import Completion, Message, Record, Usage


class ChatClient(Protocol):
    """What an agent needs of a client: AsyncClient has it."""

    async def chat(self, messages: Sequence[MessageLike], **options: Any) -> Completion: ...


class Turn(Record, frozen=True):
    """One step of an agent: what it thought and did, and what came back."""

    number: int
    thought: str = ""
    action: str = ""
    input: str = ""
    observation: str = ""
    usage: Usage = Usage()


class Outcome(Record, frozen=True):
    """The end of a run. `answer` is "" when the agent ran out of turns."""

    answer: str
    turns: tuple[Turn, ...]
    messages: tuple[Message, ...]
    usage: Usage


Phase = Literal["llm", "tool", "turn", "done"]
Watch = Callable[[Phase, Turn], None]
"""Told what the agent does: it calls the model, it calls a tool, a turn is over, all is over."""


class Agent(ABC):
    """Base of agents. Give it a client of its own (`AsyncClient(agent=name)`), so that the kernel knows it.

    Subclasses write `work`; `run` is what users call."""

    system = "You are a helpful agent."
    """Instructions; a subclass or the constructor sets it."""

    def __init__(
        self,
        client: ChatClient,
        *,
        name: str = "",
        tools: Iterable[Tool] = (),
        system: str = "",
        model: str = "",
        watch: Watch = lambda phase, turn: None,
        **options: Any,
    ) -> None:
        self.client = client
        self.name = name or type(self).__name__.lower()
        self.tools = {tool.name: tool for tool in tools}
        self.system = system or self.system
        self.model = model
        self.watch = watch
        self.options = options
        """Further parameters of each call to the model (temperature, max_tokens, …)."""

    async def run(self, task: str) -> str:
        """Work on `task` and return the answer."""
        return (await self.work(task)).answer

    @abstractmethod
    async def work(self, task: str) -> Outcome:
        """Work on `task`; the outcome has the whole story."""

    async def chat(self, messages: Sequence[MessageLike], **options: Any) -> Completion:
        """Ask the model."""
        return await self.client.chat(messages, **{"model": self.model, **self.options, **options})

    async def use(self, name: str, arguments: str | dict[str, Any]) -> str:
        """Call a tool. A failure comes back as text, for the model to repair its call."""
        if name not in self.tools:
            return f"Error: there is no tool {name!r}. Tools: {', '.join(self.tools)}."
        try:
            return await self.tools[name].call(arguments)
        except ToolError as error:
            return f"Error: {error}"


def added(a: Usage, b: Usage) -> Usage:
    return Usage(
        prompt_tokens=a.prompt_tokens + b.prompt_tokens,
        completion_tokens=a.completion_tokens + b.completion_tokens,
        cached_tokens=a.cached_tokens + b.cached_tokens,
    )
