"""Grants: an owner lets an agent or a group read, or read and write, something of its own, for a time.

Here are all there are: on single memories and on whole sets of resources by glob. Stores that list and search
what one may see (memory) ask here what others let that one at.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from typing import TypeVar

from aios.access.audit import Audited
from aios.access.decision import Subject
from aios.access.globs import matches
from aios.errors import BadRequest
from aios.syscalls import Record
from aios.syscalls.memory_records import Grant, Whom

T = TypeVar("T")

READS = frozenset(
    "read list search stat history diff glob recall export get show describe watch composition".split()  # noqa: SIM905
)
"""Verbs that change nothing; all others take a grant to write."""


class Granted(Record, frozen=True):
    """A grant of `owner` (`group:name`) on its resources that match `resource`; an agent is named
    `group:name`."""

    owner: str
    resource: str
    grant: Grant

    @property
    def key(self) -> Key:
        return self.owner, self.resource, self.grant.whom, self.grant.name


Key = tuple[str, str, Whom, str]
"""What names a grant: owner, resource, and whom it is for."""
Kept = Mapping[Key, Granted | None]
"""None: it is gone."""
Keep = Callable[[Kept, Sequence[Audited]], Awaitable[None]]
"""Returns when they, and the decisions that made them so, are on disk."""


async def _nowhere(changed: Kept, decided: Sequence[Audited]) -> None:
    return None


def _of_itself(group: str) -> frozenset[str]:
    return frozenset({group})


class Grants:
    """All grants, by owner and by whom they are for. A change holds when `keep` has it. Reading is safe from
    any thread. `groups_of`: a group and those that hold it."""

    def __init__(
        self, *, keep: Keep = _nowhere, groups_of: Callable[[str], frozenset[str]] = _of_itself,
        clock: Callable[[], float] = time.time,
    ) -> None:  # fmt: skip
        self._keep, self._groups_of, self._clock = keep, groups_of, clock
        self._changing = asyncio.Lock()
        # Swapped whole and never changed, so that readers need no lock.
        self._by_owner: dict[str, Mapping[Key, Granted]] = {}
        self._for: dict[tuple[Whom, str], Mapping[Key, Granted]] = {}

    # -- changes -----------------------------------------------------------------------------------

    def restore(self, granted: Iterable[Granted]) -> None:
        """What an earlier kernel left."""
        self._hold({each.key: each for each in granted})

    async def give(self, granted: Granted, decided: Sequence[Audited] = ()) -> None:
        """Takes the place of one for the same resource and the same agent or group. Raises BadRequest, and
        what `keep` does: then nothing changed."""
        if not granted.grant.name or not granted.resource:
            raise BadRequest("A grant names a resource and whom it is for.", "Name both.")
        await self._change({granted.key: granted}, decided)

    async def take_back(
        self, owner: str, resource: str, whom: Whom, name: str, decided: Sequence[Audited] = ()
    ) -> bool:
        """False if there is none."""
        key = (owner, resource, whom, name)
        if key not in self._by_owner.get(owner, {}):
            return False
        await self._change({key: None}, decided)
        return True

    async def gone(self, owner: str, resources: Collection[str]) -> None:
        """These are no more: grants on just these end, lest they hold for what is called so next."""
        over = {key: None for key in self._by_owner.get(owner, {}) if key[1] in resources}
        if over:
            await self._change(over)

    async def expire(self) -> None:
        """Forget those whose time is over."""
        now = self._clock()
        over = {key: None for mine in self._by_owner.values() for key, g in mine.items() if not _lasts(g, now)}
        if over:
            await self._change(over)

    # -- asking ------------------------------------------------------------------------------------

    def cover(self, owner: object, subject: Subject, action: str, resource: str) -> bool:
        """Whether the owner lets the subject do it."""
        mine = self._by_owner.get(owner) if isinstance(owner, str) else None
        if not mine:
            return False
        now, write = self._clock(), action.rpartition(".")[2] not in READS
        return any(
            (each.grant.write or not write)
            and (
                each.grant.name == subject.agent
                if each.grant.whom == "agent"
                else each.grant.name in subject.groups
            )
            and _lasts(each, now)
            and matches(each.resource, resource)
            for each in mine.values()
        )

    def to(self, agent: str, group: str) -> tuple[Granted, ...]:
        """What others let an agent (`group:name`) of this group at by now."""
        if not self._for:
            return ()
        now = self._clock()
        keys: list[tuple[Whom, str]] = [("agent", agent)]
        keys.extend(("group", each) for each in self._groups_of(group))
        found = [self._for[key].values() for key in keys if key in self._for]
        return tuple([g for some in found for g in some if g.owner != agent and _lasts(g, now)])

    def on(self, owner: str, resource: str) -> tuple[Grant, ...]:
        """Grants of the owner that hold for a resource by now, by whom they are for."""
        mine = self.list(owner)
        return tuple(
            sorted(
                (each.grant for each in mine if matches(each.resource, resource)),
                key=lambda grant: (grant.whom, grant.name),
            )
        )

    def list(self, owner: str | None = None) -> tuple[Granted, ...]:
        """Of one owner or of all, without those that have expired."""
        now = self._clock()
        owners = self._by_owner.values() if owner is None else (self._by_owner.get(owner, {}),)
        return tuple(each for grants in owners for each in grants.values() if _lasts(each, now))

    # -- inside ------------------------------------------------------------------------------------

    async def _change(self, changed: Kept, decided: Sequence[Audited] = ()) -> None:
        async with self._changing:
            await self._keep(changed, decided)
            self._hold(changed)

    def _hold(self, changed: Kept) -> None:
        _put(self._by_owner, changed, lambda key: key[0])
        _put(self._for, changed, lambda key: (key[2], key[3]))


def _put(index: dict[T, Mapping[Key, Granted]], changed: Kept, place: Callable[[Key], T]) -> None:
    fresh: dict[T, dict[Key, Granted]] = {}
    for key, granted in changed.items():
        at = place(key)
        grants = fresh[at] if at in fresh else fresh.setdefault(at, dict(index.get(at, {})))
        if granted is None:
            grants.pop(key, None)
        else:
            grants[key] = granted
    for at, grants in fresh.items():
        if grants:
            index[at] = grants
        else:
            index.pop(at, None)


def _lasts(granted: Granted, now: float) -> bool:
    return granted.grant.expires is None or granted.grant.expires > now
