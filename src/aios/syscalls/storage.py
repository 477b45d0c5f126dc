"""The `storage.*` calls.

Paths are those of the calling agent's own root, with `/` at its top. Changes with an `idempotency_key` happen
once. Times are Unix time in seconds, sizes bytes.
"""

from __future__ import annotations

from aios.syscalls.base import Call, Whole
from aios.syscalls.storage_records import (
    Bin,
    Binned,
    Collected,
    Content,
    Diff,
    Differences,
    Filter,
    Found,
    Groups,
    Matches,
    Mount,
    Mounts,
    Page,
    ShareInfo,
    Shares,
    Snapshot,
    Snapshots,
    Stat,
    Usage,
    Versions,
)

# -- contents ---------------------------------------------------------------------------------------


class WriteFile(Call[Stat], frozen=True, tag="storage.write"):
    """Make `data` (or `text`) the whole content of the file, which is made if it is not there (so are its
    folders, with `parents`). `expect`: the version that is there (0: nothing), else VersionConflict."""

    path: str
    data: bytes = b""
    text: str = ""
    expect: Whole | None = None
    parents: bool = True
    idempotency_key: str | None = None


class AppendFile(Call[Stat], frozen=True, tag="storage.append"):
    """Add `data` (or `text`) to the end of the file, which is made if it is not there."""

    path: str
    data: bytes = b""
    text: str = ""
    expect: Whole | None = None
    idempotency_key: str | None = None


class TruncateFile(Call[Stat], frozen=True, tag="storage.truncate"):
    """Keep the first `size` bytes of the file."""

    path: str
    size: Whole = 0
    expect: Whole | None = None
    idempotency_key: str | None = None


class ReadFile(Call[Content], frozen=True, tag="storage.read"):
    """Bytes of the file, now, at `version` or in `snapshot`; what is behind its end is left out."""

    path: str
    offset: Whole = 0
    length: Whole | None = None
    version: Whole | None = None
    snapshot: str = ""


class Describe(Call[Stat], frozen=True, tag="storage.describe"):
    """Replace the tags, the metadata (`about`), or both: a new version with the same content."""

    path: str
    tags: tuple[str, ...] | None = None
    about: dict[str, str] | None = None
    expect: Whole | None = None
    idempotency_key: str | None = None


# -- names ------------------------------------------------------------------------------------------


class StatFile(Call[Stat], frozen=True, tag="storage.stat"):
    """What is at `path`; `follow`: where a link leads."""

    path: str
    follow: bool = True
    snapshot: str = ""


class ListFolder(Call[Page], frozen=True, tag="storage.list"):
    """The entries of a folder by name, from `cursor` on."""

    path: str = "/"
    cursor: str = ""
    limit: Whole | None = None
    snapshot: str = ""


class Glob(Call[Page], frozen=True, tag="storage.glob"):
    """Everything that matches `pattern`: `*`, `?` and `[ab]` in a name, `**` for any number of folders."""

    pattern: str
    cursor: str = ""
    limit: Whole | None = None
    snapshot: str = ""


class MakeFolder(Call[Stat], frozen=True, tag="storage.mkdir"):
    """A new folder; with `parents` also those above it, and one that is there already will do."""

    path: str
    parents: bool = False
    idempotency_key: str | None = None


class LinkFile(Call[Stat], frozen=True, tag="storage.link"):
    """A link at `path` that leads to `target`, there or not."""

    target: str
    path: str
    idempotency_key: str | None = None


class Move(Call[Stat], frozen=True, tag="storage.move"):
    """Give `path` the name `to`, history and all. `replace`: what is there goes to the bin."""

    path: str
    to: str
    replace: bool = False
    expect: Whole | None = None
    idempotency_key: str | None = None


class Copy(Call[Stat], frozen=True, tag="storage.copy"):
    """Copy `path`, as it is now or in `snapshot`, to `to`: names only, the content is shared."""

    path: str
    to: str
    replace: bool = False
    snapshot: str = ""
    idempotency_key: str | None = None


class DeleteFile(Call[Binned], frozen=True, tag="storage.delete"):
    """Put `path` into the bin. A folder with something in it only with `recursive`."""

    path: str
    recursive: bool = False
    expect: Whole | None = None
    idempotency_key: str | None = None


class ListBin(Call[Bin], frozen=True, tag="storage.bin"):
    """What is in the bin, from behind id `after`."""

    after: Whole = 0
    limit: Whole = 1_000


class Restore(Call[Stat], frozen=True, tag="storage.restore"):
    """Take `id` out of the bin, to where it was or `to`."""

    id: Whole
    to: str = ""
    idempotency_key: str | None = None


class Purge(Call[Collected], frozen=True, tag="storage.purge"):
    """Destroy these things in the bin (None: all of it), with all their versions, for good."""

    ids: tuple[Whole, ...] | None = None
    idempotency_key: str | None = None


# -- versions ---------------------------------------------------------------------------------------


