"""An agent's memory as a file: JSON lines, the first says what it is."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import msgspec

from aios.errors import BadRequest
from aios.memory import entries
from aios.memory.conversations import Conversations, from_text
from aios.memory.database import Connection
from aios.memory.entries import Row
from aios.memory.records import BlockMeta, Identity, NoteMeta
from aios.memory.store import Draft, EntryStore
from aios.syscalls import Record
from aios.syscalls.memory_records import Filter, Kind

VERSION = 1


class _Head(Record, frozen=True):
    aios_memory: int


class _Line(Record, frozen=True):
    """One entry. `links`: to lines of the same file, by their `id`."""

    id: str
    kind: Kind
    data: bytes = b""
    name: str = ""
    tags: tuple[str, ...] = ()
    pinned: bool = False
    meta: msgspec.Raw = msgspec.Raw(b"{}")
    links: tuple[tuple[str, float], ...] = ()
    tokens: tuple[int, ...] = ()


async def export(store: EntryStore, conversations: Conversations, who: Identity, filter: Filter) -> bytes:
    """All of `who`'s own entries that `filter` lets through."""
    own = msgspec.structs.replace(filter, own=True)
    rows = await store.database.read(lambda db: entries.visible(db, who, own, store.grants))
    lines = [msgspec.json.encode(_Head(aios_memory=VERSION))]
    for row in rows:
        _, data = await store.read(who, row.id)
        tokens: tuple[int, ...] = ()
        if row.kind == "conversation":
            data = (await conversations.text(who, row.id)).encode()
            tokens = tuple(await conversations.tokens(who, row.id))
        links = await store.database.read(lambda db, row=row: _links_of(db, row))
        line = _Line(
            id=row.id, kind=row.kind, data=data, name=row.name, tags=row.tags, pinned=row.pinned,
            meta=msgspec.Raw(row.meta.encode()), links=links, tokens=tokens,
        )  # fmt: skip
        lines.append(msgspec.json.encode(line))
    return b"\n".join(lines) + b"\n"


async def take_in(
    store: EntryStore, conversations: Conversations, who: Identity, data: bytes,
    undo: Callable[[list[Row]], Awaitable[None]],
) -> tuple[str, ...]:  # fmt: skip
    """New entries from what `export` gave. All or, with `undo` of what was made, none."""
    lines = _parsed(data)
    made: dict[str, Row] = {}
    try:
        for line in lines:
            made[line.id] = await _make(store, conversations, who, line)
        pairs = [(made[line.id].row, made[to].row, s) for line in lines for to, s in line.links if to in made]
        await store.database.write(
            lambda db: db.executemany(
                "INSERT OR REPLACE INTO links (row, target, strength) VALUES (?, ?, ?)", pairs
            )
        )
    except BaseException as error:
        await undo(list(made.values()))
        if isinstance(error, UnicodeDecodeError | msgspec.MsgspecError):
            raise BadRequest(f"That is no exported memory: {error}.", "Give what `export` gave.") from error
        raise
    return tuple(row.id for row in made.values())


async def _make(store: EntryStore, conversations: Conversations, who: Identity, line: _Line) -> Row:
    words, about, meta = None, "", "{}"
    match line.kind:
        case "conversation":
            messages = from_text(line.data.decode())
            made = await conversations.record(who, messages, tokens=line.tokens, name=line.name, tags=line.tags)
            return await store.find(who, made.id)
        case "note":
            note = msgspec.json.decode(line.meta, type=NoteMeta)
            words, about = line.data.decode(), " ".join((*note.keywords, *line.tags, note.context))
            meta = msgspec.json.encode(note).decode()
        case "block":
            block = msgspec.json.decode(line.meta, type=BlockMeta)
            words, about, meta = line.data.decode(), block.about, msgspec.json.encode(block).decode()
        case "text":
            words = line.data.decode()
        case "data":
            pass
    draft = Draft(line.data, meta, words, about, tags=line.tags, why="imported")
    return await store.create(who, line.kind, line.name, draft, pinned=line.pinned or line.kind == "block")


def _parsed(data: bytes) -> list[_Line]:
    head, *rest = data.split(b"\n")
    try:
        version = msgspec.json.decode(head, type=_Head).aios_memory
        lines = [msgspec.json.decode(line, type=_Line) for line in rest if line]
    except ValueError as error:  # msgspec's errors are ValueErrors
        raise BadRequest(f"That is no exported memory: {error}.", "Give what `export` gave.") from error
    if version != VERSION:
        raise BadRequest(f"The export is of version {version}, not {VERSION}.", "Export it again.")
    return lines


def _links_of(db: Connection, row: Row) -> tuple[tuple[str, float], ...]:
    return tuple(
        db.execute(
            "SELECT e.id, l.strength FROM links l JOIN entries e ON e.row = l.target WHERE l.row = ?",
            (row.row,),
        ).fetchall()
    )
