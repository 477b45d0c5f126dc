"""What a box uses, seen from the host, where nothing in the box can lie about it."""

from __future__ import annotations

import errno
import os
import stat
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from aios.syscalls.tools import Profile
from aios.tools.sandbox.profile import Reason

PAGE = os.sysconf("SC_PAGE_SIZE")
TICK = os.sysconf("SC_CLK_TCK")
SCAN_SHARE = 0.1
"""Most of the time that may go into looking at the work folder."""


class Used(NamedTuple):
    """What one process uses. `memory`: resident bytes."""

    pid: int
    cpu_s: float
    memory: int


class Watch:
    """Compares the processes below `pid` and the files in `work` with `profile`. What one process may use is
    held by rlimits; this is for all together, which is seen only when looked at: a box may be over a limit for
    as long as the caller's polling interval. What a run reads and prints may lie in files without a name; as
    much as that may be does not count.

    `memory`: folders in memory, as the box calls them, whose files count as those of `work` do."""

    def __init__(self, pid: int, work: Path, profile: Profile, memory: tuple[str, ...] = ()) -> None:
        self._pid, self._work, self._profile, self._memory = pid, work, profile, memory
        self._cpu_before = 0.0
        self._streams = 0
        self._folder = (0, 0)
        self._next_scan = 0.0

    def begin(self, stdin: int) -> None:
        """A run begins, with so many bytes to read: processor time is counted from here."""
        self._cpu_before = self._processes()[0]
        self._streams = stdin + 2 * self._profile.output_bytes + 3 * PAGE

    def processes(self) -> Reason:
        """Which limit the processes are over, if any."""
        cpu_s, memory, count = self._processes()
        if cpu_s - self._cpu_before > self._profile.cpu_s:
            return "cpu"
        if memory > self._profile.memory_mb << 20:
            return "memory"
        return "processes" if count > self._profile.processes + SPARE else ""

    @property
    def folder_due(self) -> bool:
        return time.monotonic() >= self._next_scan

    def folder(self) -> Reason:
        """Whether the work folder is over a limit, and further over it than before; or more files than it may
        have are in memory. Blocks; for a thread."""
        began = time.monotonic()
        size, count = _folder(self._work, self._profile.files + self._folder[1])
        pids = [used.pid for used in below(self._pid)]
        size += max(0, _nameless(pids, self._work) - self._streams)  # they have limits of their own
        worse = size > max(self._profile.disk_mb << 20, self._folder[0])
        worse |= count > max(self._profile.files, self._folder[1])
        worse |= _in_memory(pids[-1:], self._memory) > self._profile.files
        self._folder = (size, min(count, UNSEEN - 1))
        ended = time.monotonic()
        self._next_scan = ended + (ended - began) / SCAN_SHARE
        return "disk" if worse else ""

    def _processes(self) -> tuple[float, int, int]:
        """CPU seconds (of those that ended too), resident bytes, and how many there are."""
        found = list(below(self._pid))
        return sum(each.cpu_s for each in found), sum(each.memory for each in found), len(found)


def below(pid: int) -> Iterator[Used]:
    """What the process `pid` and each that it started use. Blocks; for a thread where there are many."""
    todo = [pid]
    while todo:
        base = f"/proc/{(each := todo.pop())}"
        try:
            with open(f"{base}/stat", "rb") as file:
                fields = file.read().rpartition(b")")[2].split()
            with open(f"{base}/statm", "rb") as file:
                pages = int(file.read().split()[1])
            for thread in os.listdir(f"{base}/task"):
                with open(f"{base}/task/{thread}/children", "rb") as file:
                    todo += map(int, file.read().split())
        except (FileNotFoundError, ProcessLookupError):
            continue  # it ended meanwhile
        # user, system, and both of its children that ended
        yield Used(each, sum(map(int, fields[11:15])) / TICK, pages * PAGE)


SPARE = 7
"""Processes of the box's own: four of bubblewrap, the zygote, a session, the way to the proxy."""


UNSEEN = sys.maxsize
"""More entries than there may be: some can't be looked at."""


def _folder(work: Path, most: int) -> tuple[int, int]:
    """Bytes and entries below `work`; stops counting at `most` entries. Where a path is too long to be
    followed, or its owner took the rights away, anything might be: that is UNSEEN."""
    size = count = 0
    todo = [str(work)]
    while todo:
        try:
            with os.scandir(todo.pop()) as entries:
                for entry in entries:
                    count += 1
                    if entry.is_dir(follow_symlinks=False):
                        todo.append(entry.path)
                    else:
                        size += entry.stat(follow_symlinks=False).st_blocks * 512
                    if count > most:
                        return size, count
        except OSError as error:
            if error.errno in (errno.ENAMETOOLONG, errno.EACCES):
                return size, UNSEEN
            continue  # it was removed meanwhile
    return size, count


def _nameless(pids: list[int], work: Path) -> int:
    """Bytes of files that were removed from the disk of `work` and are still open."""
    sizes: dict[int, int] = {}
    with suppress(OSError):
        disk = os.stat(work).st_dev
        for pid in pids:
            with suppress(OSError), os.scandir(f"/proc/{pid}/fd") as entries:
                for entry in entries:
                    with suppress(OSError):
                        file = entry.stat()
                        if not file.st_nlink and file.st_dev == disk and stat.S_ISREG(file.st_mode):
                            sizes[file.st_ino] = file.st_blocks * 512
    return sum(sizes.values())


def _in_memory(pids: list[int], folders: tuple[str, ...]) -> int:
    """Files in `folders`, each a file system of its own, as those of `pids` see them."""
    count = 0
    for pid in pids:
        for folder in folders:
            with suppress(OSError):
                path = f"/proc/{pid}/root{folder}"
                if not (os.path.exists(folder) and os.path.samefile(path, folder)):  # the box is still there
                    told = os.statvfs(path)
                    count += told.f_files - told.f_ffree
    return count
