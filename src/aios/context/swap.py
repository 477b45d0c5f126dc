"""Files of swapped contexts: a folder with a budget, and a label beside each file.

The label says whose KV the file holds. It is written last, so a file without one is no context. What a file
holds is checked by the core, against a checksum and against the tokens of whoever uses it.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from pathlib import Path

import msgspec


class Label(msgspec.Struct, frozen=True, kw_only=True):
    """Whose KV a swap file holds. `fingerprint`: of the model and engine that made it."""

    fingerprint: str
    pid: int
    group: str
    tokens: list[int]
    prompt: int
    size: int


class SwapSpace:
    """At most `size` bytes of swap files in `folder`, which is made. One kernel at a time uses a folder."""

    def __init__(self, folder: Path, size: int) -> None:
        self.size, self.used = size, 0
        self._folder = folder
        self._sizes: dict[Path, int] = {}
        self._labelled: set[Path] = set()

    def reserve(self, size: int) -> Path | None:
        """A new file's name, and room for it in the budget; None if there is not enough."""
        if self.used + size > self.size:
            return None
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        path = self._folder / f"{secrets.token_hex(8)}.kv"
        self._sizes[path] = size
        self.used += size
        return path

    def label(self, path: Path, label: Label) -> None:
        """`path` is whole, and to be found at the next start. Blocks; raises OSError."""
        if path in self._labelled:
            return
        beside = path.with_suffix(".new")
        with open(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
            file.write(msgspec.msgpack.encode(label))
        beside.rename(path.with_suffix(".label"))
        self._labelled.add(path)

    def take(self, path: Path, label: Label) -> Path | None:
        """Make a file of another space this one's; its new name, or None if there is no room. The other one's
        accounts are settled by its `remove`. Raises OSError."""
        mine = self.reserve(label.size)
        if mine is not None:
            path.rename(mine)
        return mine

    def remove(self, path: Path) -> None:
        """Forget a file. Harmless if it is gone."""
        self.used -= self._sizes.pop(path, 0)
        self._labelled.discard(path)
        for each in (path.with_suffix(".label"), path):
            each.unlink(missing_ok=True)

    def scan(self, fingerprint: str) -> Iterator[tuple[Path, Label]]:
        """What an earlier kernel left and is of use, oldest first; the rest is deleted. Call once, first."""
        if not self._folder.is_dir():
            return
        left = sorted(self._folder.iterdir(), key=lambda path: path.stat().st_mtime)
        for path in left:
            label = _read(path.with_suffix(".label")) if path.suffix == ".kv" else None
            if label and label.fingerprint == fingerprint and self.used + label.size <= self.size:
                self._sizes[path] = label.size
                self.used += label.size
                self._labelled.add(path)
                yield path, label
        keep = {each for path in self._sizes for each in (path, path.with_suffix(".label"))}
        for path in left:
            if path not in keep:
                path.unlink(missing_ok=True)


def _read(path: Path) -> Label | None:
    try:
        return msgspec.msgpack.decode(path.read_bytes(), type=Label)
    except (OSError, msgspec.MsgspecError):
        return None
