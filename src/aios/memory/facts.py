"""Personal memory: what conversations say of people and things, as facts with a time in which they hold.

After a turn a model names the facts in it; one that is known already is not kept again, and one that
contradicts another ends that one's time instead of deleting it (the temporal edges of Zep: Rasmussen et al.
2025, section 2.2.3). Facts are entries of their own, with tag `fact`, or `past` when their time is over."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from aios.memory import thinking
from aios.memory.entries import Row
from aios.memory.records import FactMeta, Identity, Think
from aios.memory.store import Draft, EntryStore
from aios.syscalls import Message
from aios.syscalls.memory_records import Fact, Hit

FACT, PAST = "fact", "past"
NEIGHBOURS = 6
"""Known facts that a new one is compared with."""
SAME = 0.95
"""Cosine from which two facts say the same."""


class Facts:
    """The facts of all agents. `think` None: none are learned."""

    def __init__(self, store: EntryStore, think: Think | None) -> None:
        self._store, self._think = store, think

    async def named(self, who: Identity, messages: Sequence[Message]) -> tuple[thinking.NamedFact, ...]:
        """Facts that the newest turn of a conversation tells; none without a model."""
        return await thinking.facts(self._think, who, messages)

    async def learn(
        self, who: Identity, new: thinking.NamedFact, known: Sequence[Hit]
    ) -> tuple[Fact | None, tuple[Fact, ...]]:
        """Keep a fact, unless one of `known` (those near it) says the same; and those that it ends.

        Raises LimitExceeded."""
        rows = [await self._store.find(who, hit.id) for hit in known]
        if any(hit.text.casefold().strip() == new.fact.casefold().strip() for hit in known):
            return None, ()
        if await self._says_the_same(new, known):
            return None, ()
        facts = [_fact(row, hit.text) for row, hit in zip(rows, known, strict=True)]
        about = [i for i, fact in enumerate(facts) if fact.about.casefold() == new.about.casefold()]
        judged = await thinking.contradicted(self._think, who, new, [fact.text for fact in facts])
        if judged.same:
            return None, ()
        now = self._store.clock()
        meta = msgspec.json.encode(FactMeta(about=new.about, since=now)).decode()
        draft = Draft(new.fact.encode(), meta, words=new.fact, about=new.about, tags=(FACT,))
        row = await self._store.create(who, "text", "", draft)
        ended = [await self._end(who, facts[i], row.id, now) for i in dict.fromkeys((*about, *judged.ended))]
        return _fact(row, new.fact), tuple(ended)

    async def valid(self, who: Identity, hits: Sequence[Hit], at: float | None) -> tuple[Fact, ...]:
        """Those of `hits` that held at a time (None: now), in their order."""
        found = [_fact(await self._store.find(who, hit.id), hit.text) for hit in hits]
        when = self._store.clock() if at is None else at
        return tuple([f for f in found if f.since <= when and (f.until is None or when < f.until)])

    async def _says_the_same(self, new: thinking.NamedFact, known: Sequence[Hit]) -> bool:
        if self._store.embedder is None or not known:
            return False
        vectors = await self._store.embedder.embed([new.fact, *(hit.text for hit in known)])
        return bool((vectors[1:] @ vectors[0]).max() >= SAME)

    async def _end(self, who: Identity, fact: Fact, by: str, now: float) -> Fact:
        meta = FactMeta(about=fact.about, since=fact.since, until=now, by=by)

        def compute(row: Row, data: bytes) -> Draft:
            encoded = msgspec.json.encode(meta).decode()
            return Draft(data, encoded, words=data.decode(), about=fact.about, tags=(PAST,), why="superseded")

        await self._store.change(who, fact.id, compute)
        return msgspec.structs.replace(fact, until=now, by=by)


def _fact(row: Row, text: str) -> Fact:
    meta = msgspec.json.decode(row.meta, type=FactMeta)
    return Fact(id=row.id, text=text, about=meta.about, since=meta.since, until=meta.until, by=meta.by)
