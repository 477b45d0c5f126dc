"""Notes that know their neighbours (A-MEM: Xu et al. 2025, section 3).

A new note gets keywords, tags and a context (construction), is linked to the nearest notes there are (link
generation), and may change what is said about those (evolution). A model does this when there is one; without,
keywords are extracted and neighbours are those near in meaning (or in words). Every change is a version.

A note fades as memory does (Ebbinghaus 1885): what is left of it is `importance * 2^(-age / half life)`, `age`
since it was last used, and each use lengthens the half life by its first length (as in MemoryBank, Zhong et al.
2023, section 2.2).
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress

import msgspec

from aios.access.grants import Grants
from aios.errors import BadRequest, NotFound
from aios.memory import entries, thinking
from aios.memory.database import Connection
from aios.memory.entries import Row
from aios.memory.labels import relabel
from aios.memory.recall import by_meaning, by_words, scopes
from aios.memory.records import Identity, NoteMeta, Think
from aios.memory.store import Draft, EntryStore, given
from aios.memory.thinking import Insight, Neighbour
from aios.memory.words import keywords
from aios.syscalls.flow import current
from aios.syscalls.memory import AddNote
from aios.syscalls.memory_records import Filter, GraphEdge, GraphNode, Link, Note, NoteGraph

NEIGHBOURS = 5
"""Nearest notes that a new one is compared with."""
LINKED = 0.45
"""Cosine from which notes are linked without a model."""
EVOLVED = 0.65
"""Cosine from which, without a model, a neighbour takes over tags of the new note."""
SHARED_WORDS = 2
"""Without an embedder: keywords' words in common from which notes are linked."""
TAGS = 3
"""Tags of a note that nobody gave any: its first keywords."""


