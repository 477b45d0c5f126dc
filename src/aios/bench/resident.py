"""Resident memory of a process."""

from __future__ import annotations

import os
from pathlib import Path

from aios.kernel.collector import tidy


def resident(pid: int) -> int:
    """Resident memory of a process, bytes; of this one after what is free was given back."""
    if pid == os.getpid():
        tidy()
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
