"""How often Python looks for cyclic garbage while a kernel runs, and when memory goes back to the machine."""

from __future__ import annotations

import ctypes
import gc
from collections.abc import Generator
from contextlib import contextmanager

YOUNG = 10_000
"""New objects before the young are looked at. A call holds some dozens until it is over: at Python's 700 those
of a few thousand calls under way are walked over and over."""
OLDER = 100
"""Of those before what they left is looked at again. With ten thousand calls under way all of it is alive: at
Python's 10 each call was walked twice, the second time out of cold memory, which was a tenth of its time."""


@contextmanager
def unhurried() -> Generator[None]:
    """Inside, collections are rarer, and leave out what was there before (`gc.freeze`): modules, settings. This
    is of the whole process, so it is for one that is a kernel's own; afterwards it is as it was."""
    before = gc.get_threshold()
    gc.freeze()
    gc.set_threshold(YOUNG, OLDER, *before[2:])
    try:
        yield
    finally:
        gc.set_threshold(*before)
        gc.unfreeze()


def tidy() -> None:
    """Collect all garbage, and give what is free back to the machine where the C library can; nothing, if
    little was made since the last time. Everything waits meanwhile: it is for when nothing is under way."""
    if not any(gc.get_count()[1:]):
        return
    gc.collect()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
