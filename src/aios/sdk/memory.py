"""What an agent knows: `client.memory`. Each method is one syscall; `client.syscall` makes those not here."""

from __future__ import annotations

from collections.abc import Awaitable, Sequence
from typing import Any, Protocol, TypeVar

import msgspec

from aios.sdk import requests
from aios.sdk.requests import MessageLike, Request, tuples
from aios.syscalls import Call, Message, memory
from aios.syscalls.memory_records import (
    Block,
    Conversation,
    EntryInfo,
    Filter,
    Hit,
    Kind,
    Link,
    MemoryUsage,
    Note,
    NoteGraph,
    Page,
    Version,
    Whom,
)

T = TypeVar("T")


class Send(Protocol):
    """Sends a request and gives its answer."""

    def __call__(self, request: Request[T], /) -> T: ...


class AsyncSend(Protocol):
    """Sends a request and gives its answer, in time."""

    def __call__(self, request: Request[T], /) -> Awaitable[T]: ...


class AsyncMemory:
    """Memory of the calling agent. Raises NotFound (also for what it may not read), Forbidden, Conflict,
    LimitExceeded, BadRequest, StorageCorrupt, StorageUnavailable."""

    def __init__(self, send: AsyncSend) -> None:
        self._send = send

    async def add(self, data: str | bytes, *, kind: Kind | None = None, **fields: Any) -> EntryInfo:
        """Keep a text, or bytes (`kind`: "text", "data", or another one; fields of `memory.Alloc`)."""
        return await self._do(_alloc(data, kind, fields))

    async def read(self, id: str) -> bytes:
        """The bytes of an entry, exactly as they were written."""
        return (await self._do(memory.Read(id=id))).data

    async def stat(self, id: str) -> EntryInfo:
        """What is known of an entry."""
        return await self._do(memory.Stat(id=id))

    async def write(self, id: str, data: str | bytes, *, expect: int | None = None) -> EntryInfo:
        """Put `data` in the place of what is there; `expect`: the version it must have."""
        return await self._do(memory.Write(id=id, data=_bytes(data), expect=expect))

    async def append(self, id: str, data: str | bytes, *, expect: int | None = None) -> EntryInfo:
        """Add to the end of a text or data."""
        return await self._do(memory.Update(id=id, append=_bytes(data), expect=expect))

    async def update(self, id: str, *, name: str | None = None, tags: Sequence[str] | None = None) -> EntryInfo:
        """Give it another name, other tags."""
        return await self._do(_update(id, name, tags))

    async def delete(self, id: str) -> EntryInfo:
        """For good. What it was. A person is asked first, unless a rule says otherwise."""
        return await self._do(memory.Delete(id=id))

    async def clear(self, **filter: Any) -> tuple[str, ...]:
        """Delete all own entries that the filter lets through (fields of `Filter`); their ids."""
        return (await self._do(memory.Clear(filter=Filter(**filter)))).ids

    async def list(self, *, limit: int = 100, after: str = "", **filter: Any) -> Page:
        """Entries the agent may read, oldest first (fields of `Filter`); `after`: `next` of the page before."""
        return await self._do(memory.List(filter=Filter(**filter), limit=limit, after=after))

    async def search(self, query: str, *, limit: int = 10, **how: Any) -> tuple[Hit, ...]:
        """The best entries by words and meaning (`how`: fields of `memory.Search`, and of `Filter`)."""
        return (await self._do(_search(query, limit, how))).hits

    async def pin(self, id: str, pinned: bool = True) -> EntryInfo:
        """Keep it in RAM, or no longer."""
        return await self._do(memory.Pin(id=id, pinned=pinned))

    async def share(self, id: str, name: str, *, whom: Whom = "agent", **how: Any) -> EntryInfo:
        """Let an agent or a group read it (`write`: change it; `expires_s`)."""
        return await self._do(memory.Share(id=id, name=name, whom=whom, **how))

    async def unshare(self, id: str, name: str, *, whom: Whom = "agent") -> EntryInfo:
        """End that."""
        return await self._do(memory.Unshare(id=id, name=name, whom=whom))

    async def note(self, content: str, **fields: Any) -> Note:
        """Make a note; what is not given of it (fields of `memory.AddNote`) is found by a model."""
        return await self._do(memory.AddNote(content=content, **tuples(fields)))

    async def read_note(self, id: str, *, use: bool = False) -> Note:
        """`use`: it is needed, and stays longer."""
        return await self._do(memory.ReadNote(id=id, use=use))

    async def revise(self, id: str, **fields: Any) -> Note:
        """Change a note (fields of `memory.ReviseNote`)."""
        return await self._do(memory.ReviseNote(id=id, **tuples(fields)))

    async def links(self, id: str) -> tuple[Link, ...]:
        """Notes that belong together with this one, strongest first."""
        return (await self.read_note(id)).links

    async def graph(self, **filter: Any) -> NoteGraph:
        """All notes, and the links between them."""
        return await self._do(memory.Graph(filter=Filter(**filter)))

    async def history(self, id: str) -> tuple[Version, ...]:
        """Versions of a note or block, newest first."""
        return (await self._do(memory.History(id=id))).versions

    async def block(self, name: str, text: str = "", **fields: Any) -> Block:
        """Make a block (`about`, `limit`)."""
        return await self._do(memory.MakeBlock(name=name, text=text, **fields))

    async def edit_block(self, block: str, text: str, *, replacing: str = "", whole: bool = False) -> Block:
        """Add a line; or put `text` where `replacing` stands; or make it the `whole` text."""
        return await self._do(_edit(block, text, replacing, whole))

    async def blocks(self) -> str:
        """All blocks, as they stand in a window."""
        return (await self._do(memory.ListBlocks())).text

    async def save(self, messages: Sequence[MessageLike], **fields: Any) -> Conversation:
        """Keep a conversation as it stands now (`id`: as the next state of that one)."""
        return await self._do(_conversation(messages, fields))

    async def conversation(self, id: str) -> tuple[Message, ...]:
        """The messages of a conversation."""
        return (await self._do(memory.ReadConversation(id=id))).messages

    async def usage(self) -> MemoryUsage:
        """What the agent keeps."""
        return await self._do(memory.Usage())

    async def export(self, **filter: Any) -> bytes:
        """Own entries as JSON lines."""
        return (await self._do(memory.Export(filter=Filter(**filter)))).data

    async def import_(self, data: bytes) -> tuple[str, ...]:
        """Take in what `export` gave: all or nothing. The new ids."""
        return (await self._do(memory.Import(data=data))).ids

    async def _do(self, call: Call[T]) -> T:
        return await self._send(requests.syscall(call))


