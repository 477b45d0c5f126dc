"""What is asked of memory and what it answers: plain data, as syscalls are.

Times are Unix time, sizes are bytes unless said otherwise.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Literal

from aios.syscalls import Message, Record

Kind = Literal["data", "text", "note", "block", "conversation"]
"""`data`: any bytes, not searched. `text`: UTF-8, found by recall. `note`: a text that knows its keywords and
its neighbours. `block`: a small named text that is always in the window. `conversation`: messages in a trie."""
Whom = Literal["agent", "group"]

Think = Callable[[tuple[Message, ...], dict[str, Any]], Awaitable[str]]
"""Asks a model: messages and the JSON schema that its answer must meet; gives the JSON text."""


class Identity(Record, frozen=True):
    """Who acts. Memory belongs to `agent`; `group` is its privilege group."""

    agent: str
    group: str = "default"


class MemoryLimits(Record, frozen=True):
    """`ram_*`: bodies held in RAM, in all and of one agent; above `high` of either, least needed ones are
    swapped out until `low` of it. `agent_bytes`, `agent_entries`: what one agent may keep at all."""

    ram_bytes: int = 256 * 2**20
    ram_agent_bytes: int = 64 * 2**20
    high: float = 0.8
    low: float = 0.7
    k: int = 2
    """Of LRU-K."""
    entry_bytes: int = 16 * 2**20
    agent_bytes: int = 2**30
    agent_entries: int = 1_000_000
    block_chars: int = 2_000
    """Size of a block that does not say its own."""
    blocks: int = 32
    """Blocks of one agent."""
    versions_kept: int = 100
    """Newest versions of each note and block that are kept."""
    history_bytes: int = 64 * 2**20
    """Conversation tries held in RAM, in all."""
    vector_bytes: int = 512 * 2**20
    """Vectors held in RAM, in all."""
    half_life_s: float = 30 * 86_400.0
    """Of a note that is never used again."""


class Alloc(Record, frozen=True):
    """Make an entry. A `block` needs a `name` of its own."""

    kind: Kind = "text"
    name: str = ""
    tags: tuple[str, ...] = ()
    data: bytes = b""
    pinned: bool = False


class Write(Record, frozen=True):
    """Put `data` in the place of what is there. `expect`: the version it must have (Conflict otherwise)."""

    id: str
    data: bytes
    expect: int | None = None


class Update(Record, frozen=True):
    """Change what is said, leave the rest. `append` goes to the end of the body."""

    id: str
    name: str | None = None
    tags: tuple[str, ...] | None = None
    append: bytes = b""
    expect: int | None = None


class Filter(Record, frozen=True):
    """Entries that meet all of it. `tags`: they have each of these. `changed_*`: from and before, Unix time.
    `own`: only the caller's own, without what others share."""

    kinds: tuple[Kind, ...] = ()
    tags: tuple[str, ...] = ()
    changed_from: float | None = None
    changed_before: float | None = None
    own: bool = False


class Share(Record, frozen=True):
    """Let an agent or a group read (and with `write` change) an entry, for `expires_s` seconds (None: until
    unshared)."""

    id: str
    name: str
    whom: Whom = "agent"
    write: bool = False
    expires_s: float | None = None


class Grant(Record, frozen=True):
    whom: Whom
    name: str
    write: bool = False
    expires: float | None = None


class EntryInfo(Record, frozen=True):
    """One line of a listing. `access`: what the caller may do. `place`: where the body is."""

    id: str
    owner: str
    kind: Kind
    name: str = ""
    tags: tuple[str, ...] = ()
    size: int = 0
    version: int = 0
    pinned: bool = False
    created: float = 0.0
    changed: float = 0.0
    access: Literal["own", "write", "read"] = "own"
    place: Literal["ram", "disk", "swapped"] = "disk"
    grants: tuple[Grant, ...] = ()
    """To whom it is shared; only its owner sees this."""


class Content(Record, frozen=True):
    info: EntryInfo
    data: bytes


class Page(Record, frozen=True):
    """Entries, oldest first. `next`: what to go on after; "" at the end."""

    entries: tuple[EntryInfo, ...]
    next: str = ""


class Search(Record, frozen=True):
    """Find the `limit` best entries for `query`, by words, by meaning, or by both. `freshness` 0..1: how much a
    note's decay counts in its score."""

    query: str
    limit: int = 10
    by: Literal["words", "meaning", "both"] = "both"
    filter: Filter = Filter()
    freshness: float = 0.0


class Hit(Record, frozen=True):
    """`score` falls along the hits. `by_words`, `by_meaning`: its rank in each list, from 1; 0: not in it."""

    id: str
    score: float
    kind: Kind
    owner: str
    text: str
    name: str = ""
    tags: tuple[str, ...] = ()
    changed: float = 0.0
    by_words: int = 0
    by_meaning: int = 0


class Hits(Record, frozen=True):
    """`how` says what was searched: without an embedder, words alone."""

    hits: tuple[Hit, ...]
    how: Literal["words", "meaning", "words and meaning"]


class NewNote(Record, frozen=True):
    """`keywords`, `tags`, `context` are found by a model, or extracted, where they are not given."""

    content: str
    name: str = ""
    keywords: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    context: str = ""
    importance: float = 1.0
    """0..1."""


class NoteMeta(Record, frozen=True):
    """What a note keeps besides its content and tags. `used`: Unix time of its last use; `by`: who found the
    keywords."""

    keywords: tuple[str, ...] = ()
    context: str = ""
    importance: float = 1.0
    used: float = 0.0
    uses: int = 0
    by: Literal["", "model", "extraction"] = ""


class Link(Record, frozen=True):
    """To another note; `strength` 0..1."""

    id: str
    strength: float = 1.0


class Note(Record, frozen=True):
    """`strength` 0..1: what is left of it, by importance and decay. `links`: strongest first."""

    id: str
    owner: str
    content: str
    name: str = ""
    keywords: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    context: str = ""
    links: tuple[Link, ...] = ()
    importance: float = 1.0
    strength: float = 1.0
    uses: int = 0
    made_by: Literal["", "model", "extraction"] = ""
    version: int = 1
    created: float = 0.0
    changed: float = 0.0


class BlockMeta(Record, frozen=True):
    """`limit`: characters the text may have."""

    limit: int
    about: str = ""


class Block(Record, frozen=True):
    """A small named text that is always in the window. `limit`: characters."""

    id: str
    name: str
    text: str
    limit: int
    about: str = ""
    owner: str = ""
    version: int = 1


class Conversation(Record, frozen=True):
    """`chars`: of its text, one JSON message a line; `tokens`: ids kept beside it."""

    id: str
    name: str = ""
    messages: int = 0
    chars: int = 0
    tokens: int = 0
    version: int = 1


class Prefix(Record, frozen=True):
    """The longest known beginning: `length` characters or tokens, `messages` whole ones of it, and some of the
    conversations that begin so."""

    length: int
    messages: int = 0
    conversations: tuple[str, ...] = ()


class Version(Record, frozen=True):
    """One state of a note or a block. `why` is what made it."""

    version: int
    at: float
    by: str
    why: str
    text: str
    keywords: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    context: str = ""


class MemoryUsage(Record, frozen=True):
    """What one agent keeps, and what of it is in RAM."""

    entries: int
    bytes: int
    ram_bytes: int
    pinned_bytes: int
    swapped: int
    """Entries whose body is in the backing store."""
