"""Writing into an agent's work folder from outside its box, where every name may be a trap."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

RESULTS = "results"


def put_result(work: Path, name: str, data: bytes) -> str:
    """Write `data` to a new file `results/name` and return that path, relative to `work`. Blocks.

    The agent may have put links in the way: nothing is followed below `work`. Raises OSError."""
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


class _folder:
    """An open folder, that is not a link, as a file descriptor."""

    def __init__(self, path: Path | str, within: int | None = None) -> None:
        flags = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC | (os.O_NOFOLLOW if within is not None else 0)
        self._fd = os.open(path, flags, dir_fd=within)

    def __enter__(self) -> int:
        return self._fd

    def __exit__(self, *_: object) -> None:
        os.close(self._fd)
