"""What a box may use, and what came of a run in it."""

from __future__ import annotations

from typing import Literal

from aios.syscalls import Record

Reason = Literal["", "wall", "cpu", "memory", "processes", "disk", "output", "lost"]
"""Why the sandbox ended a run; "": it did not. `lost`: the box died under it."""


class Mount(Record, frozen=True):
    """A host folder that the box may read, at `inside`."""

    host: str
    inside: str


class Profile(Record, frozen=True):
    """Limits of one run in a box. There is no network in any of them."""

    cpu_s: float = 10.0
    """Processor time of all its processes together, seconds."""
    wall_s: float = 30.0
    memory_mb: int = 512
    """Memory of one process (address space), and of all processes together (resident), MiB."""
    processes: int = 32
    open_files: int = 128
    """Open files of one process."""
    disk_mb: int = 256
    """One file, and the whole work folder, MiB."""
    files: int = 20_000
    """Files and folders in the work folder."""
    tmp_mb: int = 64
    """Each of /tmp and /dev/shm, MiB; they are gone with the box."""
    output_bytes: int = 1 << 20
    """Standard output and standard error, each."""
    readable: tuple[Mount, ...] = ()
    env: dict[str, str] = {}  # noqa: RUF012
    """Variables besides PATH, HOME, LANG and TMPDIR; nothing of the host's environment is seen."""


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
