"""Approvals: what was asked of a person, and what the person said.

An approval is bound to the SHA-256 of action, resource and canonical arguments, so that what runs is what was
shown; it is good for one use and for a time; and neither who asked nor anyone below it can answer. Pure: the
kernel keeps the rows and wakes who waits."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Iterable
from typing import Literal

import msgspec

from aios.errors import Conflict, Forbidden, NotFound
from aios.syscalls import Record

ApprovalState = Literal["waiting", "approved", "denied", "used", "expired"]
Answer = Literal["once", "always", "deny"]
OVER = frozenset[ApprovalState]({"denied", "used", "expired"})


class Approval(Record, frozen=True):
    """`arguments` is the exact JSON that runs if it is approved, `diff` what would change. Times are Unix
    time."""

    id: str
    pid: int
    agent: str
    action: str
    resource: str
    arguments: str
    digest: str
    rule: str
    why: str = ""
    diff: str = ""
    state: ApprovalState = "waiting"
    asked: float = 0.0
    expires: float = 0.0
    answered: float | None = None
    by: str = ""
    reason: str = ""


class Standing(Record, frozen=True):
    """`always`: what this rule asks is allowed to this agent, until it is taken back."""

    rule: str
    agent: str
    by: str = ""
    since: float = 0.0


class Approvals:
    """All approvals that are not over, the newest `kept` that are, and what is always allowed."""

    def __init__(self, ttl_s: float, *, kept: int = 1000, clock: Callable[[], float] = time.time) -> None:
        self._ttl_s, self._kept, self._clock = ttl_s, kept, clock
        self._all: dict[str, Approval] = {}
        self._standing: dict[tuple[str, str], Standing] = {}

    def restore(self, approvals: Iterable[Approval], standing: Iterable[Standing]) -> None:
        """What an earlier kernel left."""
        self._all = {approval.id: approval for approval in approvals}
        self._standing = {(each.rule, each.agent): each for each in standing}

    def asked(
        self, *, pid: int, agent: str, action: str, resource: str, arguments: str, digest: str, rule: str,
        why: str = "", diff: str = "",
    ) -> Approval:  # fmt: skip
        """A new one that waits, to be kept."""
        now = self._clock()
        return Approval(
            id=secrets.token_hex(8), pid=pid, agent=agent, action=action, resource=resource, digest=digest,
            arguments=arguments, rule=rule, why=why, diff=diff, asked=now, expires=now + self._ttl_s,
        )  # fmt: skip

    def keep(self, approval: Approval, standing: Standing | None = None) -> None:
        """It is so from now on."""
        self._all[approval.id] = approval
        if standing is not None:
            self._standing[standing.rule, standing.agent] = standing
        if len(self._all) > self._kept:
            over = [id for id, each in self._all.items() if each.state in OVER]
            for id in over[: len(self._all) - self._kept]:
                del self._all[id]

    def find(self, id: str) -> Approval | None:
        self._expire(id)
        return self._all.get(id)

    def get(self, id: str) -> Approval:
        """Raises NotFound."""
        found = self.find(id)
        if found is None:
            raise unknown(id)
        return found

    def list(self, state: ApprovalState | None = None) -> tuple[Approval, ...]:
        """Oldest first."""
        for id in tuple(self._all):
            self._expire(id)
        return tuple(a for a in self._all.values() if state is None or a.state == state)

    def open(self, agent: str, digest: str) -> tuple[Approval, ...]:
        """Those of this agent for exactly this that wait or can be used, approved ones first."""
        mine = [a for a in self.list() if a.agent == agent and a.digest == digest and a.state not in OVER]
        return tuple(sorted(mine, key=lambda approval: approval.state != "approved"))

    def answered(
        self, id: str, answer: Answer, by: str, lineage: frozenset[str], reason: str = ""
    ) -> tuple[Approval, Standing | None]:
        """What becomes of it when a person says so, to be kept. `lineage`: who answers, and all above it.

        Raises Forbidden (it asked itself, or stands below who asked), Conflict (it is over), NotFound."""
        approval = self.get(id)
        if approval.agent in lineage:
            raise Forbidden(
                f"{by!r} can't answer what {approval.agent!r} asked.",
                "Somebody who is neither the asker nor below it must.",
            )
        if approval.state != "waiting":
            raise Conflict(f"The approval {id} is {approval.state}.", "Let the agent ask again.")
        now = self._clock()
        standing = Standing(rule=approval.rule, agent=approval.agent, by=by, since=now)
        state: ApprovalState = "denied" if answer == "deny" else "approved"
        after = msgspec.structs.replace(approval, state=state, answered=now, by=by, reason=reason)
        return after, standing if answer == "always" else None

    def used(self, id: str, digest: str) -> Approval:
        """What becomes of it when it is used, to be kept: then it can't be used again. Raises Forbidden (it is
        not approved, or for something else)."""
        approval = self.get(id)
        if approval.state != "approved" or approval.digest != digest:
            raise Forbidden(f"The approval {id} is {approval.state}.", "Ask again.")
        return msgspec.structs.replace(approval, state="used")

    def always(self, rule: str, agent: str) -> Standing | None:
        """What lets the agent do what this rule asks."""
        return self._standing.get((rule, agent))

    def standing(self) -> tuple[Standing, ...]:
        return tuple(self._standing.values())

    def standing_of(self, rule: str, agent: str) -> Standing:
        """Raises NotFound."""
        found = self.always(rule, agent)
        if found is None:
            raise NotFound(f"{agent!r} is not always allowed what rule {rule!r} asks.", "List them first.")
        return found

    def withdraw(self, rule: str, agent: str) -> Standing:
        """Take an `always` back. Raises NotFound."""
        found = self.standing_of(rule, agent)
        del self._standing[rule, agent]
        return found

    def _expire(self, id: str) -> None:
        approval = self._all.get(id)
        if approval is not None and approval.state not in OVER and approval.expires <= self._clock():
            self._all[id] = msgspec.structs.replace(approval, state="expired")


def unknown(id: str) -> NotFound:
    """What is told of an approval that is not there, or that the caller may not know of."""
    return NotFound(f"There is no approval {id!r}.", "`aios approve list` shows them.")
