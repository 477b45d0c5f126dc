"""What an agent keeps: `client.files`, a versioned file system of its own. Each method is one syscall;
`client.syscall` makes those not here."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Generator, Sequence
from typing import Any, TypeVar

from aios.sdk import requests
from aios.sdk.memory import AsyncSend, Send
from aios.sdk.requests import tuples
from aios.syscalls import Call, storage
from aios.syscalls.storage_records import (
    Binned,
    Collected,
    Diff,
    Difference,
    Filter,
    Group,
    Hit,
    Match,
    Mount,
    ShareInfo,
    Snapshot,
    Stat,
    Usage,
    Version,
)

T = TypeVar("T")


class AsyncFiles:
    """Files of the calling agent. Raises InvalidPath, NotFound, Conflict, VersionConflict, Forbidden,
    QuotaExceeded, PayloadTooLarge, BadRequest, StorageCorrupt, StorageUnavailable."""

    def __init__(self, send: AsyncSend) -> None:
        self._send = send

    async def write(self, path: str, data: str | bytes, *, expect: int | None = None) -> Stat:
        """Make `data` the whole content of the file; `expect`: the version that is there (0: nothing)."""
        return await self._send(requests.write_file(path, _bytes(data), expect))

    async def append(self, path: str, data: str | bytes) -> Stat:
        """Add to the end of the file."""
        return await self._do(storage.AppendFile(path=path, data=_bytes(data)))

    async def read(self, path: str, *, version: int | None = None, snapshot: str = "") -> bytes:
        """All bytes of the file, now or as it was."""
        return await self._send(requests.read_file(path, version, snapshot))

    async def read_range(self, path: str, offset: int, length: int) -> bytes:
        """Some bytes of the file."""
        return (await self._do(storage.ReadFile(path=path, offset=offset, length=length))).data

    async def truncate(self, path: str, size: int = 0) -> Stat:
        """Keep the first `size` bytes."""
        return await self._do(storage.TruncateFile(path=path, size=size))

    async def describe(
        self, path: str, *, tags: Sequence[str] | None = None, about: dict[str, str] | None = None
    ) -> Stat:
        """Replace tags or metadata."""
        return await self._do(_describe(path, tags, about))

    async def stat(self, path: str, *, snapshot: str = "") -> Stat:
        """What is at `path`."""
        return await self._do(storage.StatFile(path=path, snapshot=snapshot))

    async def list(self, path: str = "/", *, snapshot: str = "") -> AsyncGenerator[Stat, None]:
        """The entries of a folder by name, fetched page by page."""
        cursor = None
        while cursor != "":
            page = await self._do(storage.ListFolder(path=path, cursor=cursor or "", snapshot=snapshot))
            for entry in page.entries:
                yield entry
            cursor = page.cursor

    async def glob(self, pattern: str, *, snapshot: str = "") -> AsyncGenerator[Stat, None]:
        """Everything that matches `pattern` (`**`: any number of folders), fetched page by page."""
        cursor = None
        while cursor != "":
            page = await self._do(storage.Glob(pattern=pattern, cursor=cursor or "", snapshot=snapshot))
            for entry in page.entries:
                yield entry
            cursor = page.cursor

    async def mkdir(self, path: str, *, parents: bool = False) -> Stat:
        """A new folder."""
        return await self._do(storage.MakeFolder(path=path, parents=parents))

    async def link(self, target: str, path: str) -> Stat:
        """A link at `path` that leads to `target`."""
        return await self._do(storage.LinkFile(target=target, path=path))

    async def move(self, path: str, to: str, *, replace: bool = False) -> Stat:
        """Give it another name, history and all."""
        return await self._do(storage.Move(path=path, to=to, replace=replace))

    async def copy(self, path: str, to: str, *, replace: bool = False) -> Stat:
        """Copy a file or a folder."""
        return await self._do(storage.Copy(path=path, to=to, replace=replace))

    async def delete(self, path: str, *, recursive: bool = False) -> Binned:
        """Put it into the bin."""
        return await self._do(storage.DeleteFile(path=path, recursive=recursive))

    async def bin(self) -> tuple[Binned, ...]:
        """What is in the bin, oldest first (at most 1,000)."""
        return (await self._do(storage.ListBin())).entries

    async def restore(self, id: int, *, to: str = "") -> Stat:
        """Take something out of the bin."""
        return await self._do(storage.Restore(id=id, to=to))

    async def purge(self, ids: Sequence[int] | None = None) -> Collected:
        """Destroy what is in the bin, for good."""
        return await self._do(storage.Purge(ids=None if ids is None else tuple(ids)))

    async def history(self, path: str, *, limit: int = 100) -> tuple[Version, ...]:
        """Versions, newest first."""
        return (await self._do(storage.FileHistory(path=path, limit=limit))).versions

    async def diff(self, path: str, old: int, new: int | None = None) -> Diff:
        """What version `new` (None: the newest) changed against `old`."""
        return await self._do(storage.DiffFile(path=path, old=old, new=new))

    async def rollback(self, path: str, **to: Any) -> Stat:
        """Make an old version the newest again: `steps`, `version` or `time`."""
        return await self._do(storage.Rollback(path=path, **to))

    async def snapshot(self, name: str) -> Snapshot:
        """Remember the whole tree."""
        return await self._do(storage.TakeSnapshot(name=name))

    async def snapshots(self) -> tuple[Snapshot, ...]:
        """Oldest first."""
        return (await self._do(storage.ListSnapshots())).snapshots

    async def restore_snapshot(self, name: str, *, path: str = "/") -> tuple[Difference, ...]:
        """Make `path` what it was; what changed by that."""
        return (await self._do(storage.RestoreSnapshot(snapshot=name, path=path))).differences

    async def find(
        self, query: str = "", *, limit: int = 10, meaning: bool = True, **where: Any
    ) -> tuple[Hit, ...]:
        """The best files by words, meaning and metadata (`where`: fields of `Filter`)."""
        call = storage.Find(query=query, where=_where(where), meaning=meaning, limit=limit)
        return (await self._do(call)).hits

    async def group(self, groups: int | None = None, **where: Any) -> tuple[Group, ...]:
        """Files in groups of like content."""
        return (await self._do(storage.GroupFiles(where=_where(where), groups=groups))).groups

    async def join(self, left: str, right: str, *, least: float = 0.5) -> tuple[Match, ...]:
        """Pairs of files of two folders whose content is alike."""
        return (await self._do(storage.JoinFolders(left=left, right=right, least=least))).matches

    async def share(self, path: str, *, expires_s: float = 86_400.0, password: str = "") -> ShareInfo:
        """A link for people without a key: `/share/<token>` on the kernel's own address."""
        return await self._do(storage.ShareFile(path=path, expires_s=expires_s, password=password))

    async def shares(self) -> tuple[ShareInfo, ...]:
        """Those that have not expired."""
        return (await self._do(storage.ListShares())).shares

    async def revoke(self, id: int) -> tuple[ShareInfo, ...]:
        """Let a share open nothing any more; those that are left."""
        return (await self._do(storage.RevokeShare(id=id))).shares

    async def mount(self, name: str, path: str, **how: Any) -> Mount:
        """Show the shared root `name` at `path` (`writable`, `expires_s`)."""
        return await self._do(storage.MountRoot(path=path, name=name, **how))

    async def unmount(self, path: str) -> Stat:
        """End that."""
        return await self._do(storage.Unmount(path=path))

    async def mounts(self) -> tuple[Mount, ...]:
        """What is mounted."""
        return (await self._do(storage.ListMounts())).mounts

    async def usage(self) -> Usage:
        """What the agent's root holds, and may hold."""
        return await self._do(storage.StorageUsage())

    async def _do(self, call: Call[T]) -> T:
        return await self._send(requests.syscall(call))


