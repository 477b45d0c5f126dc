"""Asking a person: a call is parked, on disk, until somebody answers or the time is over.

It holds no slot, no place in a rate and no thread meanwhile. A caller that goes away, or a kernel that is
killed, loses nothing: the question stays, and whoever sends the very same call again takes its answer. A call
with an idempotency key is sent again by the next kernel itself."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgspec

from aios.access.approvals import Answer, Approval, Approvals, Standing
from aios.access.audit import Audited
from aios.access.canonical import canonical, digest
from aios.access.decision import Decision, Effect
from aios.access.globs import Names
from aios.config import AccessSettings
from aios.errors import AiosError
from aios.events import ApprovalAnswered, ApprovalAsked, EventBus
from aios.kernel.records import AccessRow, Entry

if TYPE_CHECKING:
    from aios.kernel.journal import Journal


Diff = Callable[[], Awaitable[str]]
"""Makes what a person is shown of the changes."""


async def no_diff() -> str:
    return ""


@dataclass(frozen=True, slots=True)
class Asked:
    """What is asked, and the decision that asks it."""

    pid: int
    agent: str
    action: str
    resource: str
    arguments: Any
    decision: Decision
    diff: Diff = no_diff
    call: int = 0


@dataclass(frozen=True, slots=True)
class Answered:
    """How it came out: allow or deny, by whom, for which digest. `mend`: how else it could be allowed."""

    decision: Decision
    by: str
    digest: str
    mend: str = ""


class Asking:
    """Parks calls and takes answers."""

    def __init__(self, settings: AccessSettings, approvals: Approvals, journal: Journal, bus: EventBus) -> None:
        self._approvals, self._journal, self._bus = approvals, journal, bus
        self._unattended, self._yes_to = settings.unattended, settings.yes_to
        self._waiting: dict[str, asyncio.Event] = {}
        self._changing = asyncio.Lock()
        self._end: Callable[[], AiosError] | None = None

    async def ask(self, asked: Asked, entry: Entry | None = None) -> Answered:
        """The answer, when it is there. `entry`: the call as it is journalled while it waits.

        Raises JournalUnavailable, BadRequest (arguments that JSON has not)."""
        bound = digest(asked.action, asked.resource, asked.arguments)
        rule = asked.decision.rule
        if self._yes_to and any(name in Names(self._yes_to) for name in (asked.action, rule, f"rule:{rule}")):
            return _answered("allow", rule, "yes_to of [access] has it.", "yes_to", bound)
        if (standing := self._approvals.always(rule, asked.agent)) is not None:
            return _answered("allow", rule, "It was allowed for always.", standing.by, bound)
        approval = next(
            (a for a in self._approvals.open(asked.agent, bound) if a.id not in self._waiting), None
        )
        if approval is None:
            if self._unattended:
                why = f"Nobody is there to be asked. {asked.decision.why}"
                mend = f"Allow it beforehand: `--yes-to {rule}`, or `yes_to` of [access]."
                return Answered(Decision(effect="deny", rule=rule, why=why), "", bound, mend)
            approval = await self._park(asked, bound, entry)
        return await self._answer_of(approval, asked)

    async def answer(
        self, id: str, answer: Answer, by: str, lineage: frozenset[str], pid: int, reason: str
    ) -> Approval:
        """Answer an approval. Raises Forbidden, Conflict, NotFound, JournalUnavailable (then nothing is
        answered)."""
        async with self._changing:
            after, standing = self._approvals.answered(id, answer, by, lineage, reason)
            decided = Audited(
                at=time.time(), pid=pid, agent=by, action="approval.answer", resource=f"approval:{id}",
                effect="deny" if answer == "deny" else "allow", rule=after.rule, by=by, digest=after.digest,
                why=f"{answer}: {reason}" if reason else answer,
            )  # fmt: skip
            await self._keep(after, standing, decided)
        self._told(after)
        return after

    def end(self, why: Callable[[], AiosError]) -> None:
        """Let no call wait any longer: each gets an error of its own. The questions stay."""
        self._end = why
        for event in self._waiting.values():
            event.set()

    async def withdraw(self, rule: str, agent: str, decided: Audited) -> Standing:
        """Take an `always` back; `decided` goes into the audit log with it. Raises NotFound,
        JournalUnavailable: then it holds still."""
        async with self._changing:
            gone = self._approvals.standing_of(rule, agent)
            await self._journal.commit_access([AccessRow(kind="standing", name=f"{rule} {agent}")], [decided])
            self._approvals.withdraw(rule, agent)
            return gone

    async def _park(self, asked: Asked, bound: str, entry: Entry | None) -> Approval:
        approval = self._approvals.asked(
            pid=asked.pid, agent=asked.agent, action=asked.action, resource=asked.resource,
            arguments=canonical(asked.arguments).decode(), digest=bound, rule=asked.decision.rule,
            why=asked.decision.why, diff=await asked.diff(),
        )  # fmt: skip
        await self._journal.commit_access([_row(approval)], entry=entry)
        self._approvals.keep(approval)
        self._bus.publish(
            ApprovalAsked(
                pid=asked.pid, call=asked.call, id=approval.id, agent=asked.agent, action=asked.action,
                resource=asked.resource, rule=approval.rule,
            )
        )  # fmt: skip
        return approval

    async def _answer_of(self, approval: Approval, asked: Asked) -> Answered:
        event = self._waiting[approval.id] = asyncio.Event()
        try:
            if approval.state == "waiting" and self._end is None:
                with suppress(TimeoutError):
                    async with asyncio.timeout(max(0.0, approval.expires - time.time())):
                        await event.wait()
            async with self._changing:
                approval = self._approvals.get(approval.id)
                if approval.state == "approved":
                    # On disk before it happens: after a crash it must not be there to be used again.
                    await self._keep(self._approvals.used(approval.id, approval.digest))
                    return _answered("allow", approval.rule, approval.reason, approval.by, approval.digest)
                if approval.state == "expired":
                    await self._keep(approval)
        finally:
            del self._waiting[approval.id]
        if approval.state == "waiting" and self._end is not None:
            raise self._end()
        if approval.state == "expired":
            self._told(approval)
        why = approval.reason if approval.state == "denied" else "Nobody answered in time."
        return _answered("deny", approval.rule, why or asked.decision.why, approval.by, approval.digest)

    async def _keep(
        self, after: Approval, standing: Standing | None = None, decided: Audited | None = None
    ) -> None:
        rows = [_row(after)]
        if standing is not None:
            value = msgspec.Raw(msgspec.json.encode(standing))
            rows.append(AccessRow(kind="standing", name=f"{standing.rule} {standing.agent}", value=value))
        await self._journal.commit_access(rows, [] if decided is None else [decided])
        self._approvals.keep(after, standing)

    def _told(self, approval: Approval) -> None:
        if (event := self._waiting.get(approval.id)) is not None:
            event.set()
        assert approval.state in ("approved", "denied", "expired")
        self._bus.publish(
            ApprovalAnswered(
                pid=approval.pid, id=approval.id, state=approval.state, by=approval.by, reason=approval.reason
            )
        )


def _row(approval: Approval) -> AccessRow:
    return AccessRow(kind="approval", name=approval.id, value=msgspec.Raw(msgspec.json.encode(approval)))


def _answered(effect: Effect, rule: str, why: str, by: str, bound: str) -> Answered:
    return Answered(Decision(effect=effect, rule=rule, why=why), by, bound)