class Memory:
    """See AsyncMemory."""

    def __init__(self, send: Send) -> None:
        self._send = send

    def add(self, data: str | bytes, *, kind: Kind | None = None, **fields: Any) -> EntryInfo:
        return self._do(_alloc(data, kind, fields))

    def read(self, id: str) -> bytes:
        return (self._do(memory.Read(id=id))).data

    def stat(self, id: str) -> EntryInfo:
        return self._do(memory.Stat(id=id))

    def write(self, id: str, data: str | bytes, *, expect: int | None = None) -> EntryInfo:
        return self._do(memory.Write(id=id, data=_bytes(data), expect=expect))

    def append(self, id: str, data: str | bytes, *, expect: int | None = None) -> EntryInfo:
        return self._do(memory.Update(id=id, append=_bytes(data), expect=expect))

    def update(self, id: str, *, name: str | None = None, tags: Sequence[str] | None = None) -> EntryInfo:
        return self._do(_update(id, name, tags))

    def delete(self, id: str) -> EntryInfo:
        return self._do(memory.Delete(id=id))

    def clear(self, **filter: Any) -> tuple[str, ...]:
        return (self._do(memory.Clear(filter=Filter(**filter)))).ids

    def list(self, *, limit: int = 100, after: str = "", **filter: Any) -> Page:
        return self._do(memory.List(filter=Filter(**filter), limit=limit, after=after))

    def search(self, query: str, *, limit: int = 10, **how: Any) -> tuple[Hit, ...]:
        return (self._do(_search(query, limit, how))).hits

    def pin(self, id: str, pinned: bool = True) -> EntryInfo:
        return self._do(memory.Pin(id=id, pinned=pinned))

    def share(self, id: str, name: str, *, whom: Whom = "agent", **how: Any) -> EntryInfo:
        return self._do(memory.Share(id=id, name=name, whom=whom, **how))

    def unshare(self, id: str, name: str, *, whom: Whom = "agent") -> EntryInfo:
        return self._do(memory.Unshare(id=id, name=name, whom=whom))

    def note(self, content: str, **fields: Any) -> Note:
        return self._do(memory.AddNote(content=content, **tuples(fields)))

    def read_note(self, id: str, *, use: bool = False) -> Note:
        return self._do(memory.ReadNote(id=id, use=use))

    def revise(self, id: str, **fields: Any) -> Note:
        return self._do(memory.ReviseNote(id=id, **tuples(fields)))

    def links(self, id: str) -> tuple[Link, ...]:
        return (self.read_note(id)).links

    def graph(self, **filter: Any) -> NoteGraph:
        return self._do(memory.Graph(filter=Filter(**filter)))

    def history(self, id: str) -> tuple[Version, ...]:
        return (self._do(memory.History(id=id))).versions

    def block(self, name: str, text: str = "", **fields: Any) -> Block:
        return self._do(memory.MakeBlock(name=name, text=text, **fields))

    def edit_block(self, block: str, text: str, *, replacing: str = "", whole: bool = False) -> Block:
        return self._do(_edit(block, text, replacing, whole))

    def blocks(self) -> str:
        return (self._do(memory.ListBlocks())).text

    def save(self, messages: Sequence[MessageLike], **fields: Any) -> Conversation:
        return self._do(_conversation(messages, fields))

    def conversation(self, id: str) -> tuple[Message, ...]:
        return (self._do(memory.ReadConversation(id=id))).messages

    def usage(self) -> MemoryUsage:
        return self._do(memory.Usage())

    def export(self, **filter: Any) -> bytes:
        return (self._do(memory.Export(filter=Filter(**filter)))).data

    def import_(self, data: bytes) -> tuple[str, ...]:
        return (self._do(memory.Import(data=data))).ids

    def _do(self, call: Call[T]) -> T:
        return self._send(requests.syscall(call))