class Notes:
    """The notes of all agents. `think` None: no model."""

    def __init__(self, store: EntryStore, think: Think | None) -> None:
        self._store, self._think = store, think

    async def add(self, who: Identity, new: AddNote, *, id: str = "") -> Note:
        """Make a note, link it, and let its neighbours evolve; `id`: if it has one already. Raises
        BadRequest, LimitExceeded."""
        if not new.content.strip():
            raise BadRequest("A note needs a content.", "Say what is to be remembered.", param="content")
        insight = await self._describe(who, new)
        neighbours = await self._neighbours(who, insight, new.content)
        judged = await thinking.judge(self._think, who, insight, new.content, neighbours)
        if judged is None:
            judged = self._judged_alone(insight, neighbours)
        now = self._store.clock()
        meta = NoteMeta(
            keywords=insight.keywords,
            context=insight.context,
            importance=new.importance,
            used=now,
            by=insight.by,
        )
        draft = _draft(new.content, meta, insight.tags, why="made")

        def link(db: Connection, row: Row) -> None:
            for neighbour, strength in judged.links:
                _link(db, row.row, neighbour.row, strength)

        row = await self._store.create(who, "note", new.name, draft, id=id, also=link)
        for neighbour, said in judged.evolved:
            with suppress(NotFound):  # deleted meanwhile
                await self._evolve(who, neighbour, said, row.id)
        return await self.get(who, row.id)

    async def get(self, who: Identity, id: str, *, use: bool = False) -> Note:
        """`use`: it is needed, and stays longer. Raises NotFound (also for what is no note)."""
        row, data = await self._store.read(who, id)
        if row.kind != "note":
            raise entries.unknown(id)
        if use:
            row = await self._use(row)
        links = await self._store.database.read(lambda db: _links(db, who, row, self._store.grants))
        return _note(row, data.decode(), links, self.strength(row.meta, self._store.clock()))

    async def revise(
        self, who: Identity, id: str, *, content: str | None = None, tags: tuple[str, ...] | None = None,
        keywords: tuple[str, ...] | None = None, context: str | None = None, importance: float | None = None,
        expect: int | None = None, why: str = "revised",
    ) -> Note:  # fmt: skip
        """Change a note; what is not given stays. New content gets new keywords unless they are given.

        Raises NotFound, Forbidden, Conflict, LimitExceeded."""
        insight: Insight | None = None
        if content is not None and keywords is None:
            insight = await self._describe(who, AddNote(content=content))

        def compute(row: Row, data: bytes) -> Draft:
            if row.kind != "note":
                raise entries.unknown(id)
            meta = msgspec.json.decode(row.meta, type=NoteMeta)
            words = (
                keywords if keywords is not None else insight.keywords if insight is not None else meta.keywords
            )
            said = context if context is not None else insight.context if insight is not None else meta.context
            weight = meta.importance if importance is None else importance
            meta = msgspec.structs.replace(meta, keywords=words, context=said, importance=weight)
            return _draft(data.decode() if content is None else content, meta, tags, why=why, old=row.tags)

        await self._store.change(who, id, compute, expect=expect)
        return await self.get(who, id)

    async def link(self, who: Identity, id: str, other: str, strength: float = 1.0) -> None:
        """Say that two notes belong together; strength 0: that they do not. Raises NotFound, Forbidden."""
        grants, labels = self._store.grants, given()

        def work(db: Connection) -> None:
            one, two = (entries.find(db, who, each, grants, "write") for each in (id, other))
            for row in (one, two):
                if row.kind != "note":
                    raise entries.unknown(row.id)
                relabel(db, row, row.labels | labels)
            db.execute(
                "DELETE FROM links WHERE (row, target) IN (VALUES (?, ?), (?, ?))",
                (one.row, two.row, two.row, one.row),
            )
            if strength > 0 and one.row != two.row:
                _link(db, one.row, two.row, strength)

        await self._store.database.write(work)

    async def graph(self, who: Identity, filter: Filter = Filter()) -> NoteGraph:  # noqa: B008
        """All notes `who` may read, and the links between them."""
        now, seen, notes = self._store.clock(), current().seen, msgspec.structs.replace(filter, kinds=("note",))

        def read(db: Connection) -> NoteGraph:
            rows = {row.row: row for row in entries.visible(db, who, notes, self._store.grants)}
            seen.update(label for row in rows.values() for label in row.labels)
            wanted = msgspec.json.encode(list(rows)).decode()
            texts = dict(
                db.execute(
                    "SELECT row, words FROM entries WHERE row IN (SELECT value FROM json_each(?))", (wanted,)
                )
            )
            edges = db.execute(
                "SELECT row, target, strength FROM links WHERE row IN (SELECT value FROM json_each(?1))"
                " AND target IN (SELECT value FROM json_each(?1)) ORDER BY 1, 2",
                (wanted,),
            )
            return NoteGraph(
                nodes=tuple(
                    GraphNode(
                        id=row.id, text=texts[row.row], tags=row.tags, strength=self.strength(row.meta, now)
                    )
                    for row in rows.values()
                ),
                edges=tuple(GraphEdge(a=rows[a].id, b=rows[b].id, strength=s) for a, b, s in edges),
            )

        return await self._store.database.read(read)

    def strength(self, meta: str, now: float) -> float:
        """What is left of a note, 0..1."""
        note = msgspec.json.decode(meta, type=NoteMeta)
        half_life = self._store.limits.half_life_s * (1 + note.uses)
        return note.importance * 2.0 ** (-max(0.0, now - note.used) / half_life)

    # -- construction and evolution ----------------------------------------------------------------

    async def _describe(self, who: Identity, new: AddNote) -> Insight:
        insight = await thinking.describe(self._think, who, new.content)
        if insight is None:
            found = keywords(new.content)
            insight = Insight(keywords=found, tags=found[:TAGS], context="", by="extraction")
        return msgspec.structs.replace(
            insight,
            keywords=new.keywords or insight.keywords,
            tags=new.tags or insight.tags,
            context=new.context or insight.context,
        )

    async def _neighbours(self, who: Identity, insight: Insight, content: str) -> list[Neighbour]:
        """The nearest of the caller's own notes, nearest first."""
        store = self._store
        # Without a model they only say what is linked.
        vectors, vector, seen = store.vectors, None, set[str]() if self._think is None else current().seen
        if store.embedder is not None:
            (vector,) = await store.embedder.embed([_meaning(content, insight.context)])

        def read(db: Connection) -> list[Neighbour]:
            near: list[tuple[int, float]] = []
            for scope in scopes(db, who, Filter(kinds=("note",), own=True), store.grants):
                if vectors is not None and vector is not None:
                    near = by_meaning(db, vectors, scope, vector, NEIGHBOURS, 0.0)
                else:
                    near = by_words(db, scope, " ".join(insight.keywords) or content, NEIGHBOURS)
            rows = [(entries.by_row(db, row), score) for row, score in near]
            seen.update(label for row, _ in rows if row is not None for label in row.labels)
            return [_neighbour(db, row, score) for row, score in rows if row is not None]

        return await store.database.read(read)

    def _judged_alone(self, insight: Insight, neighbours: Sequence[Neighbour]) -> thinking.Judgement:
        links: list[tuple[Neighbour, float]] = []
        evolved: list[tuple[Neighbour, Insight]] = []
        mine = {word for phrase in insight.keywords for word in phrase.split()}
        for near in neighbours:
            if self._store.embedder is None:
                common = len(mine & {word for phrase in near.keywords for word in phrase.split()})
                linked, strength = common >= SHARED_WORDS, common / max(1, len(mine))
            else:
                linked, strength = near.score >= LINKED, near.score
            if linked:
                links.append((near, min(1.0, strength)))
            if self._store.embedder is not None and near.score >= EVOLVED:
                tags = tuple(dict.fromkeys((*near.tags, *insight.tags[:TAGS])))
                evolved.append((near, Insight(keywords=near.keywords, tags=tags, context=near.context, by="")))
        return thinking.Judgement(links, [(n, i) for n, i in evolved if i.tags != n.tags])

    async def _evolve(self, who: Identity, near: Neighbour, insight: Insight, cause: str) -> None:
        await self.revise(who, near.id, tags=insight.tags, keywords=insight.keywords, context=insight.context,
                          why=f"evolved by {cause}")  # fmt: skip

    async def _use(self, row: Row) -> Row:
        now = self._store.clock()
        statement = (
            "UPDATE entries SET meta = json_set(meta, '$.uses', coalesce(json_extract(meta, '$.uses'), 0) + 1,"
            " '$.used', ?) WHERE row = ?"
        )
        await self._store.database.write(lambda db: db.execute(statement, (now, row.row)).rowcount)
        return await self._store.database.read(lambda db: entries.by_row(db, row.row)) or row


