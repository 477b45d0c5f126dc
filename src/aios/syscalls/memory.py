"""The `memory.*` calls.

Times are Unix time, sizes are bytes unless said otherwise. Memory belongs to the agent of the calling process
(`group:name`), and outlives it. What an agent may not read does not exist for it.
"""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

from aios.syscalls.base import Call, Whole
from aios.syscalls.llm import Message
from aios.syscalls.memory_records import (
    Block,
    Blocks,
    Content,
    Conversation,
    EntryInfo,
    Exported,
    Filter,
    Hits,
    Ids,
    Kind,
    KnownFacts,
    LearnedFacts,
    MemoryUsage,
    Messages,
    Note,
    NoteGraph,
    Page,
    Prefix,
    Versions,
    Whom,
)

Token = Annotated[int, msgspec.Meta(ge=0, lt=2**31)]

# -- entries ----------------------------------------------------------------------------------------


class Alloc(Call[EntryInfo], frozen=True, tag="memory.alloc"):
    """Make an entry of `data`, or of `text`. A `block` needs a `name` of its own. With a key it is made
    once."""

    kind: Kind = "text"
    name: str = ""
    tags: tuple[str, ...] = ()
    data: bytes = b""
    text: str = ""
    pinned: bool = False
    idempotency_key: str | None = None


class Write(Call[EntryInfo], frozen=True, tag="memory.write"):
    """Put `data` (or `text`) in the place of what is there. `expect`: the version it must have (Conflict
    otherwise)."""

    id: str
    data: bytes = b""
    text: str = ""
    expect: Whole | None = None


class Read(Call[Content], frozen=True, tag="memory.read"):
    """An entry and its bytes, exactly as they were written."""

    id: str


class Stat(Call[EntryInfo], frozen=True, tag="memory.stat"):
    """What is known of an entry."""

    id: str


class Update(Call[EntryInfo], frozen=True, tag="memory.update"):
    """Change what is said, leave the rest. `append` goes to the end of the body."""

    id: str
    name: str | None = None
    tags: tuple[str, ...] | None = None
    append: bytes = b""
    expect: Whole | None = None


class Delete(Call[EntryInfo], frozen=True, tag="memory.delete"):
    """For good. Answered by what it was."""

    id: str
    idempotency_key: str | None = None


class List(Call[Page], frozen=True, tag="memory.list"):
    """What the caller may read, oldest first, `limit` at a time; `after`: the `next` of the page before."""

    filter: Filter = Filter()
    limit: Whole = 100
    after: str = ""


class Search(Call[Hits], frozen=True, tag="memory.search"):
    """Find the `limit` best entries for `query`, by words, by meaning, or by both. `freshness` 0..1: how much a
    note's decay counts in its score."""

    query: str
    limit: Whole = 10
    by: Literal["words", "meaning", "both"] = "both"
    filter: Filter = Filter()
    freshness: float = 0.0


class Clear(Call[Ids], frozen=True, tag="memory.clear"):
    """Delete all own entries that `filter` lets through, for good."""

    filter: Filter = Filter()
    idempotency_key: str | None = None


class Pin(Call[EntryInfo], frozen=True, tag="memory.pin"):
    """Keep an entry in RAM, or (`pinned` false) no longer."""

    id: str
    pinned: bool = True


class Share(Call[EntryInfo], frozen=True, tag="memory.share"):
    """Let an agent (`name`, or `group:name` of another group) or a privilege group read (and with `write`
    change) an entry, for `expires_s` seconds (None: until unshared)."""

    id: str
    name: str
    whom: Whom = "agent"
    write: bool = False
    expires_s: float | None = None


class Unshare(Call[EntryInfo], frozen=True, tag="memory.unshare"):
    """End a grant; no error if there is none."""

    id: str
    name: str
    whom: Whom = "agent"


class Usage(Call[MemoryUsage], frozen=True, tag="memory.usage"):
    """What the caller keeps."""


class History(Call[Versions], frozen=True, tag="memory.history"):
    """The kept versions of a note or block."""

    id: str


class Export(Call[Exported], frozen=True, tag="memory.export"):
    """All own entries that `filter` lets through."""

    filter: Filter = Filter()


