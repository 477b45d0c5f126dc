"""Where a command of `aios fs` works."""

from __future__ import annotations

import posixpath
from collections.abc import Callable
from typing import TypeVar

from aios.cli.confirm import confirmed
from aios.sdk.client import Client
from aios.sdk.files import Files
from aios.syscalls import Call

T = TypeVar("T")


class Place:
    """Whose files, and in which folder."""

    def __init__(self, client: Client, agent: str, as_json: bool) -> None:
        self.client, self.agent, self.as_json = client, agent, as_json
        self.folder = "/"

    @property
    def files(self) -> Files:
        return self.client.files

    def do(self, call: Call[T], *, yes: bool, do: Callable[[], T] | None = None) -> T:
        """A call that the kernel may ask about: it asks who is at the terminal, unless `yes`."""
        return confirmed(self.client, self.agent, call, yes=yes, do=do)

    def at(self, path: str) -> str:
        """A path as it is meant from here."""
        return posixpath.normpath(posixpath.join(self.folder, path))
