"""Conversation history: messages and token ids in each agent's tries, shared prefixes stored once, on disk and
in RAM.

Agents do not share a trie: what another one said must not be guessable from what storing it costs.
"""

from __future__ import annotations

import asyncio
import itertools
import weakref
from array import array
from collections import OrderedDict
from collections.abc import AsyncGenerator, Iterator, Sequence
from contextlib import asynccontextmanager
from typing import Any, Literal

import msgspec

from aios.errors import BadRequest
from aios.memory import entries
from aios.memory.database import Connection
from aios.memory.entries import Row
from aios.memory.records import Identity
from aios.memory.store import Draft, EntryStore
from aios.memory.trie import Changes, Edge, HistoryTrie
from aios.syscalls import Message
from aios.syscalls.memory_records import Conversation, Prefix

Form = Literal["text", "tokens"]
Tries = tuple[HistoryTrie[str], HistoryTrie[list[int]]]
_TOKEN_BYTES = 4


class Conversations:
    """The conversations of all agents. Tries are loaded when asked for, and the least recently used ones given
    up when they take more than `history_bytes`."""

    def __init__(self, store: EntryStore) -> None:
        self._store = store
        self._tries: OrderedDict[int, Tries] = OrderedDict()
        self._locks: weakref.WeakValueDictionary[int, asyncio.Lock] = weakref.WeakValueDictionary()
        self._numbers: Iterator[int] = itertools.count(1)

    async def open(self) -> None:
        """Before anything else."""
        statement = "SELECT coalesce(max(edge), 0) FROM edges"
        (last,) = await self._store.database.read(lambda db: db.execute(statement).fetchone())
        self._numbers = itertools.count(last + 1)

    async def record(
        self, who: Identity, messages: Sequence[Message], *, tokens: Sequence[int] = (), id: str = "",
        name: str = "", tags: tuple[str, ...] = (),
    ) -> Conversation:  # fmt: skip
        """Store a conversation as it stands now: a new one, or (`id`) the next state of one. Only what no other
        conversation of its owner begins with is new on disk. `tokens`: the ids a core made of it.

        Raises NotFound, Forbidden, LimitExceeded."""
        text, ids = to_text(messages), list(tokens)
        meta = _Meta(messages=len(messages), chars=len(text), tokens=len(ids))
        draft = Draft(b"", msgspec.json.encode(meta).decode(), tags=tags or None, name=name or None)
        key = id or entries.new_id("conversation")
        owner = (await self._row(who, id)).owner if id else await self._owner(who)
        async with self._change(owner) as (texts, tokens_of):
            before = _bytes(texts, tokens_of)
            changes: list[tuple[Form, Changes[Any]]] = [("text", texts.put(key, text))]
            if ids:
                changes.append(("tokens", tokens_of.put(key, ids)))
            elif key in tokens_of:
                changes.append(("tokens", tokens_of.drop(key)))
            grown = _bytes(texts, tokens_of) - before

            def also(db: Connection, row: Row) -> None:
                entries.check_quota(db, owner, grown, 0, self._store.limits)
                _write(db, owner, grown, [(row.row, form, change) for form, change in changes])

            if id:
                row = await self._store.change(who, id, lambda row, data: draft, also=also)
            else:
                row = await self._store.create(who, "conversation", name, draft, id=key, also=also)
        return _conversation(row)

    async def messages(self, who: Identity, id: str) -> tuple[Message, ...]:
        """Raises NotFound."""
        return from_text(await self.text(who, id))

    async def text(self, who: Identity, id: str) -> str:
        """As it is stored: one JSON message a line. Raises NotFound."""
        row = await self._row(who, id)
        async with self._lock(row.owner):
            texts, _ = await self._of(row.owner)
            return texts.get(id) if id in texts else ""

    async def tokens(self, who: Identity, id: str) -> list[int]:
        """Raises NotFound."""
        row = await self._row(who, id)
        async with self._lock(row.owner):
            _, tokens = await self._of(row.owner)
            return tokens.get(id) if id in tokens else []

    async def prefix(
        self, who: Identity, messages: Sequence[Message] = (), *, tokens: Sequence[int] = ()
    ) -> Prefix:
        """The longest beginning of these messages (or of these tokens) that the caller's own conversations
        have, and up to 100 of those that do."""
        number = await self._store.database.read(lambda db: _number(db, who.agent))
        if number is None:
            return Prefix(length=0)
        async with self._lock(number):
            texts, ids = await self._of(number)
            length, keys = ids.longest(list(tokens)) if tokens else texts.longest(to_text(messages))
            found = tuple(itertools.islice(keys, 100)) if length else ()
        return Prefix(length=length, conversations=found, messages=_whole(to_text(messages)[:length]))

    async def stored(self, who: Identity) -> tuple[int, int]:
        """Characters and tokens that the caller's tries hold."""
        number = await self._store.database.read(lambda db: _number(db, who.agent))
        if number is None:
            return 0, 0
        async with self._lock(number):
            texts, tokens = await self._of(number)
            return texts.stored, tokens.stored

    async def delete(self, rows: Sequence[Row]) -> None:
        """Conversations of one owner, and what only they needed of its tries."""
        if not rows:
            return
        owner = rows[0].owner
        async with self._change(owner) as (texts, tokens):
            before = _bytes(texts, tokens)
            changes: list[tuple[int, Form, Changes[Any]]] = []
            for row in rows:
                if row.id in texts:
                    changes.append((row.row, "text", texts.drop(row.id)))
                if row.id in tokens:
                    changes.append((row.row, "tokens", tokens.drop(row.id)))
            grown = _bytes(texts, tokens) - before
            await self._store.delete(list(rows), lambda db: _write(db, owner, grown, changes))

    # -- the tries -------------------------------------------------------------------------------------

    async def _row(self, who: Identity, id: str) -> Row:
        row = await self._store.find(who, id)
        if row.kind != "conversation":
            raise entries.unknown(id)
        return row

    def _lock(self, owner: int) -> asyncio.Lock:
        lock = self._locks.get(owner)
        if lock is None:
            lock = self._locks[owner] = asyncio.Lock()
        return lock

    @asynccontextmanager
    async def _change(self, owner: int) -> AsyncGenerator[Tries]:
        """The tries of `owner`, nobody else's meanwhile. If what follows fails, those in RAM are given up: the
        disk knows how they are."""
        async with self._lock(owner):
            try:
                yield await self._of(owner)
            except BaseException:
                self._tries.pop(owner, None)
                raise

    async def _owner(self, who: Identity) -> int:
        return await self._store.database.write(lambda db: entries.number_of(db, who.agent))

    async def _of(self, owner: int) -> Tries:
        """Loaded, and the most recently used. With its lock held."""
        tries = self._tries.get(owner)
        if tries is None:
            tries = await self._store.database.read(lambda db: _load(db, owner, self._numbers))
            self._tries[owner] = tries
        self._tries.move_to_end(owner)
        while (
            len(self._tries) > 1
            and sum(_bytes(*t) for t in self._tries.values()) > self._store.limits.history_bytes
        ):
            other = next(iter(self._tries))
            if self._lock(other).locked():
                break
            del self._tries[other]
        return tries


