"""How others find the running kernel: a file in the state folder that only its owner can read."""

from __future__ import annotations

import os
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from aios.access.files import write_private
from aios.syscalls import Record

FILE = "daemon.json"


class Daemon(Record, frozen=True):
    """A running kernel. `token` is accepted as a key that may do everything."""

    pid: int
    url: str
    token: str


def find_daemon(state_dir: Path) -> Daemon | None:
    """The kernel that runs on `state_dir`; None if there is none, or only the file of one that died."""
    try:
        daemon = msgspec.json.decode((state_dir / FILE).read_bytes(), type=Daemon)
    except (OSError, msgspec.MsgspecError):
        return None
    return daemon if _is_alive(daemon.pid) else None


@contextmanager
def announced(state_dir: Path, daemon: Daemon) -> Generator[None]:
    """Keep the file there for as long as the kernel listens."""
    path = state_dir / FILE
    write_private(path, msgspec.json.encode(daemon))
    try:
        yield
    finally:
        path.unlink(missing_ok=True)


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True  # another user's: it lives
    return True
