"""What has labels of its own: memories and files, which keep them in their stores, in the transaction that
writes them. Access control names them (`memory:n_1f`, `file:research:ann:/a.md`) and keeps only those of
agents."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Protocol

from aios.errors import BadRequest, Forbidden, NotFound
from aios.storage.versions import Versions

Change = Callable[[frozenset[str]], frozenset[str]]
"""From the labels there are to those there shall be."""


class Labelled(Protocol):
    """One kind of it. `name` is without the kind: of a memory its id."""

    async def owner_of(self, name: str) -> str:
        """The agent whose it is; "" if nobody's, which is answered as if it were somebody else's."""
        ...

    async def relabel(self, name: str, change: Change) -> object:
        """Raises NotFound."""
        ...


class Files:
    """Files and folders, named by root and path."""

    def __init__(self, versions: Versions) -> None:
        self._versions = versions

    async def owner_of(self, name: str) -> str:
        return ":".join(name.split(":")[:2])

    async def relabel(self, name: str, change: Change) -> object:
        owner = await self.owner_of(name)
        return await self._versions.relabel(owner, name[len(owner) + 1 :], change)


def without(labels: tuple[str, ...] | None) -> Change:
    """Takes these away, or all."""
    return lambda there: frozenset() if labels is None else there.difference(labels)


async def add(kind: Labelled, name: str, labels: frozenset[str]) -> None:
    """Unless it is gone by now, or nobody may change it."""
    with suppress(NotFound, Forbidden, BadRequest):
        await kind.relabel(name, lambda there: there | labels)
