"""An agent's work folder from outside its box, where every name may be a trap."""

from __future__ import annotations

import os
import stat
from contextlib import suppress
from pathlib import Path

RESULTS = "results"
BLOCK = 1 << 20
"""Characters that are skipped at once."""


def put_result(work: Path, name: str, data: bytes) -> str:
    """Write `data` to a new file `results/name` and return that path, relative to `work`. Blocks.

    The agent may have put links in the way: nothing is followed below `work`, which is made if it is missing.
    Raises OSError."""
    work.mkdir(0o700, parents=True, exist_ok=True)
    with _folder(work) as root:
        owner = os.fstat(root)
        with suppress(FileExistsError):
            os.mkdir(RESULTS, 0o700, dir_fd=root)
        with _folder(RESULTS, root) as results:
            handle = os.open(
                name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600, dir_fd=results
            )
            with os.fdopen(handle, "wb") as file:
                file.write(data)
            if os.geteuid() == 0:
                os.chown(RESULTS, owner.st_uid, owner.st_gid, dir_fd=root, follow_symlinks=False)
                os.chown(name, owner.st_uid, owner.st_gid, dir_fd=results, follow_symlinks=False)
    return f"{RESULTS}/{name}"


def read_result(work: Path, file: str, start: int, most: int) -> tuple[str, bool]:
    """`most` characters of the file `results/name` (or `name`) from character `start` on, and whether there are
    more. Blocks; O(start). Raises OSError, ValueError (no name of a file there)."""
    name = file.removeprefix(f"{RESULTS}/")
    if not name or name in (".", "..") or "/" in name or "\0" in name:
        raise ValueError(f"{file!r} is no file of {RESULTS}/")
    with _folder(work) as root, _folder(RESULTS, root) as results:
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC  # a pipe would not let go
        handle = os.open(name, flags, dir_fd=results)
        with os.fdopen(handle, encoding="utf-8", errors="replace", newline="") as text:
            if not stat.S_ISREG(os.fstat(handle).st_mode):
                raise ValueError(f"{file!r} is no file")
            while start > 0 and (skipped := text.read(min(start, BLOCK))):
                start -= len(skipped)
            return text.read(most), bool(text.read(1))


class _folder:
    """An open folder, that is not a link, as a file descriptor."""

    def __init__(self, path: Path | str, within: int | None = None) -> None:
        flags = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC | (os.O_NOFOLLOW if within is not None else 0)
        self._fd = os.open(path, flags, dir_fd=within)

    def __enter__(self) -> int:
        return self._fd

    def __exit__(self, *_: object) -> None:
        os.close(self._fd)
