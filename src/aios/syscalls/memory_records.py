"""What memory answers. Times are Unix time, sizes are bytes unless said otherwise."""

from __future__ import annotations

from typing import Literal

from aios.syscalls.base import Record
from aios.syscalls.llm import Message

Kind = Literal["data", "text", "note", "block", "conversation"]
"""`data`: any bytes, not searched. `text`: UTF-8, found by recall. `note`: a text that knows its keywords and
its neighbours. `block`: a small named text that is always in the window. `conversation`: messages in a trie."""
Whom = Literal["agent", "group"]


class Filter(Record, frozen=True):
    """Entries that meet all of it. `tags`: they have each of these. `changed_*`: from and before, Unix time.
    `own`: only the caller's own, without what others share."""

    kinds: tuple[Kind, ...] = ()
    tags: tuple[str, ...] = ()
    changed_from: float | None = None
    changed_before: float | None = None
    own: bool = False


class Grant(Record, frozen=True):
    """To whom (an agent is named `group:name`), and until when (Unix time, seconds; None: until it is taken
    back)."""

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
    labels: tuple[str, ...] = ()
    """What those who wrote it had seen."""


class Content(Record, frozen=True):
    info: EntryInfo
    data: bytes


class Page(Record, frozen=True):
    """Entries, oldest first. `next`: what to go on after; "" at the end."""

    entries: tuple[EntryInfo, ...]
    next: str = ""


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


class GraphNode(Record, frozen=True):
    """`strength` 0..1: what is left of the note."""

    id: str
    text: str
    tags: tuple[str, ...] = ()
    strength: float = 1.0


class GraphEdge(Record, frozen=True):
    """A link between the notes `a` and `b`; `strength` 0..1."""

    a: str
    b: str
    strength: float = 1.0


class NoteGraph(Record, frozen=True):
    nodes: tuple[GraphNode, ...] = ()
    edges: tuple[GraphEdge, ...] = ()


class Block(Record, frozen=True):
    """A small named text that is always in the window. `limit`: characters."""

    id: str
    name: str
    text: str
    limit: int
    about: str = ""
    owner: str = ""
    version: int = 1


class Blocks(Record, frozen=True):
    """All blocks the caller may read, oldest first. `text`: as they stand in a window."""

    blocks: tuple[Block, ...]
    text: str = ""


class Conversation(Record, frozen=True):
    """`chars`: of its text, one JSON message a line; `tokens`: ids kept beside it."""

    id: str
    name: str = ""
    messages: int = 0
    chars: int = 0
    tokens: int = 0
    version: int = 1


class Messages(Record, frozen=True):
    messages: tuple[Message, ...]


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


class Versions(Record, frozen=True):
    """Newest first."""

    versions: tuple[Version, ...]


class MemoryUsage(Record, frozen=True):
    """What one agent keeps, and what of it is in RAM."""

    entries: int
    bytes: int
    ram_bytes: int
    pinned_bytes: int
    swapped: int
    """Entries whose body is in the backing store."""


class Exported(Record, frozen=True):
    """JSON lines: bodies, tags, links; grants are left out."""

    data: bytes


class Fact(Record, frozen=True):
    """Something that holds `since` a time and `until` another (None: still), when the fact `by` took its place.
    `about`: what it says something of."""

    id: str
    text: str
    about: str = ""
    since: float = 0.0
    until: float | None = None
    by: str = ""


class KnownFacts(Record, frozen=True):
    """Best first."""

    facts: tuple[Fact, ...]


class LearnedFacts(Record, frozen=True):
    """`learned` are new; they took the place of those that `ended`."""

    learned: tuple[Fact, ...] = ()
    ended: tuple[Fact, ...] = ()


class Ids(Record, frozen=True):
    """Of the entries that were made, or deleted."""

    ids: tuple[str, ...]
