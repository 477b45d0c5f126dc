"""How much memory the machine has to give: what the system says is free, within the limits of the control
groups that this process is in."""

from __future__ import annotations

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


class Ram:
    """Reads /proc and /sys below `root`."""

    def __init__(self, root: Path = Path("/")) -> None:
        self._root = root

    def free(self) -> int | None:
        """Bytes that may be taken before something must go; None where the system does not tell."""
        return min([*self._machine(), *self._groups()], default=None)

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
