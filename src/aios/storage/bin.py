"""The bin: what was deleted, until it is restored or purged."""

from __future__ import annotations

from collections.abc import Sequence

from aios.storage import collect, moves
from aios.storage.change import Change
from aios.storage.paths import parse_inner
from aios.storage.store import Store
from aios.storage.tree import Tree
from aios.syscalls.storage_records import Binned, Collected, Stat


class Bin:
    """The bins of all roots. Things deleted in a shared folder are in the bin of its root."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def list(self, owner: str, *, after: int = 0, limit: int = 1_000) -> tuple[Binned, ...]:
        """What is in the bin, oldest first, from behind id `after`."""

        def get(tree: Tree) -> tuple[Binned, ...]:
            rows = tree.db.execute(
                "SELECT b.id, b.path, n.kind, v.size, b.at, b.author FROM binned b"
                " JOIN nodes n ON n.id = b.node JOIN versions v ON v.node = n.id AND v.seq = n.head"
                " WHERE b.root = ? AND b.id > ? ORDER BY b.id LIMIT ?",
                (tree.root, after, limit),
            )
            return tuple(
                Binned(id=id, path=path, kind=kind, size=size, at=at, author=author)
                for id, path, kind, size, at, author in rows
            )

        return await self._store.look(owner, get)

    async def restore(self, owner: str, id: int, *, to: str = "", author: str = "", key: str = "") -> Stat:
        """Take `id` out of the bin, to where it was or `to`. Raises NotFound, Conflict (the place is taken)."""
        target = parse_inner(to) if to else None
        return await self._store.change(
            owner, Stat, lambda change: moves.restore(change, id, target),
            author=author, key=key, request=("restore", id, to),
        )  # fmt: skip

    async def purge(self, owner: str, ids: Sequence[int] | None = None) -> Collected:
        """Destroy these things in the bin, or all of it, with all their versions; what a snapshot still shows
        stays until that is dropped. Works on a full disk too. Raises NotFound."""

        def doom(change: Change) -> None:
            wanted = ids
            if wanted is None:
                rows = change.db.execute("SELECT id FROM binned WHERE root = ?", (change.root,))
                wanted = [id for (id,) in rows]
            for id in wanted:
                node = change.db.execute(
                    "DELETE FROM binned WHERE id = ? AND root = ? RETURNING node", (id, change.root)
                ).fetchone()
                if node is None:
                    raise moves.not_in_bin(id)
                collect.let_go(change.db, node[0])

        await self._store.change(owner, type(None), doom, frees=True)
        erased = await collect.erase(self._store.database)
        self._store.changed.set()
        return erased