def _draft(
    content: str, meta: NoteMeta, tags: tuple[str, ...] | None, *, why: str, old: tuple[str, ...] = ()
) -> Draft:
    about = " ".join((*meta.keywords, *(old if tags is None else tags), meta.context))
    return Draft(
        content.encode(), msgspec.json.encode(meta).decode(), words=content, about=about,
        meaning=_meaning(content, meta.context), tags=tags, why=why,
    )  # fmt: skip


def _meaning(content: str, context: str) -> str:
    return f"{content}\n{context}" if context else content


def _link(db: Connection, row: int, target: int, strength: float) -> None:
    # The neighbour may be gone since it was found: then there is nothing to link.
    db.execute(
        "INSERT OR REPLACE INTO links (row, target, strength) SELECT ?, row, ? FROM entries WHERE row = ?",
        (row, strength, target),
    )


def _links(db: Connection, who: Identity, row: Row, grants: Grants) -> tuple[Link, ...]:
    """Links either way, to notes that `who` may read."""
    found = db.execute(
        "SELECT e.id, l.strength FROM links l JOIN entries e ON e.row = l.target WHERE l.row = ?1 UNION ALL"
        " SELECT e.id, l.strength FROM links l JOIN entries e ON e.row = l.row WHERE l.target = ?1",
        (row.row,),
    ).fetchall()
    seen = (
        {each.id for each in entries.visible(db, who, Filter(kinds=("note",)), grants)} if found else set[str]()
    )
    return tuple(sorted((Link(id=id, strength=s) for id, s in found if id in seen), key=lambda k: -k.strength))


def _neighbour(db: Connection, row: Row, score: float) -> Neighbour:
    meta = msgspec.json.decode(row.meta, type=NoteMeta)
    (text,) = db.execute("SELECT words FROM entries WHERE row = ?", (row.row,)).fetchone()
    return Neighbour(row.id, row.row, score, text, meta.keywords, row.tags, meta.context)


def _note(row: Row, content: str, links: tuple[Link, ...], strength: float) -> Note:
    meta = msgspec.json.decode(row.meta, type=NoteMeta)
    return Note(
        id=row.id, owner=row.owner_name, content=content, name=row.name, keywords=meta.keywords, tags=row.tags,
        context=meta.context, links=links, importance=meta.importance, strength=strength, uses=meta.uses,
        made_by=meta.by, version=row.version, created=row.created, changed=row.changed,
    )  # fmt: skip
