"""What the storage manager answers.

Times are Unix time in seconds, sizes bytes. `version` is the number of the change in its root that made a
version: it only grows, so a file that was deleted and made again never has an old number.
"""

from __future__ import annotations

from typing import Literal

from aios.syscalls.base import Record

Kind = Literal["file", "dir", "link"]


class Stat(Record, frozen=True):
    """One entry. `path` is its real path in the owner's view: after links, through mounts."""

    path: str
    kind: Kind
    version: int
    size: int = 0
    digest: str = ""
    """Of the content, hex: equal contents have equal digests. (SHA-256 over the SHA-256 of the chunks.)"""
    created: float = 0.0
    changed: float = 0.0
    author: str = ""
    """Who made the newest version."""
    tags: tuple[str, ...] = ()
    about: dict[str, str] = {}
    """Free metadata."""
    target: str = ""
    """Of a link: where it leads."""
    writable: bool = True
    labels: tuple[str, ...] = ()
    """What those who wrote it had seen (`private`, `untrusted`): whoever reads it has seen that too."""


class Content(Record, frozen=True):
    """Bytes `offset` to `offset + len(data)` of a version of a file that is `size` long."""

    data: bytes
    stat: Stat
    offset: int = 0


class Page(Record, frozen=True):
    """Some entries in the order of their names; `cursor` is the argument for the next page, "" at the end."""

    entries: tuple[Stat, ...]
    cursor: str = ""


class Version(Record, frozen=True):
    """One version of a file. `op` is the change that made it: write, append, truncate, describe, rollback, …"""

    version: int
    at: float
    size: int
    digest: str
    author: str
    op: str
    tags: tuple[str, ...] = ()


DiffKind = Literal["text", "binary", "large"]


class Diff(Record, frozen=True):
    """How two versions differ. `text`: a unified diff, empty unless `kind` is "text"; `same_bytes`: how much
    of the new content is in chunks that the old has too."""

    kind: DiffKind
    old: int
    new: int
    text: str = ""
    same_bytes: int = 0
    size: int = 0


class Snapshot(Record, frozen=True):
    """The whole tree of a root as it was after change `version`."""

    name: str
    version: int
    at: float


Became = Literal["added", "removed", "changed"]


class Difference(Record, frozen=True):
    """What became of one path between two moments."""

    path: str
    change: Became


class Binned(Record, frozen=True):
    """Something deleted: `id` restores or purges it."""

    id: int
    path: str
    kind: Kind
    size: int
    at: float
    author: str


class ShareInfo(Record, frozen=True):
    """A link to a file or folder for people without a key. The token itself is shown once, at `create`."""

    id: int
    path: str
    """"" when what was shared is in the bin."""
    created: float
    expires: float
    password: bool = False
    """Whether a password is asked for."""
    token: str = ""


class Mount(Record, frozen=True):
    """A shared root in somebody's tree."""

    path: str
    name: str
    writable: bool
    expires: float = 0.0
    """0: never."""


class Usage(Record, frozen=True):
    """What a root holds, bytes (see `StorageLimits.quota_bytes`)."""

    used: int
    quota: int
    files: int
    """With those in the bin and in snapshots."""
    contexts: int = 0
    """Besides: what is on disk of the contexts of the owner's processes. It counts against `[context]
    swap_mb`."""


class Collected(Record, frozen=True):
    """What `collect` removed."""

    files: int = 0
    versions: int = 0
    manifests: int = 0
    chunks: int = 0
    slabs: int = 0
    """Contexts that nobody has any more."""
    bytes: int = 0
    """Compressed."""


class Filter(Record, frozen=True):
    """Which files a search looks at: all that is set must hold."""

    under: str = "/"
    tags: tuple[str, ...] = ()
    about: dict[str, str] = {}
    after: float | None = None
    """Changed at or after."""
    before: float | None = None
    name: str = ""
    """A pattern of the file's name: `*.md`."""


class Hit(Record, frozen=True):
    """A file that was found. `score`: reciprocal rank fusion (higher is better); `ranks`: its place by each
    way."""

    stat: Stat
    score: float = 0.0
    ranks: dict[str, int] = {}
    passage: str = ""


class Found(Record, frozen=True):
    """`by`: the ways the search went: words, meaning, metadata. `pending`: changed files not indexed yet."""

    hits: tuple[Hit, ...]
    by: tuple[str, ...]
    pending: int = 0
    note: str = ""


class Group(Record, frozen=True):
    """Files that belong together, nearest to the middle first."""

    label: str
    paths: tuple[str, ...]


class Groups(Record, frozen=True):
    groups: tuple[Group, ...]
    by: Literal["words", "meaning"]
    left_out: tuple[str, ...] = ()
    """Files without text."""


class Match(Record, frozen=True):
    left: str
    right: str
    score: float
    """Cosine similarity."""


class Matches(Record, frozen=True):
    matches: tuple[Match, ...]
    by: Literal["words", "meaning"]


class Versions(Record, frozen=True):
    """Newest first."""

    versions: tuple[Version, ...]


class Snapshots(Record, frozen=True):
    snapshots: tuple[Snapshot, ...]


class Differences(Record, frozen=True):
    differences: tuple[Difference, ...]


class Bin(Record, frozen=True):
    """Oldest first."""

    entries: tuple[Binned, ...]


class Shares(Record, frozen=True):
    shares: tuple[ShareInfo, ...]


class Mounts(Record, frozen=True):
    mounts: tuple[Mount, ...]
