"""On the way in: content becomes chunks before its change runs, so that the writer only inserts."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from aios.errors import BadRequest, PayloadTooLarge
from aios.storage import contents
from aios.storage.change import Change
from aios.storage.chunking import gear_table
from aios.storage.contents import BATCH_BYTES, Missing, Piece, Recipe
from aios.storage.database import Retry
from aios.storage.paths import Parts
from aios.storage.store import Store
from aios.storage.tree import Tree
from aios.syscalls.storage_records import Stat

T = TypeVar("T")


class Staging:
    """Makes recipes, and changes that keep them."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._gear = gear_table()

    async def recipe(self, data: bytes) -> Recipe:
        """`data` cut up, with what the store lacks of it packed, or put there already if it is much. Raises
        StorageUnavailable."""
        database = self._store.database
        if len(data) <= BATCH_BYTES:
            return await database.read(lambda db: self._small(db, data))
        recipe = await asyncio.to_thread(contents.cut, data, self._gear)
        missing = await database.read(lambda db: contents.lacking(db, recipe.bodies))
        for batch in recipe.batches(missing):
            packed = await asyncio.to_thread(recipe.pack, batch)
            await database.change(lambda db, packed=packed: contents.put_chunks(db, recipe, packed))
        return recipe

    def _small(self, db: sqlite3.Connection, data: bytes) -> Recipe:
        recipe = contents.cut(data, self._gear)
        recipe.packed = recipe.pack(contents.lacking(db, recipe.bodies))
        return recipe

    async def keep(self, recipe: Recipe, change: Callable[[], Awaitable[T]]) -> T:
        """Run `change`, which puts the manifest of `recipe`; if chunks that were there have been collected
        meanwhile, again with them. What it brings only grows, so this ends."""
        while True:
            try:
                return await change()
            except Missing as missing:
                recipe.packed |= await asyncio.to_thread(recipe.pack, missing.digests)

    async def splice(
        self, owner: str, path: Parts, op: str, size: int | None, data: bytes, expect: int | None, *,
        author: str, key: str, request: Any,
    ) -> Stat:  # fmt: skip
        """The file's first `size` bytes (None: all of it, and it may not be there yet) and then `data` become
        its content. Only its last chunk is cut again: chunks do not depend on what comes after them."""
        done = await self._store.recall(owner, Stat, key, request)
        if done is not None:
            return done  # before looking at a file that is no longer what it was

        while True:
            head, pieces, tail = await self._store.look(owner, lambda tree: _base(tree, path, size))
            kept = sum(piece.size for piece in pieces)
            self.check_size(kept + len(tail) + len(data))
            recipe = await self.recipe(tail + data)
            recipe.pieces[:0] = pieces

            def put(change: Change, head: int = head, recipe: Recipe = recipe) -> Stat:
                place = change.look(path)
                if place is not None:
                    change.check_version(place, expect)
                if (0 if place is None else change.head(place)) != head:
                    raise _MovedOn
                manifest = contents.put_manifest(change.db, recipe)
                return change.put(path, manifest, recipe.size, op, expect=expect)

            def change(put: Callable[[Change], Stat] = put) -> Awaitable[Stat]:
                return self._store.change(owner, Stat, put, author=author, key=key, request=request)

            try:
                return await self.keep(recipe, change)
            except _MovedOn:
                continue  # somebody else's change came first: this one goes on top of it

    def check_size(self, size: int) -> None:
        """Raise PayloadTooLarge for a file that is too big."""
        limit = self._store.limits.file_bytes
        if size > limit:
            raise PayloadTooLarge(f"A file of {size} bytes is over the limit of {limit}.", "Split it.")


class _MovedOn(Retry):
    """The file is no longer what the splice was made from."""


def _base(tree: Tree, path: Parts, size: int | None) -> tuple[int, list[Piece], bytes]:
    """The version that is there (0: none), its pieces but the last that is kept, and what is kept of that."""
    if size is None and tree.look(path) is None:
        return 0, [], b""
    place = tree.file(path)
    manifest, length = tree.manifest(place)
    if size is not None and not 0 <= size <= length:
        raise BadRequest(
            f"{place.shown} has {length} bytes, not {size}.", "Append to it instead.", param="size"
        )
    keep = length if size is None else size
    pieces: list[Piece] = []
    at = 0
    for piece in contents.pieces(tree.db, manifest):
        if at + piece.size >= keep:
            break
        pieces.append(piece)
        at += piece.size
    return tree.head(place), pieces, contents.read(tree.db, manifest, at, keep) if keep > at else b""
