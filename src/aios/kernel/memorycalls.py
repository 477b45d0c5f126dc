"""What the memory manager does for each `memory.*` call."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import msgspec

from aios.kernel.pcb import Process
from aios.kernel.services import Handler
from aios.memory.manager import MemoryManager
from aios.memory.records import Identity
from aios.memory.stakes import Stakes
from aios.storage.stakes import Stake
from aios.syscalls import memory as m
from aios.syscalls import memory_records as r
from aios.syscalls.base import Call

Work = Callable[[Identity, Any], Awaitable[Any]]


def memory_calls(manager: MemoryManager) -> dict[type[Call[Any]], Handler]:
    """Memory is of the agent of the calling process."""
    works: Mapping[type[Call[Any]], Work] = {
        m.Alloc: manager.alloc,
        m.Write: manager.write,
        m.Read: lambda who, call: manager.read(who, call.id),
        m.Stat: lambda who, call: manager.stat(who, call.id),
        m.Update: manager.update,
        m.Delete: lambda who, call: manager.delete(who, call.id),
        m.List: lambda who, call: manager.list(who, call.filter, limit=call.limit, after=call.after),
        m.Search: manager.search,
        m.Clear: lambda who, call: manager.clear(who, call.filter),
        m.Pin: lambda who, call: (manager.pin if call.pinned else manager.unpin)(who, call.id),
        m.Share: lambda who, call: manager.share(who, _named(who, call)),
        m.Unshare: lambda who, call: manager.unshare(who, call.id, _named(who, call).name, call.whom),
        m.Usage: lambda who, call: manager.usage(who),
        m.History: lambda who, call: manager.history(who, call.id),
        m.LearnFacts: manager.learn,
        m.RecallFacts: manager.recall_facts,
        m.Export: lambda who, call: manager.export(who, call.filter),
        m.Import: lambda who, call: manager.import_(who, call.data),
        **_notes(manager),
        **_blocks(manager),
        **_conversations(manager),
    }
    return {call: _handler(work) for call, work in works.items()}


class MemoryStakes:
    """What is at stake in them, of the agent of the calling process."""

    def __init__(self, stakes: Stakes) -> None:
        self._stakes, self.may, self.standing_on = stakes, stakes.may, stakes.standing_on

    async def of(self, process: Process, call: Call[Any]) -> Stake:
        return await self._stakes.of(_who(process), call)

    async def shown(self, process: Process, call: Call[Any]) -> str:
        return await self._stakes.shown(_who(process), call)


def _handler(work: Work) -> Handler:
    return lambda process, call: work(_who(process), call)


def _who(process: Process) -> Identity:
    return Identity(agent=process.agent, group=process.group, pid=process.pid)


def _notes(manager: MemoryManager) -> Mapping[type[Call[Any]], Work]:
    notes = manager.notes

    async def link(who: Identity, call: m.LinkNotes) -> r.Note:
        await notes.link(who, call.id, call.other, call.strength)
        return await notes.get(who, call.id)

    return {
        m.AddNote: manager.add_note,
        m.ReadNote: lambda who, call: notes.get(who, call.id, use=call.use),
        m.ReviseNote: lambda who, call: notes.revise(
            who, call.id, content=call.content, tags=call.tags, keywords=call.keywords, context=call.context,
            importance=call.importance, expect=call.expect,
        ),
        m.LinkNotes: link,
        m.Graph: lambda who, call: notes.graph(who, call.filter),
    }  # fmt: skip


def _blocks(manager: MemoryManager) -> Mapping[type[Call[Any]], Work]:
    blocks = manager.blocks

    async def every(who: Identity, call: m.ListBlocks) -> r.Blocks:
        return r.Blocks(blocks=await blocks.list(who), text=await blocks.render(who))

    return {
        m.MakeBlock: lambda who, call: blocks.create(
            who, call.name, call.text, about=call.about, limit=call.limit
        ),
        m.EditBlock: blocks.edit,
        m.ListBlocks: every,
    }


def _conversations(manager: MemoryManager) -> Mapping[type[Call[Any]], Work]:
    talks = manager.conversations

    async def read(who: Identity, call: m.ReadConversation) -> r.Messages:
        return r.Messages(messages=await talks.messages(who, call.id))

    return {
        m.SaveConversation: lambda who, call: talks.record(
            who, call.messages, tokens=call.tokens, id=call.id, name=call.name, tags=call.tags
        ),
        m.ReadConversation: read,
        m.FindPrefix: lambda who, call: talks.prefix(who, call.messages, tokens=call.tokens),
    }


def _named(who: Identity, call: m.Share | m.Unshare) -> Any:
    """An agent of the own group may be named without it."""
    if call.whom == "agent" and ":" not in call.name and call.name:
        return msgspec.structs.replace(call, name=f"{who.group}:{call.name}")
    return call
