"""Contents without a path: what was paged out of memory.

They are in the same chunks as files, under the same checks and the same quota. A blob is there for as long as a
name holds it; a digest opens only what one of the owner's own names holds."""

from __future__ import annotations

from aios.errors import BadRequest, NotFound
from aios.storage import collect, contents
from aios.storage.change import Change
from aios.storage.records import Blob
from aios.storage.staging import Staging
from aios.storage.store import Store
from aios.storage.tree import Tree

NAME_BYTES = 1_024


class Blobs:
    """Blobs of all owners. All methods raise StorageUnavailable."""

    def __init__(self, store: Store, staging: Staging) -> None:
        self._store, self._staging = store, staging

    async def put(self, owner: str, data: bytes, *, name: str = "", key: str = "") -> Blob:
        """Keep `data` under `name` (by default its digest), instead of what that name held before. Raises
        PayloadTooLarge, QuotaExceeded, BadRequest."""
        self._staging.check_size(len(data))
        recipe = await self._staging.recipe(data)
        digest = recipe.digest
        held = _check(name or digest.hex())

        def go(change: Change) -> Blob:
            _hold(change, held, contents.put_manifest(change.db, recipe))
            return Blob(name=held, digest=digest.hex(), size=recipe.size, at=change.now)

        request = ("blob", digest, held)
        return await self._staging.keep(
            recipe, lambda: self._store.change(owner, Blob, go, key=key, request=request)
        )

    async def get(self, owner: str, digest: str, *, offset: int = 0, length: int | None = None) -> bytes:
        """Bytes of the blob with this digest (hex). Raises NotFound, StorageCorrupt, BadRequest."""
        if offset < 0 or (length is not None and length < 0):
            raise BadRequest("A range has no negative numbers.", "Count from the start.", param="offset")

        def read(tree: Tree) -> bytes:
            row = _find(tree, digest)
            if row is None:
                raise _unknown(digest)
            manifest, size = row
            end = size if length is None else min(size, offset + length)
            return contents.read(tree.db, manifest, offset, end) if end > offset else b""

        return await self._store.look(owner, read)

    async def pin(self, owner: str, name: str, digest: str) -> Blob:
        """Let `name` hold a blob that the owner has, instead of what it held before. Raises NotFound."""
        held = _check(name)

        def go(change: Change) -> Blob:
            row = _find(change, digest)
            if row is None:
                raise _unknown(digest)
            _hold(change, held, row[0])
            return Blob(name=held, digest=digest, size=row[1], at=change.now)

        return await self._store.change(owner, Blob, go)

    async def release(self, owner: str, name: str) -> None:
        """Forget a name; what no name holds is collected. Works on a full disk too. Raises NotFound."""

        def go(change: Change) -> None:
            row = change.db.execute(
                "DELETE FROM refs WHERE root = ? AND name = ? RETURNING manifest", (change.root, name)
            ).fetchone()
            if row is None:
                raise _unknown(name)
            collect.release(change.db, change.root, [row[0]])

        await self._store.change(owner, type(None), go, frees=True)

    async def find(self, owner: str, name: str) -> Blob:
        """What `name` holds. Raises NotFound."""
        found = await self.list(owner, prefix=name, limit=1)
        if not found or found[0].name != name:
            raise _unknown(name)
        return found[0]

    async def list(
        self, owner: str, *, prefix: str = "", after: str = "", limit: int = 1_000
    ) -> tuple[Blob, ...]:
        """Blobs by name, those whose name begins with `prefix`, from behind `after`."""

        def get(tree: Tree) -> tuple[Blob, ...]:
            rows = tree.db.execute(
                "SELECT r.name, m.digest, m.size, r.at FROM refs r JOIN manifests m ON m.id = r.manifest"
                " WHERE r.root = ?1 AND r.name > ?2 AND r.name >= ?3 AND substr(r.name, 1, length(?3)) = ?3"
                " ORDER BY r.name LIMIT ?4",
                (tree.root, after, prefix, max(0, limit)),
            )
            return tuple(
                Blob(name=name, digest=digest.hex(), size=size, at=at) for name, digest, size, at in rows
            )

        return await self._store.look(owner, get)


def _hold(change: Change, name: str, manifest: int) -> None:
    old = change.db.execute(
        "SELECT manifest FROM refs WHERE root = ? AND name = ?", (change.root, name)
    ).fetchone()
    change.db.execute(
        "INSERT OR REPLACE INTO refs (root, name, manifest, at) VALUES (?, ?, ?, ?)",
        (change.root, name, manifest, change.now),
    )
    if old is not None:
        collect.release(change.db, change.root, [old[0]])
    change.hold(change.root, manifest)


def _find(tree: Tree, digest: str) -> tuple[int, int] | None:
    """Manifest and size of a blob that the owner holds."""
    try:
        raw = bytes.fromhex(digest)
    except ValueError:
        return None
    return tree.db.execute(
        "SELECT m.id, m.size FROM manifests m WHERE m.digest = ? AND EXISTS"
        " (SELECT 1 FROM refs r WHERE r.manifest = m.id AND r.root = ?)",
        (raw, tree.root),
    ).fetchone()


def _check(name: str) -> str:
    if not name or len(name.encode()) > NAME_BYTES:
        raise BadRequest(f"The name of a blob has 1 to {NAME_BYTES} bytes.", param="name")
    return name


def _unknown(name: str) -> NotFound:
    return NotFound(f"There is no blob {name[:80]!r}.", "List the blobs.", param="name")