class Import(Call[Ids], frozen=True, tag="memory.import"):
    """Take in what `Export` gave, as new entries: all, or none."""

    data: bytes


# -- notes, blocks, conversations -------------------------------------------------------------------


class AddNote(Call[Note], frozen=True, tag="memory.note"):
    """Make a note. `keywords`, `tags`, `context` are found by a model, or extracted, where they are not given;
    it is linked to its neighbours, and may change what is said of them. `importance`: 0..1."""

    content: str
    name: str = ""
    keywords: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    context: str = ""
    importance: float = 1.0
    idempotency_key: str | None = None


class ReadNote(Call[Note], frozen=True, tag="memory.read_note"):
    """`use`: it is needed, and stays longer."""

    id: str
    use: bool = False


class ReviseNote(Call[Note], frozen=True, tag="memory.revise_note"):
    """Change a note; what is not given stays. New content gets new keywords unless they are given."""

    id: str
    content: str | None = None
    tags: tuple[str, ...] | None = None
    keywords: tuple[str, ...] | None = None
    context: str | None = None
    importance: float | None = None
    expect: Whole | None = None


class LinkNotes(Call[Note], frozen=True, tag="memory.link"):
    """Say that two notes belong together; `strength` 0: that they do not. Answered by the first."""

    id: str
    other: str
    strength: float = 1.0


class Graph(Call[NoteGraph], frozen=True, tag="memory.graph"):
    """All notes the caller may read, and the links between them."""

    filter: Filter = Filter()


class MakeBlock(Call[Block], frozen=True, tag="memory.block"):
    """`limit`: characters it may have; `about`: what it is for, shown with it."""

    name: str
    text: str = ""
    about: str = ""
    limit: Whole | None = None


class EditBlock(Call[Block], frozen=True, tag="memory.edit_block"):
    """`append` a line `text`; `replace` what stands there once, `old`, by `text`; or `set` all of it.
    `block` is its name, or, of another's, its id."""

    block: str
    action: Literal["append", "replace", "set"]
    text: str
    old: str = ""
    expect: Whole | None = None
    idempotency_key: str | None = None


class ListBlocks(Call[Blocks], frozen=True, tag="memory.blocks"):
    """All blocks, also as the text for a window."""


class SaveConversation(Call[Conversation], frozen=True, tag="memory.save_conversation"):
    """Store a conversation as it stands now: a new one, or (`id`) the next state of one. Only what no other one
    of its owner begins with is new on disk. `tokens`: the ids a core made of it."""

    messages: tuple[Message, ...]
    tokens: tuple[Token, ...] = ()
    id: str = ""
    name: str = ""
    tags: tuple[str, ...] = ()


class ReadConversation(Call[Messages], frozen=True, tag="memory.read_conversation"):
    """The messages of a conversation."""

    id: str


class FindPrefix(Call[Prefix], frozen=True, tag="memory.prefix"):
    """The longest beginning of these messages (or of these tokens) that own conversations have."""

    messages: tuple[Message, ...] = ()
    tokens: tuple[Token, ...] = ()


class LearnFacts(Call[LearnedFacts], frozen=True, tag="memory.learn"):
    """Keep what the newest turn of a conversation tells: a model names its facts. What is known is not kept
    again, and what is contradicted ends."""

    messages: tuple[Message, ...]


class RecallFacts(Call[KnownFacts], frozen=True, tag="memory.facts"):
    """Facts that matter for `query` ("": the newest), now or as they were `at` a time (Unix time)."""

    query: str = ""
    limit: Whole = 10
    at: float | None = None


MemoryCall = (
    Alloc | Write | Read | Stat | Update | Delete | List | Search | Clear | Pin | Share | Unshare | Usage
    | History | Export | Import | AddNote | ReadNote | ReviseNote | LinkNotes | Graph | MakeBlock | EditBlock
    | ListBlocks | SaveConversation | ReadConversation | FindPrefix | LearnFacts | RecallFacts
)  # fmt: skip
READS = (Read, Stat, List, Search, Usage, History, Export, ReadNote, Graph, ListBlocks, ReadConversation,
         FindPrefix, RecallFacts)  # fmt: skip
"""Calls that change nothing."""
