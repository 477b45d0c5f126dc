"""What a box may use, and what came of a run in it."""

from __future__ import annotations

from typing import Literal

from aios.syscalls.base import Record

Reason = Literal["", "wall", "cpu", "memory", "processes", "disk", "output", "lost"]
"""Why the sandbox ended a run; "": it did not. `lost`: the box died under it."""


class Run(Record, frozen=True):
    """What to run. Exactly one of `argv` and `code` (Python source) is set; `session` True keeps the globals
    of `code` for the next one."""

    argv: tuple[str, ...] = ()
    code: str = ""
    stdin: bytes = b""
    session: bool = False


class Outcome(Record, frozen=True):
    """`status` is the exit status, or minus the number of the signal that ended it."""

    status: int
    stdout: bytes = b""
    stderr: bytes = b""
    reason: Reason = ""
    seconds: float = 0.0
    fresh: bool = False
    """The box (and with it the Python session) was new."""

    @property
    def ok(self) -> bool:
        return self.status == 0 and not self.reason


class Strength(Record, frozen=True):
    """What `aios doctor` says of one way to isolate. `lacks`: what the strongest way has and this one has not,
    or why it can't be used here; `mend`: what would help."""

    name: str
    usable: bool
    holds: tuple[str, ...] = ()
    lacks: tuple[str, ...] = ()
    mend: str = ""
