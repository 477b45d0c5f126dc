"""What a box uses, seen from the host, where nothing in the box can lie about it."""

from __future__ import annotations

import os
import time
from pathlib import Path

from aios.syscalls.tools import Profile
from aios.tools.sandbox.profile import Reason

PAGE = os.sysconf("SC_PAGE_SIZE")
TICK = os.sysconf("SC_CLK_TCK")
SCAN_SHARE = 0.1
"""Most of the time that may go into looking at the work folder."""


class Watch:
    """Compares the processes below `pid` and the files in `work` with `profile`. What one process may use is
    held by rlimits; this is for all together, which is seen only when looked at: a box may be over a limit for
    as long as the caller's polling interval."""

    def __init__(self, pid: int, work: Path, profile: Profile) -> None:
        self._pid, self._work, self._profile = pid, work, profile
        self._cpu_before = 0.0
        self._folder = (0, 0)
        self._next_scan = 0.0

    def begin(self) -> None:
        """A run begins: processor time is counted from here."""
        self._cpu_before = self._processes()[0]

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
        """Whether the work folder is over a limit, and further over it than before. Blocks; for a thread."""
        began = time.monotonic()
        size, count = _folder(self._work, self._profile.files + self._folder[1])
        worse = size > max(self._profile.disk_mb << 20, self._folder[0])
        worse |= count > max(self._profile.files, self._folder[1])
        self._folder = (size, count)
        ended = time.monotonic()
        self._next_scan = ended + (ended - began) / SCAN_SHARE
        return "disk" if worse else ""

    def _processes(self) -> tuple[float, int, int]:
        """CPU seconds (of those that ended too), resident bytes, and how many there are."""
        cpu, pages, count, todo = 0, 0, 0, [self._pid]
        while todo:
            base = f"/proc/{todo.pop()}"
            try:
                with open(f"{base}/stat", "rb") as file:
                    fields = file.read().rpartition(b")")[2].split()
                with open(f"{base}/statm", "rb") as file:
                    pages += int(file.read().split()[1])
                for thread in os.listdir(f"{base}/task"):
                    with open(f"{base}/task/{thread}/children", "rb") as file:
                        todo += map(int, file.read().split())
            except (FileNotFoundError, ProcessLookupError):
                continue  # it ended meanwhile
            cpu += sum(map(int, fields[11:15]))  # user, system, and both of its children that ended
            count += 1
        return cpu / TICK, pages * PAGE, count


SPARE = 7
"""Processes of the box's own: four of bubblewrap, the zygote, a session, the way to the proxy."""


def _folder(work: Path, most: int) -> tuple[int, int]:
    """Bytes and entries below `work`; stops counting at `most` entries."""
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
        except OSError:
            continue  # it was removed meanwhile, or its owner took all rights away
    return size, count