class _Meta(msgspec.Struct):
    messages: int
    chars: int
    tokens: int


def to_text(messages: Sequence[Message]) -> str:
    """One JSON message a line: a conversation that goes on has the text of the shorter one as its beginning."""
    return "".join(msgspec.json.encode(message).decode() + "\n" for message in messages)


def from_text(text: str) -> tuple[Message, ...]:
    """Raises BadRequest for what is no conversation."""
    try:
        return tuple(msgspec.json.decode(line, type=Message) for line in text.split("\n") if line)
    except ValueError as error:  # msgspec's errors are ValueErrors
        raise BadRequest(f"That is no conversation: {error}.", "One JSON message a line.") from error


def _whole(text: str) -> int:
    return text.count("\n")


def _bytes(texts: HistoryTrie[str], tokens: HistoryTrie[list[int]]) -> int:
    return texts.stored + _TOKEN_BYTES * tokens.stored


def _number(db: Connection, agent: str) -> int | None:
    found = db.execute("SELECT number FROM owners WHERE name = ?", (agent,)).fetchone()
    return None if found is None else found[0]


def _conversation(row: Row) -> Conversation:
    meta = msgspec.json.decode(row.meta, type=_Meta)
    return Conversation(
        id=row.id,
        name=row.name,
        messages=meta.messages,
        chars=meta.chars,
        tokens=meta.tokens,
        version=row.version,
    )


def _write(db: Connection, owner: int, grown: int, changes: Sequence[tuple[int, Form, Changes[Any]]]) -> None:
    """`changes`: of which entry's row, in which trie, and what."""
    for row, form, change in changes:
        db.executemany(
            "INSERT OR REPLACE INTO edges (edge, owner, form, parent, label) VALUES (?, ?, ?, ?, ?)",
            [(edge.number, owner, form, edge.parent, _packed(edge.label)) for edge in change.written],
        )
        db.executemany("DELETE FROM edges WHERE edge = ?", [(number,) for number in change.gone])
        if change.dropped:
            db.execute("DELETE FROM ends WHERE row = ? AND form = ?", (row, form))
        else:
            db.execute(
                "INSERT OR REPLACE INTO ends (row, form, edge) VALUES (?, ?, ?)", (row, form, change.end)
            )
    db.execute("UPDATE owners SET bytes = bytes + ? WHERE number = ?", (grown, owner))


def _packed(label: str | list[int]) -> bytes:
    return label.encode() if isinstance(label, str) else array("i", label).tobytes()


def _unpacked(data: bytes) -> list[int]:
    return array("i", data).tolist()


def _load(db: Connection, owner: int, numbers: Iterator[int]) -> Tries:
    texts, tokens = HistoryTrie("", numbers), HistoryTrie[list[int]]([], numbers)

    def edges(form: Form) -> list[tuple[int, int | None, bytes]]:
        statement = "SELECT edge, parent, label FROM edges WHERE owner = ? AND form = ?"
        return db.execute(statement, (owner, form)).fetchall()

    def ends(form: Form) -> list[tuple[str, int | None]]:
        statement = (
            "SELECT e.id, n.edge FROM ends n JOIN entries e ON e.row = n.row WHERE e.owner = ? AND n.form = ?"
        )
        return db.execute(statement, (owner, form)).fetchall()

    texts.load([Edge(n, parent, label.decode()) for n, parent, label in edges("text")], ends("text"))
    tokens.load([Edge(n, parent, _unpacked(label)) for n, parent, label in edges("tokens")], ends("tokens"))
    return texts, tokens