class FileHistory(Call[Versions], frozen=True, tag="storage.history"):
    """Versions of the file or folder, older than version `before`."""

    path: str
    before: Whole | None = None
    limit: Whole = 100


class DiffFile(Call[Diff], frozen=True, tag="storage.diff"):
    """What version `new` (None: the newest) changed against `old`."""

    path: str
    old: Whole
    new: Whole | None = None
    context: Whole = 3


class Rollback(Call[Stat], frozen=True, tag="storage.rollback"):
    """Make an old version the newest again: the one `steps` back, `version`, or that of `time` (Unix time).
    What came after it stays in the history."""

    path: str
    steps: Whole | None = None
    version: Whole | None = None
    time: float | None = None
    expect: Whole | None = None
    idempotency_key: str | None = None


class ForgetVersions(Call[Collected], frozen=True, tag="storage.forget"):
    """Destroy the versions of a file beyond the newest `keep`, but those in snapshots, for good."""

    path: str
    keep: Whole = 1
    idempotency_key: str | None = None


class TakeSnapshot(Call[Snapshot], frozen=True, tag="storage.snapshot"):
    """Remember the whole root as it is now (without what is mounted in it)."""

    name: str
    idempotency_key: str | None = None


class ListSnapshots(Call[Snapshots], frozen=True, tag="storage.snapshots"):
    """All snapshots of the root, oldest first."""


class DropSnapshot(Call[Snapshots], frozen=True, tag="storage.drop_snapshot"):
    """Forget a snapshot. Answered by those that are left."""

    name: str
    idempotency_key: str | None = None


class Compare(Call[Differences], frozen=True, tag="storage.compare"):
    """What became of `path` from snapshot `old` to `new` ("": now)."""

    old: str
    new: str = ""
    path: str = "/"


class RestoreSnapshot(Call[Differences], frozen=True, tag="storage.restore_snapshot"):
    """Make `path` what it was in `snapshot`, in one change; files get a new version, so nothing is lost."""

    snapshot: str
    path: str = "/"
    idempotency_key: str | None = None


# -- search -----------------------------------------------------------------------------------------


class Find(Call[Found], frozen=True, tag="storage.find"):
    """The best `limit` files for `query` among those that pass `where`; without a query, the newest of them.
    `meaning`: by meaning too, and not by words alone."""

    query: str = ""
    where: Filter = Filter()
    meaning: bool = True
    limit: Whole = 10


class GroupFiles(Call[Groups], frozen=True, tag="storage.group"):
    """Put the files that pass `where` into `groups` groups of like content (None: as many as fit best)."""

    where: Filter = Filter()
    groups: Whole | None = None


class JoinFolders(Call[Matches], frozen=True, tag="storage.join"):
    """Pairs of a file in folder `left` and one in `right` whose content is alike (cosine of `least` or
    more)."""

    left: str
    right: str
    least: float = 0.5
    limit: Whole = 100


# -- sharing ----------------------------------------------------------------------------------------


class ShareFile(Call[ShareInfo], frozen=True, tag="storage.share"):
    """A link to `path` for people without a key, for `expires_s` seconds. The answer has its token, once."""

    path: str
    expires_s: float = 86_400.0
    password: str = ""


class ListShares(Call[Shares], frozen=True, tag="storage.shares"):
    """Shares that have not expired, oldest first, without their tokens."""


class RevokeShare(Call[Shares], frozen=True, tag="storage.revoke"):
    """Let a share open nothing from now on. Answered by those that are left."""

    id: Whole


class MountRoot(Call[Mount], frozen=True, tag="storage.mount"):
    """Show the shared root `name` at `path`, for `expires_s` seconds (None: until it is unmounted)."""

    path: str
    name: str
    writable: bool = False
    expires_s: float | None = None


class Unmount(Call[Stat], frozen=True, tag="storage.unmount"):
    """Leave an empty folder where a root was mounted."""

    path: str


class ListMounts(Call[Mounts], frozen=True, tag="storage.mounts"):
    """What is mounted, by path."""


class StorageUsage(Call[Usage], frozen=True, tag="storage.usage"):
    """What the caller's root holds, and may hold."""


StorageCall = (
    WriteFile | AppendFile | TruncateFile | ReadFile | Describe | StatFile | ListFolder | Glob | MakeFolder
    | LinkFile | Move | Copy | DeleteFile | ListBin | Restore | Purge | FileHistory | DiffFile | Rollback
    | ForgetVersions | TakeSnapshot | ListSnapshots | DropSnapshot | Compare | RestoreSnapshot | Find
    | GroupFiles | JoinFolders | ShareFile | ListShares | RevokeShare | MountRoot | Unmount | ListMounts
    | StorageUsage
)  # fmt: skip
READS = (ReadFile, StatFile, ListFolder, Glob, ListBin, FileHistory, DiffFile, ListSnapshots, Compare, Find,
         GroupFiles, JoinFolders, ListShares, ListMounts, StorageUsage)  # fmt: skip
"""Calls that change nothing."""
