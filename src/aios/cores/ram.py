"""How much memory the machine has to give: what the system says is free, within the limits of the control
groups that this process is in, less what cores were promised."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path, PurePosixPath
from typing import NamedTuple


class Names(NamedTuple):
    """Of the files of one version of control groups, and of the lines of `memory.stat` that say what of the
    usage the system can take back: pages of files."""

    limit: str
    usage: str
    files: tuple[str, str]


V1 = Names("memory.limit_in_bytes", "memory.usage_in_bytes", ("total_inactive_file", "total_active_file"))
V2 = Names("memory.max", "memory.current", ("inactive_file", "active_file"))


class Promise(NamedTuple):
    """Bytes that a core may take in all: `own`, and the `weights` it reads from `file`, which are in memory
    once, however many cores read them."""

    own: int
    file: str = ""
    weights: int = 0


class Ram:
    """Reads /proc and /sys below `root`. Cores that share one know of each other: most of what a core may take
    it touches late or never, so that the system calls it free."""

    def __init__(self, root: Path = Path("/")) -> None:
        self._root = root
        self._promised: dict[str, Promise] = {}
        self._before: int | None = None
        """What was free before the first promise."""

    def free(self, file: str = "") -> int | None:
        """Bytes that may be taken before something must go; None where the system does not tell. For a core
        that reads weights from `file`: they count as free if another has them already."""
        now = min([*self._machine(), *self._groups()], default=None)
        if not self._promised:
            self._before = now
        if now is None or self._before is None:
            return now
        own = sum(promise.own for promise in self._promised.values())
        files = {promise.file: promise.weights for promise in self._promised.values() if promise.file != file}
        return max(0, min(now, self._before - own - sum(files.values())))

    def promise(self, core: str, promise: Promise) -> None:
        """The core of that name may take so much."""
        self._promised[core] = promise

    def release(self, core: str) -> None:
        """It is closed."""
        self._promised.pop(core, None)

    def asked_for(self) -> int:
        """Bytes of memory that this process asked for and shares with nobody, whether it touched them or not;
        0 where the system does not tell."""
        pages = " ".join(_lines(self._root / "proc/self/statm")).split()
        return int(pages[5]) * os.sysconf("SC_PAGE_SIZE") if pages else 0

    def _machine(self) -> Iterator[int]:
        for line in _lines(self._root / "proc/meminfo"):
            if line.startswith("MemAvailable:"):
                yield int(line.split()[1]) * 1024

    def _groups(self) -> Iterator[int]:
        for line in _lines(self._root / "proc/self/cgroup"):
            _, controllers, path = line.split(":", 2)
            if not controllers:
                yield from self._rooms(self._root / "sys/fs/cgroup", path, V2)
            elif "memory" in controllers.split(","):
                yield from self._rooms(self._root / "sys/fs/cgroup/memory", path, V1)

    def _rooms(self, mount: Path, path: str, names: Names) -> Iterator[int]:
        """Of a group and those above it. In a container `path` may be as the host sees it, and not be there."""
        group = PurePosixPath(path.lstrip("/"))
        for folder in [mount / group, *(mount / parent for parent in group.parents if parent != group)]:
            with suppress(OSError, ValueError):  # none there, or "max": no limit
                room = int((folder / names.limit).read_text()) - int((folder / names.usage).read_text())
                stat = dict(line.split() for line in _lines(folder / "memory.stat"))
                yield max(0, room + sum(int(stat.get(name, 0)) for name in names.files))


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text().splitlines()
    except OSError:
        return []
