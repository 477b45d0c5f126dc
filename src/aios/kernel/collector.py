"""How often Python looks for cyclic garbage while a kernel runs."""

from __future__ import annotations

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
    """Inside, collections are rarer, and leave out what was there before (`gc.freeze`): modules, settings,
    cores. This is of the whole process; afterwards it is as it was."""
    before = gc.get_threshold()
    gc.freeze()
    gc.set_threshold(YOUNG, OLDER, *before[2:])
    try:
        yield
    finally:
        gc.set_threshold(*before)
        gc.unfreeze()
