"""Shared roots: a root that several owners see at a place in their own."""

from __future__ import annotations

from aios.errors import Conflict, NotFound
from aios.storage.change import Change
from aios.storage.paths import parse_inner, show
from aios.storage.store import Store
from aios.storage.tree import LIVE, Tree
from aios.syscalls.storage_records import Mount, Stat


class Mounts:
    """Any root can be mounted in others. A root that has mounts is mounted nowhere, so trees stay finite.

    Who may mount what is not decided here."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def mount(
        self, owner: str, path: str, name: str, *, writable: bool = False, expires: float = 0.0
    ) -> Mount:
        """Show the root `name` at `path` in the owner's tree: an empty folder, made if it is missing. After
        `expires` (Unix time; 0: never) the folder is just empty. Raises Conflict."""
        parts, target = parse_inner(path), await self._store.root(name)

        def go(change: Change) -> Mount:
            place = change.look(parts) or change.make_folder(parts, parents=True)
            if place.kind != "dir" or not place.parent or change.children(place, limit=1):
                raise Conflict(f"{show(parts)} is in use.", "Mount at an empty folder.", param="path")
            chained = change.db.execute(
                "SELECT 1 FROM mounts WHERE root = ?1 OR target = ?2", (target, change.root)
            ).fetchone()
            if chained or target == change.root or place.root != change.root:
                raise Conflict("Mounts can't be in mounts.", "Mount the inner root itself.", param="name")
            change.db.execute(
                "INSERT OR REPLACE INTO mounts (node, root, target, writable, expires) VALUES (?, ?, ?, ?, ?)",
                (place.node, change.root, target, writable, expires),
            )
            return Mount(path=place.shown, name=name, writable=writable, expires=expires)

        return await self._store.change(owner, Mount, go)

    async def unmount(self, owner: str, path: str) -> Stat:
        """Leave an empty folder where a root was mounted. Raises NotFound."""
        parts = parse_inner(path)

        def go(change: Change) -> Stat:
            folder = change.folder(parts[:-1])
            row = change.db.execute(
                "DELETE FROM mounts WHERE node = (SELECT node FROM entries WHERE parent = ? AND name = ?"
                " AND died = ?) RETURNING node",
                (folder.node, parts[-1], LIVE),
            ).fetchone()
            if row is None:
                raise NotFound(f"Nothing is mounted at {show(parts)}.", "List the mounts.", param="path")
            return change.stat(change.folder(parts))

        return await self._store.change(owner, Stat, go)

    async def list(self, owner: str) -> tuple[Mount, ...]:
        """What is mounted in the owner's tree and has not expired, by path."""

        def get(tree: Tree) -> tuple[Mount, ...]:
            rows = tree.db.execute(
                "SELECT m.node, r.name, m.writable, m.expires FROM mounts m JOIN roots r ON r.id = m.target"
                " WHERE m.root = ? AND (m.expires = 0 OR m.expires > ?)",
                (tree.root, tree.now),
            ).fetchall()
            found = [
                Mount(path=show(path), name=name, writable=bool(writable), expires=expires)
                for node, name, writable, expires in rows
                if (path := tree.path_of(node)) is not None
            ]
            return tuple(sorted(found, key=lambda mount: mount.path))

        return await self._store.look(owner, get)
