"""What tools there are, and who provides them.

A tool has a name of its own, or `provider__name`: the prefix says whom to ask, so that a provider that nobody
calls is never loaded, started or connected to.
"""

from __future__ import annotations

import asyncio
import difflib
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from aios.errors import AiosError, Conflict, NotFound
from aios.syscalls.tools import Tool
from aios.tools.tool import Bound
from aios.tools.validate import Checker

log = logging.getLogger(__name__)
SEPARATOR = "__"
"""Between provider and tool: function names of models may hold no dot."""


class Provider(Protocol):
    """Somebody who has tools. `name` is the prefix of theirs."""

    name: str

    def start(self, tasks: asyncio.TaskGroup) -> None:
        """It is offered from now on; `tasks` owns whatever tasks it makes."""
        ...

    async def tools(self) -> Mapping[str, Bound]:
        """Its tools by their whole names; loads or connects when first asked. Raises ToolUnavailable."""
        ...

    async def close(self) -> None: ...


@runtime_checkable
class Keeper(Protocol):
    """A provider that keeps something of an agent's between its calls."""

    def holds(self, agent: str) -> bool: ...

    async def release(self, agent: str) -> None:
        """The agent is gone."""
        ...


@dataclass(frozen=True, slots=True)
class Known:
    """A tool that can be called, and what checks its arguments and result."""

    bound: Bound
    checker: Checker
    result: Checker | None


class Registry:
    """All tools of one manager."""

    def __init__(self) -> None:
        self._bound: dict[str, Bound] = {}
        self._providers: dict[str, Provider] = {}
        self._checked: dict[str, Known] = {}
        self._tasks: asyncio.TaskGroup | None = None

    def start(self, tasks: asyncio.TaskGroup) -> None:
        """Offer what there is; `tasks` owns what providers run."""
        self._tasks = tasks
        for provider in self._providers.values():
            provider.start(tasks)

    async def close(self) -> None:
        """Stop the providers."""
        for provider in self._providers.values():
            await provider.close()

    def add(self, what: Bound | Provider) -> None:
        """Raises Conflict, InvalidSchema."""
        name = what.tool.name if isinstance(what, Bound) else what.name
        if name in self._bound or name in self._providers:
            raise Conflict(f"There is a tool or provider {name!r} already.", "Remove it first, or rename one.")
        if isinstance(what, Bound):
            self._checked[name] = _known(what)
            self._bound[name] = what
        else:
            self._providers[name] = what
            if self._tasks is not None:
                what.start(self._tasks)

    async def remove(self, name: str) -> list[str]:
        """Returns the names of tools that are gone. Raises NotFound."""
        if self._bound.pop(name, None) is not None:
            gone = [name]
        elif provider := self._providers.pop(name, None):
            gone = [known for known in self._checked if known.startswith(name + SEPARATOR)]
            await provider.close()
        else:
            raise self._unknown(name)
        for each in gone:
            self._checked.pop(each, None)
        return gone

    async def get(self, name: str) -> Known:
        """Raises NotFound naming the nearest, and what a provider raises."""
        provider = self._providers.get(name.partition(SEPARATOR)[0])
        bound = self._bound.get(name)
        if bound is None and provider is not None:
            bound = (await provider.tools()).get(name)
        if bound is None:
            raise self._unknown(name)
        known = self._checked.get(name)
        if known is None or known.bound is not bound:
            known = self._checked[name] = _known(bound)
        return known

    async def list(self) -> tuple[Tool, ...]:
        """All, by name; without those of providers that can't tell theirs now."""
        found = [bound.tool for bound in self._bound.values()]
        answers = await asyncio.gather(*map(_tools, self._providers.values()))
        found += [bound.tool for tools in answers for bound in tools.values()]
        return tuple(sorted(found, key=lambda tool: tool.name))

    def keepers(self, agent: str) -> list[Keeper]:
        """Providers that hold something of an agent's."""
        every = self._providers.values()
        return [provider for provider in every if isinstance(provider, Keeper) and provider.holds(agent)]

    def _unknown(self, name: str) -> NotFound:
        if name in self._providers:
            mend = f"`aios tools` lists what it has, as {name}{SEPARATOR}tool."
            return NotFound(f"{name!r} is a source of tools, not a tool.", mend)
        names = [*self._bound, *self._checked, *self._providers]
        near = difflib.get_close_matches(name, names, n=1, cutoff=0.0)
        return NotFound(
            f"There is no tool {name!r}.", f"The nearest is {near[0]!r}." if near else "There are none."
        )


def _known(bound: Bound) -> Known:
    tool = bound.tool
    return Known(bound, Checker(tool.parameters), Checker(tool.result) if tool.result is not None else None)


async def _tools(provider: Provider) -> Mapping[str, Bound]:
    try:
        return await provider.tools()
    except AiosError as error:
        log.warning("tools of %s are left out: %s", provider.name, error)
        return {}
