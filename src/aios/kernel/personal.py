"""What memory puts into a window (`blocks`, `facts`), and what it learns of a turn behind the answer, at low
priority."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from typing import Any

import msgspec

from aios.cores.core import Core, Delta
from aios.errors import AiosError, BadRequest
from aios.kernel.admission import CHARS_PER_TOKEN
from aios.kernel.pcb import Process
from aios.memory.thinking import as_message
from aios.syscalls import Completion, Generate, Message, memory
from aios.syscalls.memory_records import Fact

log = logging.getLogger(__name__)

CANDIDATES = 20
"""Facts that are tried for the budget, best first."""
BLOCK = "<block "
"""How the message with the blocks begins."""


class Personal:
    """`trap` makes syscalls, `tasks` owns what is learned later."""

    def __init__(self, trap: Callable[[int, Any], Awaitable[Any]], tasks: asyncio.TaskGroup) -> None:
        self._trap, self._tasks = trap, tasks

    async def informed(self, process: Process, core: Core, call: Generate) -> Generate:
        """`call` with the agent's blocks, and what is known for its question, behind the system message: what
        changes least comes first, so that what all calls begin with stays a shared prefix. Raises BadRequest
        for a call without messages."""
        if not (call.blocks or call.facts):
            return call
        if not call.messages:
            raise BadRequest("Memory goes before a conversation.", "Send messages.", param="messages")
        told: list[Message] = []
        if call.blocks and (text := (await self._trap(process.pid, memory.ListBlocks())).text):
            told.append(Message(role="system", content=text))
        if chosen := await self._chosen(process, core, call) if call.facts else []:
            told.append(Message(role="system", content=as_message(chosen)))
        head = 1 if call.messages[0].role in ("system", "developer") else 0
        return msgspec.structs.replace(call, messages=(*call.messages[:head], *told, *call.messages[head:]))

    async def learning(
        self, pid: int, call: Generate, outputs: AsyncGenerator[Delta | Completion, None]
    ) -> AsyncGenerator[Delta | Completion, None]:
        """`outputs`, and what the turn told is learned when it is over."""
        async with aclosing(outputs):
            async for output in outputs:
                yield output
                if isinstance(output, Completion):
                    said = Message(role="assistant", content=output.choices[0].content or "")
                    learn = memory.LearnFacts(messages=(*call.messages, said))
                    self._tasks.create_task(self._learned(pid, learn), name="facts")

    async def _chosen(self, process: Process, core: Core, call: Generate) -> list[Fact]:
        """As many of the facts that matter as the budget has room for."""
        asked = next((m.content for m in reversed(call.messages) if m.role == "user" and m.content), "")
        known = await self._trap(process.pid, memory.RecallFacts(query=asked, limit=CANDIDATES))
        chosen: list[Fact] = []
        for fact in known.facts:
            text = as_message([*chosen, fact])
            (alone, *_) = await core.prepare(
                Generate(model=call.model, prompt=text), process.pid, process.group
            )
            if (len(alone.tokens) or -(-len(text) // CHARS_PER_TOKEN)) <= call.facts:
                chosen.append(fact)
        return chosen

    async def _learned(self, pid: int, learn: memory.LearnFacts) -> None:
        try:
            await self._trap(pid, learn)
        except AiosError as error:  # nobody waits for it
            log.info("nothing was learned of a turn of process %d: %s", pid, error)
