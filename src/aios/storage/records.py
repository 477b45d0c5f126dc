"""What the storage manager keeps to itself: what it may take, and what no call answers.

Times are Unix time in seconds, sizes bytes."""

from __future__ import annotations

import msgspec

from aios.syscalls import Record
from aios.syscalls.storage import Stat


class StorageLimits(Record, frozen=True):
    """What the store takes of one owner."""

    file_bytes: int = 256 << 20
    quota_bytes: int = 10 << 30
    """Bytes that one root may hold: chunks of its files, their old versions, its bin, snapshots and blobs,
    before compression; what a root holds twice counts once, whatever others hold. `set_quota` sets another."""
    versions: int = 1_000
    """Newest versions of a file that `collect` keeps, besides those in snapshots."""
    entries: int = 100_000
    """Most files and folders that one copy, delete, comparison or restore may touch."""
    page: int = 1_000
    """Most entries in one page of a list."""
    key_ttl_s: float = 86_400.0
    """How long the result of a change is kept for its idempotency key, seconds."""
    read_bytes: int = 256 << 20
    """Most bytes that one read returns."""
    collect_every_s: float = 3_600.0
    """How often `run` collects what nothing reaches any more, seconds."""


class Followed(Record, frozen=True):
    """What a root took over from the folder it follows. `skipped`: paths that it could not, with the reason."""

    written: int
    removed: int
    skipped: dict[str, str] = msgspec.field(default_factory=dict[str, str])


class Blob(Record, frozen=True):
    """A pinned blob: `name` holds the content `digest`."""

    name: str
    digest: str
    size: int
    at: float


class Shared(Record, frozen=True):
    """What a share's token opens: read it as `owner` at `stat.path`, a real path inside what was shared."""

    owner: str
    stat: Stat
    labels: frozenset[str] = frozenset()
    """What the owner had seen when it shared."""

    def opens(self, stat: Stat) -> bool:
        """Whether the link is also for this: nothing that came to be private since goes out by it."""
        return self.labels.issuperset(stat.labels)


class Meta(msgspec.Struct, frozen=True, omit_defaults=True):
    """The metadata of a version as it is stored."""

    tags: tuple[str, ...] = ()
    about: dict[str, str] = msgspec.field(default_factory=dict[str, str])
    labels: tuple[str, ...] = ()
    """What those who wrote it, and the versions before it, had seen."""
