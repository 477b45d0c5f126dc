"""Resident memory of a process."""

from __future__ import annotations

import ctypes
import gc
import os
from pathlib import Path


def resident(pid: int) -> int:
    """Resident memory of a process, bytes; of this one after what is free was given back where the C library
    can."""
    if pid == os.getpid():
        gc.collect()
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
        if trim is not None:
            trim(0)
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
