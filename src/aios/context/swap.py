"""Room on disk for swapped contexts: slabs of the store, a budget, and a label with each.

The label says whose KV the slab holds; with it the store finds it again. What a slab holds is checked by the
core, against the SHA-256 it is sealed with and against the tokens of whoever uses it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Protocol

import msgspec


class SlabStore(Protocol):
    """Where large contents are kept as sealed files (storage/slabs.py)."""

    def reserve(self, size: int, owner: str) -> Path:
        """A name for a new one of `size` bytes."""
        ...

    async def seal(self, space: str, labels: Mapping[Path, bytes]) -> None:
        """These, as far as they are there, are `space`'s from now on, to be found again. Raises
        StorageUnavailable."""
        ...

    def remove(self, path: Path) -> None:
        """Forget one. Harmless if it is gone."""
        ...

    async def find(self, space: str) -> Sequence[tuple[Path, bytes]]:
        """What is there of an earlier kernel, oldest first. Raises StorageUnavailable."""
        ...


class Label(msgspec.Struct, frozen=True, kw_only=True):
    """Whose KV a slab holds. `fingerprint`: of the model and engine that made it."""

    fingerprint: str
    pid: int
    group: str
    tokens: list[int]
    prompt: int
    size: int


def _nobody(_: int) -> str:
    return ""


class SwapSpace:
    """At most `size` bytes of `store`, called `name` there. `whose(pid)`: who is said to own what is of a
    process; "" for what is of none."""

    def __init__(self, store: SlabStore, name: str, size: int, whose: Callable[[int], str] = _nobody) -> None:
        self.size, self.used = size, 0
        self._store, self._name, self._whose = store, name, whose
        self._sizes: dict[Path, int] = {}
        self._labelled: set[Path] = set()

    def reserve(self, size: int, pid: int) -> Path | None:
        """A new file's name, and room for it in the budget; None if there is not enough."""
        if self.used + size > self.size:
            return None
        path = self._store.reserve(size, self._whose(pid) if pid else "")
        self._keep(path, size)
        return path

    async def label(self, labels: Mapping[Path, Label]) -> None:
        """These files are whole, and to be found at the next start. Raises StorageUnavailable."""
        fresh = {path: label for path, label in labels.items() if path not in self._labelled}
        if fresh:
            encode = msgspec.msgpack.encode
            await self._store.seal(self._name, {path: encode(label) for path, label in fresh.items()})
            self._labelled |= fresh.keys() & self._sizes.keys()

    async def take(self, path: Path, label: Label) -> bool:
        """Make a file of another space this one's; False if there is no room. The other one `gives` it. Raises
        StorageUnavailable."""
        if self.used + label.size > self.size:
            return False
        self._keep(path, label.size)
        try:
            await self.label({path: label})
        except BaseException:
            self.give(path)
            raise
        return True

    def give(self, path: Path) -> None:
        """The file is another space's now."""
        self.used -= self._sizes.pop(path, 0)
        self._labelled.discard(path)

    def remove(self, path: Path) -> None:
        """Forget a file. Harmless if it is gone."""
        self.give(path)
        self._store.remove(path)

    async def find(self, fingerprint: str) -> list[tuple[Path, Label]]:
        """What an earlier kernel left and is of use, oldest first; the rest is removed. Call once, first.
        Raises StorageUnavailable."""
        found: list[tuple[Path, Label]] = []
        for path, data in await self._store.find(self._name):
            label = _read(data)
            if label and label.fingerprint == fingerprint and self.used + label.size <= self.size:
                self._keep(path, label.size)
                self._labelled.add(path)
                found.append((path, label))
            else:
                self._store.remove(path)
        return found

    def _keep(self, path: Path, size: int) -> None:
        self._sizes[path] = size
        self.used += size


def _read(data: bytes) -> Label | None:
    try:
        return msgspec.msgpack.decode(data, type=Label)
    except msgspec.MsgspecError:
        return None
