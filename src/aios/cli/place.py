"""Where a command of `aios fs` works."""

from __future__ import annotations

import posixpath

from aios.sdk.client import Client
from aios.sdk.files import Files


class Place:
    """Whose files, and in which folder."""

    def __init__(self, client: Client, agent: str, as_json: bool) -> None:
        self.client, self.agent, self.as_json = client, agent, as_json
        self.folder = "/"

    @property
    def files(self) -> Files:
        return self.client.files

    def at(self, path: str) -> str:
        """A path as it is meant from here."""
        return posixpath.normpath(posixpath.join(self.folder, path))
