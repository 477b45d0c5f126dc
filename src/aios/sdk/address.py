"""Where the kernel is, and who calls it."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, replace
from pathlib import Path

import httpx

from aios.errors import BadRequest, ConfigError

DEFAULT_URL = "http://127.0.0.1:8420"


@dataclass(frozen=True, slots=True)
class Address:
    """A kernel (or any OpenAI-compatible endpoint) and a caller. `url` is without `/v1`; `agent` goes out as
    `X-Agent-Id`."""

    url: str
    key: str = ""
    agent: str = ""

    @classmethod
    def find(cls, url: str | None, key: str | None, agent: str | None) -> Address:
        """What was given, else the environment (`AIOS_BASE_URL`, `AIOS_API_KEY`, `AIOS_AGENT`), else the daemon
        of this user, else the default address.

        Raises ConfigError (the URL is none), BadRequest (a name or key that fits into no header)."""
        url = url or os.environ.get("AIOS_BASE_URL") or _daemon_url() or DEFAULT_URL
        key = key or os.environ.get("AIOS_API_KEY") or ""
        agent = agent or os.environ.get("AIOS_AGENT") or ""
        for what, text in (("agent name", agent), ("API key", key)):
            if not (text.isascii() and text.isprintable()):
                raise BadRequest(f"This {what} fits into no HTTP header.", "Use printable ASCII characters.")
        return cls(_checked(url), key, agent)

    def child(self, name: str) -> Address:
        """Of a process below this caller's: with a key alone, below the key's agent. Raises BadRequest: who has
        neither name nor key can have no child."""
        if not (self.agent or self.key):
            raise BadRequest("This client has no agent name.", "Give it one: Client(agent=…).", param="agent")
        return replace(self, agent=f"{self.agent}/{name}" if self.agent else name)

    def headers(self) -> dict[str, str]:
        headers = {"Content-Type": "application/json", "User-Agent": "aios-sdk"}
        if self.key:
            headers["Authorization"] = f"Bearer {self.key}"
        if self.agent:
            headers["X-Agent-Id"] = self.agent
        return headers


def _checked(url: str) -> str:
    url = url if "://" in url else f"http://{url}"
    try:
        usable = httpx.URL(url).scheme in ("http", "https") and bool(httpx.URL(url).host)
    except httpx.InvalidURL:
        usable = False
    if not usable:
        raise ConfigError(f"{url!r} is no address of a kernel.", f"It looks like {DEFAULT_URL}.")
    return url.rstrip("/").removesuffix("/v1")


def _daemon_url() -> str | None:
    """The address in the daemon's file, if there is one where it is by default."""
    state = os.environ.get("AIOS_STATE_DIR")
    base = Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state") / "aios"
    try:
        return json.loads((Path(state) if state else base).joinpath("daemon.json").read_text("utf-8"))["url"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
