"""The tools of one kernel: the built-in ones, those of the configuration, and those an operator added."""

from __future__ import annotations

import asyncio
import hashlib
import logging
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import quote

import httpx
import msgspec

from aios.access.files import write_private
from aios.config import ToolSettings
from aios.errors import AiosError, ConfigError, StorageUnavailable
from aios.syscalls.tools import ToolList, ToolSource
from aios.tools.browser.provider import Browser
from aios.tools.builtin import builtin_tools
from aios.tools.builtin.knowledge import TrapOf
from aios.tools.manager import ToolManager
from aios.tools.order import Order
from aios.tools.providers.source import provider

log = logging.getLogger(__name__)


class Toolbox:
    """`manager` runs them. What is added is kept in `file` for the next start; `client` makes the requests of
    HTTP services."""

    def __init__(self, manager: ToolManager, client: httpx.AsyncClient, file: Path) -> None:
        self.manager, self._client, self._file = manager, client, file
        self._added: dict[str, ToolSource] = {}
        self._changing = asyncio.Lock()

    async def offer(self, source: ToolSource) -> None:
        """Offer the tools of a source; they are asked for when first needed. Raises ConfigError, Conflict."""
        self.manager.add(await asyncio.to_thread(provider, source, self._client))

    async def add(self, source: ToolSource) -> ToolList:
        """Offer them from now on, after a restart too. Raises ConfigError, Conflict, ToolUnavailable (they
        can't be had now), StorageUnavailable: then nothing changed."""
        async with self._changing:
            made = await asyncio.to_thread(provider, source, self._client)
            self.manager.add(made)
            try:
                tools = [bound.tool for bound in (await made.tools()).values()]
                await self._keep({**self._added, source.name: source})
            except BaseException:
                await self.manager.remove(source.name)
                raise
        return ToolList(tools=tuple(sorted(tools, key=lambda tool: tool.name)))

    async def remove(self, name: str) -> ToolList:
        """What is left. One of the configuration's is back after a restart. Raises NotFound,
        StorageUnavailable."""
        async with self._changing:
            if name in self._added:
                await self._keep({key: source for key, source in self._added.items() if key != name})
            await self.manager.remove(name)
        return ToolList(tools=await self.manager.list())

    async def restore(self) -> None:
        """Offer what was added before. What can't be had any more is left out, and stays in the file."""
        try:
            text = await asyncio.to_thread(self._file.read_bytes)
            self._added = {source.name: source for source in msgspec.json.decode(text, type=list[ToolSource])}
        except FileNotFoundError:
            return
        except (OSError, ValueError) as error:  # msgspec's errors are ValueErrors
            mend = "Restore it, or remove it to start without added tools."
            raise ConfigError(f"{self._file} can't be read: {error}.", mend) from error
        for source in self._added.values():
            try:
                await self.offer(source)
            except AiosError as error:
                log.warning("the tools of %s are left out: %s", source.name, error)

    async def _keep(self, added: dict[str, ToolSource]) -> None:
        data = msgspec.json.format(msgspec.json.encode(list(added.values())))
        try:
            await asyncio.to_thread(write_private, self._file, data)
        except OSError as error:
            mend = "Free disk space or make the state folder writable."
            raise StorageUnavailable(f"{self._file} can't be written: {error}.", mend) from error
        self._added = added


@asynccontextmanager
async def open_toolbox(
    settings: ToolSettings, state: Path, order: Callable[[], Order], tasks: asyncio.TaskGroup, trap: TrapOf,
    clean: Callable[[str], str],
) -> AsyncGenerator[Toolbox]:  # fmt: skip
    """The tools that the configuration names, ready to be called. `order`: who goes first of those that wait
    for one tool. `trap`: makes the syscalls of tools that are some. `clean`: takes secrets out of a text.
    Raises ConfigError."""
    manager = ToolManager(
        order=order, most_waiting=settings.max_queue, most_boxes=settings.max_boxes,
        result_chars=settings.result_chars, clean=clean,
    )  # fmt: skip
    async with httpx.AsyncClient(trust_env=False) as client:
        toolbox = Toolbox(manager, client, state / "tools.json")
        builtin = builtin_tools(
            profile=settings.box, hosts=settings.hosts, trap=trap, result_chars=settings.result_chars
        )
        for bound in builtin if settings.builtin else ():
            manager.add(bound)
        if settings.browser.enabled:
            manager.add(Browser(settings.browser, settings.hosts))
        packages = [ToolSource(name=name, kind="package") for name in settings.packages]
        for source in (*packages, *settings.sources):
            await toolbox.offer(source)
        await toolbox.restore()
        manager.start(tasks)
        yield toolbox
        await manager.close()


def folder_of(work: Path, agent: str) -> Path:
    """The folder of an agent: readable, and no two agents have one."""
    digest = hashlib.sha256(agent.encode()).hexdigest()[:12]
    return work / f"{quote(agent, safe='')[:80]}-{digest}"
