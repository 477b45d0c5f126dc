"""The memory manager: everything agents know, behind one door.

Every method takes who acts. What an agent may not read does not exist for it. What a method returned from is on
disk; what it raised for changed nothing.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from types import TracebackType

import msgspec

from aios.access.grants import Granted, Grants
from aios.errors import BadRequest, NotFound
from aios.memory import entries, transfer
from aios.memory.backing import Backing, SqliteBacking
from aios.memory.blocks import Blocks
from aios.memory.conversations import Conversations
from aios.memory.database import Connection, Database
from aios.memory.embed import Batched, Embedder
from aios.memory.entries import Row
from aios.memory.facts import FACT, NEIGHBOURS, PAST, Facts
from aios.memory.labels import EntryLabels, labels_of
from aios.memory.notes import Notes
from aios.memory.recall import Weights, recall
from aios.memory.records import BlockMeta, Identity, MemoryLimits, NoteMeta, Think
from aios.memory.sharing import resource
from aios.memory.stakes import Stakes
from aios.memory.store import Draft, EntryStore
from aios.syscalls.flow import current
from aios.syscalls.memory import AddNote, Alloc, LearnFacts, RecallFacts, Search, Share, Update, Write
from aios.syscalls.memory_records import (
    Content,
    EntryInfo,
    Exported,
    Fact,
    Filter,
    Grant,
    Hit,
    Hits,
    Ids,
    Kind,
    KnownFacts,
    LearnedFacts,
    MemoryUsage,
    Note,
    Page,
    Version,
    Versions,
    Whom,
)

PAGE = 1000
"""Most entries of one listing."""
_ALL = Filter()
_FACTS = Filter(kinds=("text",), tags=(FACT,), own=True)
_PAST = Filter(kinds=("text",), tags=(PAST,), own=True)


class MemoryManager:
    """Memory in `folder`. Used as a context; one process at a time has a folder.

    `embedder` None: recall goes by words alone, and says so. `think` None: notes are described by extraction.
    `backing` None: swapped bodies lie in the same database. `grants`: who lets whom at what (None: nobody did
    before, and what is shared is forgotten at the end). `clock`: Unix time."""

    def __init__(
        self, folder: Path, limits: MemoryLimits = MemoryLimits(), *, embedder: Embedder | None = None,  # noqa: B008
        think: Think | None = None, backing: Backing | None = None, weights: Weights = Weights(),  # noqa: B008
        grants: Grants | None = None, clock: Callable[[], float] = time.time,
    ) -> None:  # fmt: skip
        self._database = Database(folder / "memory.db")
        self._weights, self._clock, self._limits = weights, clock, limits
        self._embedder = None if embedder is None else Batched(embedder)
        self._grants = Grants(clock=clock) if grants is None else grants
        self._store = EntryStore(
            self._database, backing or SqliteBacking(self._database), limits, self._embedder, clock,
            self._grants,
        )  # fmt: skip
        self.notes = Notes(self._store, think)
        self.blocks = Blocks(self._store)
        self.conversations = Conversations(self._store)
        self.facts = Facts(self._store, think)
        self.labels = EntryLabels(self._store)
        self.stakes = Stakes(self._store, self.blocks, self.conversations)

    async def __aenter__(self) -> MemoryManager:
        """Raises Conflict (another process has the folder), StorageUnavailable."""
        await self._database.open()
        try:
            await self._hand_over()
            await self.conversations.open()
            await self._store.reap()
        except BaseException:
            await self._database.close()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._database.close()
        await self._store.close()

    async def _hand_over(self) -> None:
        """Grants that an earlier version kept here go to where all are."""

        def old(db: Connection) -> list[tuple[str, str, Whom, str, int, float | None]]:
            return db.execute(
                "SELECT o.name, e.id, g.whom, g.name, g.write, g.expires FROM old_grants g"
                " JOIN entries e ON e.row = g.row JOIN owners o ON o.number = e.owner"
            ).fetchall()

        for owner, id, whom, name, write, expires in await self._database.read(old):
            grant = Grant(whom=whom, name=name, write=bool(write), expires=expires)
            await self._grants.give(Granted(owner=owner, resource=resource(id), grant=grant))
        await self._database.write(lambda db: db.execute("DELETE FROM old_grants").rowcount)

    # -- entries -----------------------------------------------------------------------------------

    async def alloc(self, who: Identity, call: Alloc) -> EntryInfo:
        """Make an entry; once, if there is a key. Raises BadRequest, Conflict, LimitExceeded."""
        data = call.data or call.text.encode()

        async def make(id: str) -> str:
            match call.kind:
                case "note":
                    note = AddNote(content=_text(data), name=call.name, tags=call.tags)
                    id = (await self.notes.add(who, note, id=id)).id
                    if call.pinned:
                        await self._store.pin(who, id, True)
                    return id
                case "block":
                    return (await self.blocks.create(who, call.name, _text(data), id=id)).id
                case "conversation":
                    raise BadRequest(
                        "A conversation is made of messages.", "Save a conversation instead.", param="kind"
                    )
                case "text" | "data":
                    draft = _plain(call.kind, data, call.tags)
                    made = await self._store.create(who, call.kind, call.name, draft, pinned=call.pinned, id=id)
                    return made.id

        return await self.stat(who, await self._once(who, call.kind, call.idempotency_key, make))

    async def add_note(self, who: Identity, call: AddNote) -> Note:
        """`notes.add`; once, if there is a key."""

        async def make(id: str) -> str:
            return (await self.notes.add(who, call, id=id)).id

        return await self.notes.get(who, await self._once(who, "note", call.idempotency_key, make))

    async def _once(
        self, who: Identity, kind: Kind, key: str | None, make: Callable[[str], Awaitable[str]]
    ) -> str:
        """The id of what `make` makes, given its id ("": any), or of what it made under that key before."""
        if key is None:
            return await make("")
        id = entries.keyed_id(kind, who.agent, key)
        async with self._store.lock(f"{id} is made"):
            try:
                return (await self._store.find(who, id)).id
            except NotFound:
                return await make(id)

    async def write(self, who: Identity, call: Write) -> EntryInfo:
        """Replace what an entry holds. Raises NotFound, Forbidden, Conflict, BadRequest, LimitExceeded."""
        row, data = await self._store.find(who, call.id, "write"), call.data or call.text.encode()
        match row.kind:
            case "note":
                await self.notes.revise(who, call.id, content=_text(data), expect=call.expect, why="write")
            case "block":
                await self.blocks.set(who, call.id, _text(data), expect=call.expect)
            case "conversation":
                raise BadRequest("A conversation is made of messages.", "Save it instead.", param="id")
            case "text" | "data":
                draft = _plain(row.kind, data, None)
                await self._store.change(who, call.id, lambda row, old: draft, expect=call.expect)
        return await self.stat(who, call.id)

    async def read(self, who: Identity, id: str) -> Content:
        """An entry and its bytes, exactly as they were written. Raises NotFound, StorageCorrupt."""
        row, data = await self._store.read(who, id)
        if row.kind == "conversation":
            data = (await self.conversations.text(who, id)).encode()
        return Content(info=self._store.info(row), data=data)

    async def stat(self, who: Identity, id: str) -> EntryInfo:
        """Raises NotFound."""
        return self._store.info(await self._store.find(who, id))

    async def update(self, who: Identity, call: Update) -> EntryInfo:
        """Change name or tags, or append. Raises NotFound, Forbidden, Conflict, BadRequest, LimitExceeded."""

        def compute(row: Row, data: bytes) -> Draft:
            if call.append and row.kind not in ("text", "data"):
                raise BadRequest(
                    f"A {row.kind} has no end to append to.", "Write it, or edit the block.", param="append"
                )
            if call.name is not None and row.kind == "block":
                raise BadRequest("A block keeps its name.", "Make another one.", param="name")
            if row.kind == "text":
                _text(data + call.append)
            return _same(row, data + call.append, call.tags, call.name)

        await self._store.change(who, call.id, compute, expect=call.expect)
        return await self.stat(who, call.id)

    async def delete(self, who: Identity, id: str) -> EntryInfo:
        """For good; what it was. Raises NotFound, Forbidden."""
        row = await self._store.find(who, id, "own")
        info = self._store.info(row)
        await self._delete([row])
        return info

    async def clear(self, who: Identity, filter: Filter = _ALL) -> Ids:
        """Delete all own entries that `filter` lets through."""
        own = msgspec.structs.replace(filter, own=True)
        rows = await self._database.read(lambda db: entries.visible(db, who, own, self._grants))
        await self._delete(rows)
        return Ids(ids=tuple([row.id for row in rows]))

    async def list(self, who: Identity, filter: Filter = _ALL, *, limit: int = 100, after: str = "") -> Page:
        """What `who` may read, oldest first, `limit` at a time; `after`: the `next` of the page before.

        Raises BadRequest."""
        place = _place(after)
        limit = max(1, min(limit, PAGE))
        rows = await self._database.read(
            lambda db: entries.visible(db, who, filter, self._grants, limit=limit + 1, after=place)
        )
        shown = rows[:limit]
        current().seen.update(label for row in shown for label in row.labels)
        more = f"{shown[-1].created.hex()}:{shown[-1].id}" if len(rows) > limit else ""
        return Page(entries=tuple(map(self._store.info, shown)), next=more)

    async def pin(self, who: Identity, id: str) -> EntryInfo:
        """Keep it in RAM. Raises NotFound, Forbidden, LimitExceeded."""
        return self._store.info(await self._store.pin(who, id, True))

    async def unpin(self, who: Identity, id: str) -> EntryInfo:
        """Raises NotFound, Forbidden."""
        return self._store.info(await self._store.pin(who, id, False))

    async def usage(self, who: Identity) -> MemoryUsage:
        """What `who` keeps."""

        def read(db: Connection) -> tuple[int, int, int, int]:
            return db.execute(
                "SELECT o.entries, o.bytes, (SELECT coalesce(sum(size), 0) FROM entries WHERE owner = o.number"
                " AND pinned), (SELECT count(*) FROM entries WHERE owner = o.number AND body IS NULL)"
                " FROM owners o WHERE o.name = ?",
                (who.agent,),
            ).fetchone() or (0, 0, 0, 0)

        count, size, pinned, swapped = await self._database.read(read)
        ram = self._store.pages.used_by(who.agent)
        return MemoryUsage(entries=count, bytes=size, ram_bytes=ram, pinned_bytes=pinned, swapped=swapped)

    # -- sharing -----------------------------------------------------------------------------------

    async def share(self, who: Identity, call: Share) -> EntryInfo:
        """Grant an entry to an agent or a group; a new grant takes the place of the old one.

        Raises NotFound, Forbidden, BadRequest."""
        if not call.name or (call.expires_s is not None and call.expires_s <= 0):
            raise BadRequest("A share needs a name, and an expiry that is still to come.", "Mend it.")
        expires = None if call.expires_s is None else self._clock() + call.expires_s
        row = await self._store.find(who, call.id, "own")
        grant = Grant(whom=call.whom, name=call.name, write=call.write, expires=expires)
        await self._grants.give(Granted(owner=who.agent, resource=resource(row.id), grant=grant))
        return self._store.info(row)

    async def unshare(self, who: Identity, id: str, name: str, whom: Whom = "agent") -> EntryInfo:
        """End a grant; no error if there is none. Raises NotFound, Forbidden."""
        row = await self._store.find(who, id, "own")
        await self._grants.take_back(who.agent, resource(row.id), whom, name)
        return self._store.info(row)

    # -- recall and history ------------------------------------------------------------------------

    async def search(self, who: Identity, call: Search) -> Hits:
        """The best entries for a query, by words and by meaning. Raises BadRequest."""
        if call.limit < 1 or not 0 <= call.freshness <= 1:
            raise BadRequest("`limit` is at least 1, `freshness` 0 to 1.", "Mend the search.")
        vector = None
        if call.by == "meaning" and self._embedder is None:
            raise BadRequest("There is no embedder to search by meaning.", "Search by words.", param="by")
        if self._embedder is not None and call.by != "words" and call.query.strip():
            (vector,) = await self._embedder.embed([call.query])
        now, seen = self._clock(), current().seen

        def look(db: Connection) -> tuple[Hit, ...]:
            found = recall(
                db, self._store.vectors, who, call, vector, now, self._weights, self.notes.strength,
                self._grants,
            )  # fmt: skip
            seen.update(labels_of(db, (hit.id for hit in found)))
            return found

        hits = await self._database.read(look)
        how = "words" if vector is None else "meaning" if call.by == "meaning" else "words and meaning"
        return Hits(hits=hits, how=how)

    async def learn(self, who: Identity, call: LearnFacts) -> LearnedFacts:
        """See `LearnFacts`. Raises LimitExceeded."""
        learned: list[Fact] = []
        ended: list[Fact] = []
        for new in await self.facts.named(who, call.messages):
            near = Search(query=f"{new.about} {new.fact}", limit=NEIGHBOURS, filter=_FACTS)
            kept, over = await self.facts.learn(who, new, (await self.search(who, near)).hits)
            learned += [kept] if kept is not None else []
            ended += over
        return LearnedFacts(learned=tuple(learned), ended=tuple(ended))

    async def recall_facts(self, who: Identity, call: RecallFacts) -> KnownFacts:
        """See `RecallFacts`. Raises BadRequest."""
        hits: tuple[Hit, ...] = ()
        for filter in (_FACTS,) if call.at is None else (_FACTS, _PAST):
            hits += (await self.search(who, Search(query=call.query, limit=call.limit, filter=filter))).hits
        valid = await self.facts.valid(who, sorted(hits, key=lambda hit: -hit.score), call.at)
        return KnownFacts(facts=valid[: call.limit])

    async def history(self, who: Identity, id: str) -> Versions:
        """The kept versions of a note or block, newest first. Raises NotFound."""
        row = await self._store.find(who, id)
        found = await self._database.read(
            lambda db: db.execute(
                "SELECT version, at, by, why, body, tags, meta FROM versions WHERE row = ?"
                " ORDER BY version DESC",
                (row.row,),
            ).fetchall()
        )
        return Versions(versions=tuple(_version(row, *values) for values in found))

    async def export(self, who: Identity, filter: Filter = _ALL) -> Exported:
        """All own entries that `filter` lets through, as JSON lines: bodies, tags, links, grants left out."""
        return Exported(data=await transfer.export(self._store, self.conversations, who, filter))

    async def import_(self, who: Identity, data: bytes) -> Ids:
        """Take in what `export` gave, as new entries; their ids. Raises BadRequest, Conflict, LimitExceeded:
        then what came before the bad line is taken back."""
        ids = await transfer.take_in(self._store, self.conversations, who, data, self._delete)
        return Ids(ids=ids)

    async def _delete(self, rows: list[Row]) -> None:
        await self.conversations.delete([row for row in rows if row.kind == "conversation"])
        await self._store.delete([row for row in rows if row.kind != "conversation"])


def _text(data: bytes) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise BadRequest("That is not UTF-8 text.", "Use kind `data` for other bytes.", param="data") from error


def _plain(kind: Kind, data: bytes, tags: tuple[str, ...] | None) -> Draft:
    return Draft(data, words=_text(data) if kind == "text" else None, tags=tags)


def _same(row: Row, data: bytes, tags: tuple[str, ...] | None, name: str | None) -> Draft:
    """`row` with another body, tags or name, and what its kind keeps besides."""
    now = row.tags if tags is None else tags
    if row.kind == "note":
        meta = msgspec.json.decode(row.meta, type=NoteMeta)
        about = " ".join((*meta.keywords, *now, meta.context))
        meaning = f"{data.decode()}\n{meta.context}" if meta.context else ""
        return Draft(data, row.meta, data.decode(), about, meaning, name, tags, "update")
    if row.kind == "block":
        about = msgspec.json.decode(row.meta, type=BlockMeta).about
        return Draft(data, row.meta, data.decode(), about, "", name, tags, "update")
    words = data.decode() if row.kind == "text" else None
    return Draft(data, row.meta, words, name=name, tags=tags)


def _place(after: str) -> tuple[float, str]:
    if not after:
        return 0.0, ""
    created, _, id = after.partition(":")
    try:
        return float.fromhex(created), id
    except ValueError as error:
        raise BadRequest(
            f"{after!r} is not where a page ended.", "Give the `next` of a page.", param="after"
        ) from error


def _version(row: Row, version: int, at: float, by: str, why: str, text: str, tags: str, meta: str) -> Version:
    note = msgspec.json.decode(meta, type=NoteMeta) if row.kind == "note" else NoteMeta()
    return Version(
        version=version, at=at, by=by, why=why, text=text, keywords=note.keywords, context=note.context,
        tags=tuple(msgspec.json.decode(tags, type=list[str])),
    )  # fmt: skip