def _bytes(data: str | bytes) -> bytes:
    return data.encode() if isinstance(data, str) else data


def _alloc(data: str | bytes, kind: Kind | None, fields: dict[str, Any]) -> memory.Alloc:
    kind = kind or ("text" if isinstance(data, str) else "data")
    return memory.Alloc(kind=kind, data=_bytes(data), **tuples(fields))


def _update(id: str, name: str | None, tags: Sequence[str] | None) -> memory.Update:
    return memory.Update(id=id, name=name, tags=None if tags is None else tuple(tags))


def _search(query: str, limit: int, how: dict[str, Any]) -> memory.Search:
    own = {name: how.pop(name) for name in ("by", "freshness") if name in how}
    return memory.Search(query=query, limit=limit, filter=Filter(**tuples(how)), **own)


def _edit(block: str, text: str, replacing: str, whole: bool) -> memory.EditBlock:
    action = "replace" if replacing else "set" if whole else "append"
    return memory.EditBlock(block=block, action=action, text=text, old=replacing)


def _conversation(messages: Sequence[MessageLike], fields: dict[str, Any]) -> memory.SaveConversation:
    whole = tuple([m if isinstance(m, Message) else msgspec.convert(m, Message) for m in messages])
    return memory.SaveConversation(messages=whole, **tuples(fields))
