"""Grants: an owner lets an agent or a group read, or read and write, something of its own, for a time.

Stores that list and search what one may see (memory) keep the grants of their entries beside them, as `Grant`
too; here are those on whole resources, by glob.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import Literal

from aios.access.decision import Subject
from aios.access.globs import matches
from aios.errors import BadRequest
from aios.syscalls import Record

Whom = Literal["agent", "group"]
READS = frozenset(
    "read list search stat history diff glob recall export get show describe watch composition".split()  # noqa: SIM905
)
"""Verbs that change nothing; all others take a grant to write."""


class Grant(Record, frozen=True):
    """To whom, and until when (Unix time, seconds; None: until it is taken back)."""

    whom: Whom
    name: str
    write: bool = False
    expires: float | None = None

    def covers(self, agent: str, groups: Iterable[str], now: float, *, write: bool) -> bool:
        """Whether it lets the agent do this. `agent`: as `name` names agents."""
        if (write and not self.write) or (self.expires is not None and self.expires <= now):
            return False
        return self.name == agent if self.whom == "agent" else self.name in groups


class Granted(Record, frozen=True):
    """A grant of `owner` (`group:name`) on its resources that match `resource`; an agent is named
    `group:name`."""

    owner: str
    resource: str
    grant: Grant

    @property
    def key(self) -> tuple[str, str, Whom, str]:
        return self.owner, self.resource, self.grant.whom, self.grant.name


class Grants:
    """All grants on resources, by owner."""

    def __init__(self, granted: Iterable[Granted] = (), clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._by_owner: dict[str, dict[tuple[str, str, Whom, str], Granted]] = {}
        for each in granted:
            self.put(each)

    def put(self, granted: Granted) -> None:
        """Takes the place of one for the same resource and the same agent or group. Raises BadRequest."""
        if not granted.grant.name or not granted.resource:
            raise BadRequest("A grant names a resource and whom it is for.", "Name both.")
        self._by_owner.setdefault(granted.owner, {})[granted.key] = granted

    def take_back(self, owner: str, resource: str, whom: Whom, name: str) -> bool:
        """False if there is none."""
        found = self._by_owner.get(owner, {})
        return found.pop((owner, resource, whom, name), None) is not None

    def cover(self, owner: object, subject: Subject, action: str, resource: str) -> bool:
        """Whether the owner lets the subject do it."""
        mine = self._by_owner.get(owner) if isinstance(owner, str) else None
        if not mine:
            return False
        now, write = self._clock(), action.rpartition(".")[2] not in READS
        return any(
            each.grant.covers(subject.agent, subject.groups, now, write=write)
            and matches(each.resource, resource)
            for each in mine.values()
        )

    def list(self, owner: str | None = None) -> tuple[Granted, ...]:
        """Of one owner or of all, without those that have expired."""
        now = self._clock()
        owners = self._by_owner.values() if owner is None else (self._by_owner.get(owner, {}),)
        return tuple(
            each
            for grants in owners
            for each in grants.values()
            if each.grant.expires is None or each.grant.expires > now
        )
