"""Links for people without a key: a token, an end, perhaps a password.

The token has 192 bits of chance and only its SHA-256 is kept. Passwords are guessable, so they are hashed with
scrypt (RFC 7914), one at a time: whoever guesses waits in line.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
import secrets
import sqlite3

from aios.errors import BadRequest, Forbidden, NotFound
from aios.storage.change import Change
from aios.storage.paths import Parts, parse, parse_inner, show
from aios.storage.records import Shared
from aios.storage.store import Store
from aios.storage.tree import Place, Tree
from aios.syscalls.flow import current
from aios.syscalls.storage_records import ShareInfo

SALT_BYTES = 16
PASSWORD_BYTES = 1_024
COST = {"n": 1 << 15, "r": 8, "p": 3, "maxmem": 64 << 20}
"""Of scrypt: 32 MiB, as OWASP's Password Storage Cheat Sheet advises for this much memory."""


class Shares:
    """Shares of all owners. A share is of the file or folder itself: it follows when that is moved, and opens
    nothing while it is in the bin."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._line = asyncio.Semaphore(1)

    async def create(self, owner: str, path: str, *, expires: float, password: str = "") -> ShareInfo:
        """Share `path` until `expires` (Unix time). The result has the token, which is shown this once. Raises
        BadRequest, NotFound, Forbidden (it is in a mounted root)."""
        parts, now = parse_inner(path), self._store.clock()
        if expires <= now:
            raise BadRequest("That time is over.", "Choose a later end.", param="expires")
        token = secrets.token_urlsafe(24)
        salt = secrets.token_bytes(SALT_BYTES) if password else None
        hashed = await self._scrypt(password, salt) if salt else None
        labels = json.dumps(sorted(current().given))

        def go(change: Change) -> ShareInfo:
            place = change.find(parts)
            if place.root != change.root:
                raise Forbidden(
                    f"{place.shown} is in a shared root.", "ShareInfo it from that root, or a copy of it."
                )
            id: int = change.db.execute(
                "INSERT INTO shares (root, node, token, created, expires, salt, password, labels)"
                " VALUES (?, ?, ?, ?, ?, ?, ?, ?) RETURNING id",
                (change.root, place.node, _digest(token), now, expires, salt, hashed, labels),
            ).fetchone()[0]
            return ShareInfo(
                id=id, path=place.shown, created=now, expires=expires, password=bool(password), token=token
            )

        return await self._store.change(owner, ShareInfo, go)

    async def resolve(self, token: str, *, password: str = "", inner: str = "/") -> Shared:
        """What the token opens; in a shared folder, `inner` of it. Nothing outside of it, whatever links say.

        Raises NotFound (unknown, over, revoked, in the bin, of labels that its owner had not when it shared: no
        telling which), Forbidden (wrong password)."""
        parts, now = parse(inner), self._store.clock()
        find = (
            "SELECT s.root, r.name, s.node, s.salt, s.password, s.labels FROM shares s"
            " JOIN roots r ON r.id = s.root WHERE s.token = ? AND s.expires > ?"
        )
        row = await self._store.database.read(lambda db: db.execute(find, (_digest(token), now)).fetchone())
        if row is None:
            raise _unknown()
        root, owner, node, salt, hashed, labels = row
        if hashed is not None and not hmac.compare_digest(await self._scrypt(password, salt), hashed):
            raise Forbidden("This share asks for a password, and this is not it.", param="password")

        def get(db: sqlite3.Connection) -> Shared:
            tree = Tree(db, root, now)
            shared = Shared(
                owner=owner, stat=tree.stat(_inside(tree, node, parts)), labels=frozenset(json.loads(labels))
            )
            if not shared.opens(shared.stat):
                raise _unknown()
            return shared

        return await self._store.database.read(get)

    async def list(self, owner: str) -> tuple[ShareInfo, ...]:
        """The owner's shares that have not expired, oldest first, without their tokens."""

        def get(tree: Tree) -> tuple[ShareInfo, ...]:
            rows = tree.db.execute(
                "SELECT id, node, created, expires, password IS NOT NULL FROM shares"
                " WHERE root = ? AND expires > ? ORDER BY id",
                (tree.root, tree.now),
            ).fetchall()
            return tuple(
                ShareInfo(
                    id=id, path="" if (path := tree.path_of(node)) is None else show(path), created=created,
                    expires=expires, password=bool(password),
                )
                for id, node, created, expires, password in rows
            )  # fmt: skip

        return await self._store.look(owner, get)

    async def revoke(self, owner: str, id: int) -> None:
        """Let a share open nothing from now on. Raises NotFound."""

        def go(change: Change) -> None:
            if not change.db.execute(
                "DELETE FROM shares WHERE id = ? AND root = ?", (id, change.root)
            ).rowcount:
                raise NotFound(f"There is no share {id}.", "List the shares.", param="id")

        await self._store.change(owner, type(None), go)

    async def _scrypt(self, password: str, salt: bytes) -> bytes:
        secret = password.encode("utf-8", "surrogatepass")
        if len(secret) > PASSWORD_BYTES:
            raise BadRequest(f"A password has at most {PASSWORD_BYTES} bytes.", param="password")
        async with self._line:
            return await asyncio.to_thread(hashlib.scrypt, secret, salt=salt, **COST)


def _inside(tree: Tree, node: int, inner: Parts) -> Place:
    """What `inner` of the shared `node` is, links followed. Raises NotFound if it is not in it."""
    path = tree.path_of(node)
    place = None if path is None else tree.look((*path, *inner))
    if path is None or place is None or place.root != tree.root or place.path[: len(path)] != path:
        raise _unknown()
    return place


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).digest()


def _unknown() -> NotFound:
    return NotFound("There is nothing shared here.", "Ask its owner for a new link.")
