"""Personal memory of calls that ask for it (`facts`): what is known goes in before the conversation, what the
turn tells is learned behind the answer, at low priority."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator
from contextlib import aclosing

import msgspec

from aios.cores.core import Delta
from aios.errors import AiosError, BadRequest
from aios.kernel.dispatch import Dispatcher
from aios.kernel.pool import Pool
from aios.kernel.process import ProcessTable
from aios.memory.thinking import as_message
from aios.syscalls import Completion, Generate, Message, memory
from aios.syscalls.memory_records import Fact

log = logging.getLogger(__name__)

CANDIDATES = 20
"""Facts that are tried for the budget, best first."""
CHARS_PER_TOKEN = 3
"""Where a core does not tell tokens: a cautious guess."""


class Personal:
    """Wraps llm calls of `calls`. `tasks` owns what is learned later."""

    def __init__(
        self, calls: Dispatcher, processes: ProcessTable, pool: Pool, tasks: asyncio.TaskGroup
    ) -> None:
        self._calls, self._processes, self._pool, self._tasks = calls, processes, pool, tasks

    async def stream(self, pid: int, call: Generate) -> AsyncGenerator[Delta | Completion, None]:
        """As `Dispatcher.stream`, with what is known put in, and what is told learned. Raises BadRequest for a
        call without messages."""
        if not call.messages:
            raise BadRequest("Facts go before a conversation.", "Send messages, or no `facts`.", param="facts")
        informed = await self._informed(pid, call)
        async with aclosing(self._calls.stream(pid, informed)) as outputs:
            async for output in outputs:
                yield output
                if isinstance(output, Completion):
                    self._learn(pid, call, output)

    async def _informed(self, pid: int, call: Generate) -> Generate:
        asked = next((m.content for m in reversed(call.messages) if m.role == "user" and m.content), "")
        known = await self._calls.trap(pid, memory.RecallFacts(query=asked, limit=CANDIDATES))
        chosen: list[Fact] = []
        for fact in known.facts:
            if await self._tokens(pid, call, as_message([*chosen, fact])) <= call.facts:
                chosen.append(fact)
        plain = msgspec.structs.replace(call, facts=0)
        if not chosen:
            return plain
        # Behind the system message, so that what all calls begin with stays a shared prefix.
        head = 1 if call.messages[0].role in ("system", "developer") else 0
        told = Message(role="system", content=as_message(chosen))
        messages = (*call.messages[:head], told, *call.messages[head:])
        return msgspec.structs.replace(plain, messages=messages)

    async def _tokens(self, pid: int, call: Generate, text: str) -> int:
        asked = self._pool.named(Generate(model=call.model, prompt=text))
        core = self._pool.route(asked.model, pid).core
        (sequence, *_) = await core.prepare(asked, pid, self._processes.get(pid).group)
        return len(sequence.tokens) or -(-len(text) // CHARS_PER_TOKEN)

    def _learn(self, pid: int, call: Generate, answer: Completion) -> None:
        said = Message(role="assistant", content=answer.choices[0].content or "")
        learn = memory.LearnFacts(messages=(*call.messages, said))
        self._tasks.create_task(self._learned(pid, learn), name="facts")

    async def _learned(self, pid: int, learn: memory.LearnFacts) -> None:
        try:
            await self._calls.trap(pid, learn)
        except AiosError as error:  # nobody waits for it
            log.info("nothing was learned of a turn of process %d: %s", pid, error)