class Files:
    """See AsyncFiles."""

    def __init__(self, send: Send) -> None:
        self._send = send

    def write(self, path: str, data: str | bytes, *, expect: int | None = None) -> Stat:
        return self._send(requests.write_file(path, _bytes(data), expect))

    def append(self, path: str, data: str | bytes) -> Stat:
        return self._do(storage.AppendFile(path=path, data=_bytes(data)))

    def read(self, path: str, *, version: int | None = None, snapshot: str = "") -> bytes:
        return self._send(requests.read_file(path, version, snapshot))

    def read_range(self, path: str, offset: int, length: int) -> bytes:
        return (self._do(storage.ReadFile(path=path, offset=offset, length=length))).data

    def truncate(self, path: str, size: int = 0) -> Stat:
        return self._do(storage.TruncateFile(path=path, size=size))

    def describe(
        self, path: str, *, tags: Sequence[str] | None = None, about: dict[str, str] | None = None
    ) -> Stat:
        return self._do(_describe(path, tags, about))

    def stat(self, path: str, *, snapshot: str = "") -> Stat:
        return self._do(storage.StatFile(path=path, snapshot=snapshot))

    def list(self, path: str = "/", *, snapshot: str = "") -> Generator[Stat]:
        cursor = None
        while cursor != "":
            page = self._do(storage.ListFolder(path=path, cursor=cursor or "", snapshot=snapshot))
            yield from page.entries
            cursor = page.cursor

    def glob(self, pattern: str, *, snapshot: str = "") -> Generator[Stat]:
        cursor = None
        while cursor != "":
            page = self._do(storage.Glob(pattern=pattern, cursor=cursor or "", snapshot=snapshot))
            yield from page.entries
            cursor = page.cursor

    def mkdir(self, path: str, *, parents: bool = False) -> Stat:
        return self._do(storage.MakeFolder(path=path, parents=parents))

    def link(self, target: str, path: str) -> Stat:
        return self._do(storage.LinkFile(target=target, path=path))

    def move(self, path: str, to: str, *, replace: bool = False) -> Stat:
        return self._do(storage.Move(path=path, to=to, replace=replace))

    def copy(self, path: str, to: str, *, replace: bool = False) -> Stat:
        return self._do(storage.Copy(path=path, to=to, replace=replace))

    def delete(self, path: str, *, recursive: bool = False) -> Binned:
        return self._do(storage.DeleteFile(path=path, recursive=recursive))

    def bin(self) -> tuple[Binned, ...]:
        return (self._do(storage.ListBin())).entries

    def restore(self, id: int, *, to: str = "") -> Stat:
        return self._do(storage.Restore(id=id, to=to))

    def purge(self, ids: Sequence[int] | None = None) -> Collected:
        return self._do(storage.Purge(ids=None if ids is None else tuple(ids)))

    def history(self, path: str, *, limit: int = 100) -> tuple[Version, ...]:
        return (self._do(storage.FileHistory(path=path, limit=limit))).versions

    def diff(self, path: str, old: int, new: int | None = None) -> Diff:
        return self._do(storage.DiffFile(path=path, old=old, new=new))

    def rollback(self, path: str, **to: Any) -> Stat:
        return self._do(storage.Rollback(path=path, **to))

    def snapshot(self, name: str) -> Snapshot:
        return self._do(storage.TakeSnapshot(name=name))

    def snapshots(self) -> tuple[Snapshot, ...]:
        return (self._do(storage.ListSnapshots())).snapshots

    def restore_snapshot(self, name: str, *, path: str = "/") -> tuple[Difference, ...]:
        return (self._do(storage.RestoreSnapshot(snapshot=name, path=path))).differences

    def find(self, query: str = "", *, limit: int = 10, meaning: bool = True, **where: Any) -> tuple[Hit, ...]:
        call = storage.Find(query=query, where=_where(where), meaning=meaning, limit=limit)
        return (self._do(call)).hits

    def group(self, groups: int | None = None, **where: Any) -> tuple[Group, ...]:
        return (self._do(storage.GroupFiles(where=_where(where), groups=groups))).groups

    def join(self, left: str, right: str, *, least: float = 0.5) -> tuple[Match, ...]:
        return (self._do(storage.JoinFolders(left=left, right=right, least=least))).matches

    def share(self, path: str, *, expires_s: float = 86_400.0, password: str = "") -> ShareInfo:
        return self._do(storage.ShareFile(path=path, expires_s=expires_s, password=password))

    def shares(self) -> tuple[ShareInfo, ...]:
        return (self._do(storage.ListShares())).shares

    def revoke(self, id: int) -> tuple[ShareInfo, ...]:
        return (self._do(storage.RevokeShare(id=id))).shares

    def mount(self, name: str, path: str, **how: Any) -> Mount:
        return self._do(storage.MountRoot(path=path, name=name, **how))

    def unmount(self, path: str) -> Stat:
        return self._do(storage.Unmount(path=path))

    def mounts(self) -> tuple[Mount, ...]:
        return (self._do(storage.ListMounts())).mounts

    def usage(self) -> Usage:
        return self._do(storage.StorageUsage())

    def _do(self, call: Call[T]) -> T:
        return self._send(requests.syscall(call))


def _bytes(data: str | bytes) -> bytes:
    return data.encode() if isinstance(data, str) else data


def _describe(path: str, tags: Sequence[str] | None, about: dict[str, str] | None) -> storage.Describe:
    return storage.Describe(path=path, tags=None if tags is None else tuple(tags), about=about)


def _where(fields: dict[str, Any]) -> Filter:
    return Filter(**tuples(fields))
