"""Exit statuses: stable, so scripts can rely on them."""

from __future__ import annotations

from enum import IntEnum

from aios.errors import (
    AiosError,
    ConfigError,
    CoreUnavailable,
    DaemonNotFound,
    Forbidden,
    ModelError,
    NotFound,
    Unauthenticated,
)


class Exit(IntEnum):
    """docs/reference/cli.md explains each."""

    OK = 0
    FAILED = 1
    USAGE = 2
    NO_DAEMON = 3
    NOT_FOUND = 4
    REFUSED = 5
    MODEL = 6
    CONFIG = 7
    INTERRUPTED = 130


KINDS: tuple[tuple[type[AiosError], Exit], ...] = (
    (DaemonNotFound, Exit.NO_DAEMON),
    (CoreUnavailable, Exit.NO_DAEMON),
    (NotFound, Exit.NOT_FOUND),
    (Forbidden, Exit.REFUSED),
    (Unauthenticated, Exit.REFUSED),
    (ModelError, Exit.MODEL),
    (ConfigError, Exit.CONFIG),
)


def status_of(error: AiosError) -> Exit:
    return next((status for kind, status in KINDS if isinstance(error, kind)), Exit.FAILED)
