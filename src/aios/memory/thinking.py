"""What a model is asked about notes, and how its answer is read. No model, a model that
fails, or nonsense from it: None."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

import msgspec

from aios.errors import ContextOverflow, CoreError, DeadlineExceeded, Forbidden, LimitExceeded
from aios.memory.records import Identity, Think
from aios.syscalls import Message, Record
from aios.syscalls.memory_records import Fact

T = TypeVar("T")


class Insight(Record, frozen=True):
    """What a note is about, and who said so."""

    keywords: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    context: str = ""
    by: Literal["", "model", "extraction"] = ""


@dataclass(frozen=True, slots=True)
class Neighbour:
    """A note near a new one."""

    id: str
    row: int
    score: float
    text: str
    keywords: tuple[str, ...]
    tags: tuple[str, ...]
    context: str


@dataclass(frozen=True, slots=True)
class Judgement:
    """Neighbours to link, with the strength of each link, and what shall be said of some of them."""

    links: list[tuple[Neighbour, float]]
    evolved: list[tuple[Neighbour, Insight]]


class _Change(Record, frozen=True):
    number: int
    tags: tuple[str, ...] = ()
    context: str = ""


class _Answer(Record, frozen=True):
    linked: tuple[int, ...] = ()
    changes: tuple[_Change, ...] = ()


_STRINGS = {"type": "array", "items": {"type": "string", "maxLength": 60}, "maxItems": 8}
DESCRIBE = {
    "type": "object",
    "properties": {"keywords": _STRINGS, "tags": _STRINGS, "context": {"type": "string", "maxLength": 300}},
    "required": ["keywords", "tags", "context"],
    "additionalProperties": False,
}
"""JSON Schema of a description."""


async def describe(think: Think | None, who: Identity, content: str) -> Insight | None:
    """Keywords, tags and one sentence of context (A-MEM, section 3.1)."""
    if think is None:
        return None
    ask = (
        "Describe this note for a memory that will be searched later. Give up to 8 keywords (most telling"
        " first), up to 5 broad tags, and one sentence of context: what it is about and what it matters for."
    )
    insight = await _asked(think, who, f"{ask}\n\nNote:\n{content}", DESCRIBE, Insight)
    return None if insight is None else msgspec.structs.replace(insight, by="model")


async def judge(
    think: Think | None, who: Identity, insight: Insight, content: str, neighbours: Sequence[Neighbour]
) -> Judgement | None:
    """Which neighbours belong to a new note, and what of theirs changes its meaning (sections 3.2, 3.3)."""
    if think is None or not neighbours:
        return None
    ask = (
        "A new note comes into a memory. Say which of the numbered neighbours belong together with it (linked)."
        " If the new note changes what a neighbour means (corrects, completes or outdates it), give that"
        " neighbour's number with its new tags and its new context sentence (changes). Change as few"
        " as you can."
    )
    listed = "\n".join(
        f"{i}. {n.text}\n   tags: {', '.join(n.tags)}; context: {n.context}"
        for i, n in enumerate(neighbours, 1)
    )
    text = f"{ask}\n\nNew note:\n{content}\n   tags: {', '.join(insight.tags)}\n\nNeighbours:\n{listed}"
    answer = await _asked(think, who, text, _judge_schema(len(neighbours)), _Answer)
    if answer is None:
        return None
    known = dict(enumerate(neighbours, 1))
    links = [(known[i], min(1.0, max(0.0, known[i].score))) for i in dict.fromkeys(answer.linked) if i in known]
    evolved = [
        (
            near,
            Insight(
                keywords=near.keywords, tags=change.tags or near.tags, context=change.context or near.context
            ),
        )
        for change in {change.number: change for change in answer.changes}.values()
        if (near := known.get(change.number)) is not None
    ]
    return Judgement(links, evolved)


def _judge_schema(count: int) -> dict[str, Any]:
    number = {"type": "integer", "minimum": 1, "maximum": count}
    change = {
        "type": "object",
        "properties": {"number": number, "tags": _STRINGS, "context": {"type": "string", "maxLength": 300}},
        "required": ["number", "tags", "context"],
        "additionalProperties": False,
    }
    return {
        "type": "object",
        "properties": {
            "linked": {"type": "array", "items": number, "maxItems": count},
            "changes": {"type": "array", "items": change, "maxItems": count},
        },
        "required": ["linked", "changes"],
        "additionalProperties": False,
    }


async def _asked(think: Think, who: Identity, text: str, schema: dict[str, Any], type: type[T]) -> T | None:
    try:
        answer = await think(who, (Message(role="user", content=text),), schema)
        return msgspec.json.decode(answer, type=type)
    except (CoreError, ContextOverflow, DeadlineExceeded, Forbidden, LimitExceeded):
        return None  # a note is not lost because nobody can think about it now
    except ValueError:  # msgspec's errors are ValueErrors; a model without a grammar may say anything
        return None


class NamedFact(Record, frozen=True):
    """A fact as a model names it. `about`: what it says something of, in a few words that stay the same when
    the fact changes."""

    about: str
    fact: str


class _Facts(Record, frozen=True):
    facts: tuple[NamedFact, ...] = ()


class Contradiction(Record, frozen=True):
    """Whether the new fact is known, and indexes of those that it ends."""

    same: bool = False
    ended: tuple[int, ...] = ()


MOST_FACTS = 5
TOLD_CHARS = 4_000
"""Of the newest turn."""


async def facts(think: Think | None, who: Identity, messages: Sequence[Message]) -> tuple[NamedFact, ...]:
    """Facts worth keeping that the newest turn tells: from the last user message on."""
    last = max((i for i, message in enumerate(messages) if message.role == "user"), default=None)
    if think is None or last is None:
        return ()
    told = "\n".join(f"{m.role}: {m.content}" for m in messages[last:] if m.content)[:TOLD_CHARS]
    ask = (
        "List the lasting facts that the user tells in this turn of a conversation: who they are, what they"
        " like, own, plan or decided. Each is one short sentence in the third person, with what it is about in"
        ' two to four words. For "My car is red, I am Kim": {"about": "car of the user", "fact": "The car the'
        ' user Kim is red."}. No questions, no small talk, nothing the assistant made up. There may be none.'
    )
    text = {"type": "string", "minLength": 3, "maxLength": 160}
    fact = {
        "type": "object",
        "properties": {"about": {**text, "maxLength": 40}, "fact": {**text, "minLength": 12}},
        "required": ["about", "fact"],
        "additionalProperties": False,
    }
    schema = {
        "type": "object",
        "properties": {"facts": {"type": "array", "items": fact, "maxItems": MOST_FACTS}},
        "required": ["facts"],
        "additionalProperties": False,
    }
    answer = await _asked(think, who, f"{ask}\n\n{told}", schema, _Facts)
    return () if answer is None else answer.facts


async def contradicted(
    think: Think | None, who: Identity, new: NamedFact, known: Sequence[str]
) -> Contradiction:
    """What becomes of `known` facts now that there is a new one."""
    if think is None or not known:
        return Contradiction()
    listed = "\n".join(f"{i}. {text}" for i, text in enumerate(known, 1))
    ask = (
        "A new fact is learned. `same`: one of the numbered facts says it already. `ended`: the numbers of"
        " facts that can no longer be true because of it; most often none."
    )
    number = {"type": "integer", "minimum": 1, "maximum": len(known)}
    schema = {
        "type": "object",
        "properties": {
            "same": {"type": "boolean"},
            "ended": {"type": "array", "items": number, "maxItems": len(known)},
        },
        "required": ["same", "ended"],
        "additionalProperties": False,
    }
    text = f"{ask}\n\nNew fact: {new.fact}\n\nKnown facts:\n{listed}"
    answer = await _asked(think, who, text, schema, Contradiction)
    if answer is None:
        return Contradiction()
    return Contradiction(same=answer.same, ended=tuple(i - 1 for i in answer.ended if 1 <= i <= len(known)))


def as_message(known: Sequence[Fact]) -> str:
    """Facts as an agent is told them."""
    return "What is known from earlier conversations:\n" + "\n".join(f"- {fact.text}" for fact in known)
