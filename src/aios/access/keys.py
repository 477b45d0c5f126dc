"""Keys of agents: the one way to say who is calling that works in every framework.

A key reads `aios-<agent>-<32 random characters>`. Only its SHA-256 is kept: a key has 192 bits of chance, so
there is nothing to guess and a slow password hash would buy nothing.
"""

from __future__ import annotations

import hashlib
import re
import secrets
import threading
import time
from pathlib import Path

import msgspec

from aios.access.files import write_private
from aios.errors import BadRequest, ConfigError
from aios.syscalls import Record

PREFIX = "aios-"
ADMIN_GROUP = "admin"
"""Holders of a key of this group may do what the owner of the machine may: see and signal every process."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")


class Agent(Record, frozen=True):
    """Who a key belongs to. `created` is Unix time, seconds."""

    name: str
    group: str = "default"
    created: float = 0.0


class KeyRing:
    """All keys of one kernel, kept in `path` (JSON, 0600). Safe to use from several threads.

    Raises ConfigError if the file is there and can't be read."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._writing = threading.Lock()
        self._keep(self._read())

    def create(self, agent: str, group: str = "default") -> str:
        """Make a key for `agent` in privilege group `group` and return it: it can't be shown again.

        Raises BadRequest for a name that has no place in a key, ConfigError if the file can't be written."""
        # A group may be a path (`research/web`); an agent may not, for `agent/sub` names its sub-agents.
        for param, value, parts in (("agent", agent, [agent]), ("group", group, group.split("/"))):
            if not all(map(_NAME.fullmatch, parts)):
                mend = "Use up to 64 letters, digits, '.', '_' or '-', the first a letter or digit."
                raise BadRequest(f"{value!r} is no name for a key's {param}.", mend, param=param)
        secret = f"{PREFIX}{agent}-{secrets.token_urlsafe(24)}"
        with self._writing:
            self._write({**self._agents, _digest(secret): Agent(name=agent, group=group, created=time.time())})
        return secret

    def identify(self, secret: str) -> Agent | None:
        """Whose key this is; None if it is nobody's."""
        # How long a look-up by SHA-256 takes tells nothing of a secret: nobody can steer a digest
        # towards a stored one.
        return self._agents.get(_digest(secret))

    def list(self) -> tuple[Agent, ...]:
        """One entry a key, oldest first."""
        return tuple(sorted(self._agents.values(), key=lambda agent: (agent.created, agent.name)))

    def revoke(self, agent: str) -> bool:
        """Forget all keys of `agent`. False if it had none."""
        with self._writing:
            kept = {digest: a for digest, a in self._agents.items() if a.name != agent}
            if len(kept) == len(self._agents):
                return False
            self._write(kept)
        return True

    def __len__(self) -> int:
        return len(self._agents)

    def __contains__(self, agent: str) -> bool:
        """Whether `agent` has a key."""
        return agent in self._names

    def _read(self) -> dict[str, Agent]:
        try:
            return msgspec.json.decode(self._path.read_bytes(), type=dict[str, Agent])
        except FileNotFoundError:
            return {}
        except (OSError, ValueError) as error:  # msgspec's errors are ValueErrors
            mend = "Restore it, or remove it to start without keys."
            raise ConfigError(f"The key file {self._path} can't be read: {error}.", mend) from error

    def _write(self, agents: dict[str, Agent]) -> None:
        try:
            write_private(self._path, msgspec.json.format(msgspec.json.encode(agents)))
        except OSError as error:
            mend = "Free disk space, or make its folder writable; the keys are as they were."
            raise ConfigError(f"The key file {self._path} can't be written: {error}.", mend) from error
        self._keep(agents)

    def _keep(self, agents: dict[str, Agent]) -> None:
        # Swapped whole and never changed, so that readers need no lock.
        self._agents = agents
        self._names = frozenset(agent.name for agent in agents.values())


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()
