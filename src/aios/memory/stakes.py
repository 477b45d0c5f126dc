"""What a call would delete of memory, or write over: the same for memory as storage/stakes.py is for files."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from contextlib import contextmanager
from types import MappingProxyType
from typing import Any

import msgspec

from aios.errors import AiosError
from aios.memory import entries
from aios.memory.blocks import Blocks
from aios.memory.conversations import Conversations, to_text
from aios.memory.entries import Row
from aios.memory.records import Identity
from aios.memory.store import EntryStore
from aios.storage.stakes import DONE, LISTED, LOST, SHOWN_CHARS, Stake
from aios.storage.versions import unified
from aios.syscalls import Call
from aios.syscalls import memory as m

MAY: Mapping[type[Call[Any]], tuple[str, ...]] = MappingProxyType({
    m.Write: ("overwrites",), m.ReviseNote: ("overwrites",), m.EditBlock: ("overwrites",),
    m.SaveConversation: ("overwrites",), m.Delete: tuple(LOST), m.Clear: tuple(LOST),
})  # fmt: skip
"""What calls may do to what is there. Appending, and a conversation that goes on, leave it as it is; so do
tags, keywords and links, which are said of it."""

KINDS: Mapping[type[Call[Any]], tuple[str, ...]] = MappingProxyType({
    m.Write: ("text", "data", "note", "block"), m.ReviseNote: ("note",), m.EditBlock: ("block",),
    m.SaveConversation: ("conversation",),
})  # fmt: skip
"""Kinds of entries that calls change; others they refuse themselves."""


class Stakes:
    """Of calls on the entries of `store`."""

    may = MAY

    def __init__(self, store: EntryStore, blocks: Blocks, conversations: Conversations) -> None:
        self._store, self._blocks, self._conversations = store, blocks, conversations

    async def of(self, who: Identity, call: Call[Any]) -> Stake:
        """What `call` would lose. A call that can't be done loses nothing. Raises StorageUnavailable."""
        if isinstance(call, m.EditBlock) and await self._blocks.edited(who, call.idempotency_key):
            return Stake(seen=DONE)
        rows = await self._rows(who, call)
        seen = {row.id: row.version for row in rows}
        if isinstance(call, m.Delete | m.Clear):
            return Stake(LOST if rows else {}, seen)
        try:
            over = [row for row in rows if _possible(row, call) and await self._differs(who, row, call)]
        except AiosError:  # who can't read it can't change it either: the call says why
            over = []
        return Stake({"overwrites": True} if over else {}, seen)

    @contextmanager
    def standing_on(self, call: Call[Any], stake: Stake) -> Generator[None]:
        """A change in here raises Outdated, and changes nothing, if something else is at stake by then."""
        with self._store.fenced(stake.seen):
            yield

    async def shown(self, who: Identity, call: Call[Any]) -> str:
        """What `call` would change, for a person. Raises StorageUnavailable."""
        rows = await self._rows(who, call)
        if isinstance(call, m.Clear):
            more = ["(and more)"] if len(rows) > LISTED else []
            lines = [f"- {row.id} {row.kind} {row.name} ({row.size} bytes)" for row in rows[:LISTED]]
            return "\n".join([*lines, *more])
        try:
            text = "\n".join([await self._changed(who, row, call) for row in rows])
        except AiosError as error:  # of what is damaged there is no diff
            return error.what
        return text if len(text) <= SHOWN_CHARS else f"{text[:SHOWN_CHARS]}\n(and more)"

    async def _rows(self, who: Identity, call: Call[Any]) -> list[Row]:
        """What it is about, as far as this one may change it."""
        store = self._store
        match call:
            case m.Clear():
                own = msgspec.structs.replace(call.filter, own=True)
                return await store.database.read(lambda db: entries.visible(db, who, own, store.grants))
            case m.EditBlock():
                id = await self._blocks.id_of(who, call.block)
            case m.Delete() | m.Write() | m.ReviseNote() | m.SaveConversation():
                id = call.id
            case _:
                return []
        try:
            return [await store.find(who, id, "own" if isinstance(call, m.Delete) else "write")]
        except AiosError:
            return []

    async def _differs(self, who: Identity, row: Row, call: Call[Any]) -> bool:
        match call:
            case m.SaveConversation():
                return not to_text(call.messages).startswith(await self._conversations.text(who, row.id))
            case m.EditBlock() if call.action == "append":
                return False
            case m.EditBlock() if call.action == "replace":
                _, body = await self._store.read(who, row.id)
                return call.old != call.text and bool(call.old) and body.decode().count(call.old) == 1
            case _:
                after = _after(call)
                return after is not None and entries.digest(after) != row.digest

    async def _changed(self, who: Identity, row: Row, call: Call[Any]) -> str:
        before, after = await self._bodies(who, row, call)
        name = row.name or row.id
        new = "gone" if isinstance(call, m.Delete) else "new"
        kind, text = unified(name, row.version, new, before, after, 0 if new == "gone" else 3)
        if kind == "text" and text:
            return text
        return f"- {name} ({row.kind}, {len(before)} bytes)"

    async def _bodies(self, who: Identity, row: Row, call: Call[Any]) -> tuple[bytes, bytes]:
        if row.kind == "conversation":
            before = (await self._conversations.text(who, row.id)).encode()
        else:
            _, before = await self._store.read(who, row.id)
        match call:
            case m.EditBlock() if call.action == "replace":
                return before, before.decode().replace(call.old, call.text, 1).encode()
            case m.SaveConversation():
                return before, to_text(call.messages).encode()
            case _:
                return before, _after(call) or b""


def _possible(row: Row, call: Call[Any]) -> bool:
    """Whether the call will not be refused anyway: it is for this kind, and for this version."""
    return row.kind in KINDS.get(type(call), ()) and getattr(call, "expect", None) in (None, row.version)


def _after(call: Call[Any]) -> bytes | None:
    """The body that a call puts in the place of what is there; None: none."""
    match call:
        case m.Write():
            return call.data or call.text.encode()
        case m.EditBlock():
            return call.text.encode()
        case m.ReviseNote():
            return None if call.content is None else call.content.encode()
        case _:
            return None
