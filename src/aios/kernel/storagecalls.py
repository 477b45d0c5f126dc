"""What the storage manager does for each `storage.*` call."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from aios.config import SharedRoot
from aios.errors import Forbidden, NotFound
from aios.kernel.pcb import Process
from aios.kernel.services import Handler
from aios.storage.manager import StorageManager
from aios.storage.stakes import Stake, Stakes
from aios.syscalls import storage as s
from aios.syscalls import storage_records as r
from aios.syscalls.base import Call

Work = Callable[[str, Any], Awaitable[Any]]


def storage_calls(manager: StorageManager, roots: Mapping[str, SharedRoot]) -> dict[type[Call[Any]], Handler]:
    """Each agent has a root of its own; `roots` are those that may be mounted in it."""
    works = {
        **_contents(manager),
        **_names(manager),
        **_versions(manager),
        **_search(manager),
        **_shares(manager),
    }
    table: dict[type[Call[Any]], Handler] = {call: _handler(work) for call, work in works.items()}

    async def mount(process: Process, call: s.MountRoot) -> r.Mount:
        root = roots.get(call.name)
        if root is None or (root.groups and process.group not in root.groups):
            raise NotFound(
                f"There is no shared root {call.name!r}.", "`[[storage.roots]]` makes one.", param="name"
            )
        if call.writable and not root.writable:
            raise Forbidden(
                f"{call.name!r} may only be read.", "Mount it without `writable`.", param="writable"
            )
        expires = 0.0 if call.expires_s is None else time.time() + call.expires_s
        return await manager.mounts.mount(
            process.agent, call.path, call.name, writable=call.writable, expires=expires
        )

    table[s.MountRoot] = mount
    return table


class FileStakes:
    """What is at stake in them, in the root of the calling agent."""

    def __init__(self, stakes: Stakes) -> None:
        self._stakes, self.may, self.standing_on = stakes, stakes.may, stakes.standing_on

    async def of(self, process: Process, call: Call[Any]) -> Stake:
        return await self._stakes.of(process.agent, call)

    async def shown(self, process: Process, call: Call[Any]) -> str:
        return await self._stakes.shown(process.agent, call)


def _handler(work: Work) -> Handler:
    return lambda process, call: work(process.agent, call)


def _body(call: s.WriteFile | s.AppendFile) -> bytes:
    return call.data or call.text.encode()


def _key(call: Any) -> str:
    return call.idempotency_key or ""


def _contents(manager: StorageManager) -> Mapping[type[Call[Any]], Work]:
    files = manager.files
    return {
        s.WriteFile: lambda owner, call: files.write(
            owner, call.path, _body(call), expect=call.expect, parents=call.parents, key=_key(call)
        ),
        s.AppendFile: lambda owner, call: files.append(
            owner, call.path, _body(call), expect=call.expect, key=_key(call)
        ),
        s.TruncateFile: lambda owner, call: files.truncate(
            owner, call.path, call.size, expect=call.expect, key=_key(call)
        ),
        s.ReadFile: lambda owner, call: files.read(
            owner, call.path, offset=call.offset, length=call.length, version=call.version,
            snapshot=call.snapshot,
        ),
        s.Describe: lambda owner, call: files.describe(
            owner, call.path, tags=call.tags, about=call.about, expect=call.expect, key=_key(call)
        ),
    }  # fmt: skip


def _names(manager: StorageManager) -> Mapping[type[Call[Any]], Work]:
    files, bin = manager.files, manager.bin

    async def binned(owner: str, call: s.ListBin) -> r.Bin:
        return r.Bin(entries=await bin.list(owner, after=call.after, limit=call.limit))

    return {
        s.StatFile: lambda owner, call: files.stat(
            owner, call.path, follow=call.follow, snapshot=call.snapshot
        ),
        s.ListFolder: lambda owner, call: files.list(
            owner, call.path, cursor=call.cursor, limit=call.limit, snapshot=call.snapshot
        ),
        s.Glob: lambda owner, call: files.glob(
            owner, call.pattern, cursor=call.cursor, limit=call.limit, snapshot=call.snapshot
        ),
        s.MakeFolder: lambda owner, call: files.mkdir(owner, call.path, parents=call.parents, key=_key(call)),
        s.LinkFile: lambda owner, call: files.link(owner, call.target, call.path, key=_key(call)),
        s.Move: lambda owner, call: files.move(
            owner, call.path, call.to, replace=call.replace, expect=call.expect, key=_key(call)
        ),
        s.Copy: lambda owner, call: files.copy(
            owner, call.path, call.to, replace=call.replace, snapshot=call.snapshot, key=_key(call)
        ),
        s.DeleteFile: lambda owner, call: files.delete(
            owner, call.path, recursive=call.recursive, expect=call.expect, key=_key(call)
        ),
        s.ListBin: binned,
        s.Restore: lambda owner, call: bin.restore(owner, call.id, to=call.to, key=_key(call)),
        s.Purge: lambda owner, call: bin.purge(owner, call.ids),
    }


def _versions(manager: StorageManager) -> Mapping[type[Call[Any]], Work]:
    versions = manager.versions

    async def history(owner: str, call: s.FileHistory) -> r.Versions:
        found = await versions.history(owner, call.path, before=call.before, limit=call.limit)
        return r.Versions(versions=found)

    async def snapshots(owner: str, call: Any) -> r.Snapshots:
        return r.Snapshots(snapshots=await versions.snapshots(owner))

    async def drop(owner: str, call: s.DropSnapshot) -> r.Snapshots:
        await versions.drop(owner, call.name)
        return await snapshots(owner, call)

    async def compare(owner: str, call: s.Compare) -> r.Differences:
        found = await versions.compare(owner, call.old, call.new, path=call.path)
        return r.Differences(differences=found)

    async def restore(owner: str, call: s.RestoreSnapshot) -> r.Differences:
        found = await versions.restore(owner, call.snapshot, path=call.path, key=_key(call))
        return r.Differences(differences=found)

    return {
        s.FileHistory: history,
        s.DiffFile: lambda owner, call: versions.diff(
            owner, call.path, call.old, call.new, context=call.context
        ),
        s.Rollback: lambda owner, call: versions.rollback(
            owner, call.path, steps=call.steps, version=call.version, time=call.time, expect=call.expect,
            key=_key(call),
        ),
        s.ForgetVersions: lambda owner, call: versions.forget(owner, call.path, keep=call.keep),
        s.TakeSnapshot: lambda owner, call: versions.snapshot(owner, call.name, key=_key(call)),
        s.ListSnapshots: snapshots,
        s.DropSnapshot: drop,
        s.Compare: compare,
        s.RestoreSnapshot: restore,
    }  # fmt: skip


def _search(manager: StorageManager) -> Mapping[type[Call[Any]], Work]:
    return {
        s.Find: lambda owner, call: manager.search.find(
            owner, call.query, call.where, meaning=call.meaning, limit=call.limit
        ),
        s.GroupFiles: lambda owner, call: manager.grouping.group_by(owner, call.where, groups=call.groups),
        s.JoinFolders: lambda owner, call: manager.grouping.join(
            owner, call.left, call.right, least=call.least, limit=call.limit
        ),
        s.StorageUsage: lambda owner, call: manager.usage(owner),
    }


def _shares(manager: StorageManager) -> Mapping[type[Call[Any]], Work]:
    shares, mounts = manager.shares, manager.mounts

    async def listed(owner: str, call: Any) -> r.Shares:
        return r.Shares(shares=await shares.list(owner))

    async def revoke(owner: str, call: s.RevokeShare) -> r.Shares:
        await shares.revoke(owner, call.id)
        return await listed(owner, call)

    async def mounted(owner: str, call: s.ListMounts) -> r.Mounts:
        return r.Mounts(mounts=await mounts.list(owner))

    return {
        s.ShareFile: lambda owner, call: shares.create(
            owner, call.path, expires=time.time() + call.expires_s, password=call.password
        ),
        s.ListShares: listed,
        s.RevokeShare: revoke,
        s.Unmount: lambda owner, call: mounts.unmount(owner, call.path),
        s.ListMounts: mounted,
    }
