"""The guard: every syscall passes it before anything of it happens. It decides, asks, labels and records.

One call does it: `decided = await guard.admit(process, call, id=…, facts=…)`. It returns once the call may go
on; what it returns is to be journalled with the call (`journal.record(entry, decided)`, `journal.commit(…,
decided)`, or `journal.decided(decided)` where there is no entry). After a call, `guard.saw` carries
labels on; what a call writes has those of `guard.subject` (syscalls/flow.py)."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from itertools import chain, combinations
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec

from aios import plugins
from aios.access import archive, master
from aios.access.approvals import Answer, Approval, Approvals, Standing
from aios.access.archive import Archived
from aios.access.audit import Audited, AuditLog, AuditReport, AuditRow, exported
from aios.access.decision import STRICTNESS, AccessPolicy, Decision, Effect, Facts, Subject, agent_id
from aios.access.globs import Names
from aios.access.grants import Granted, Grants, Kept, Whom
from aios.access.labels import Labels, from_facts
from aios.access.redact import Redactor
from aios.access.secrets import Vault
from aios.config import AccessSettings
from aios.errors import AiosError, Forbidden, JournalUnavailable, NotFound, StorageUnavailable, sentence
from aios.events import AccessDenied, EventBus
from aios.kernel.asking import Asked, Asking, Diff, no_diff
from aios.kernel.flows import Labelled, add, without
from aios.kernel.pcb import Process
from aios.kernel.process import KERNEL, ProcessTable
from aios.kernel.records import AccessRow, Entry
from aios.kernel.wanted import NO_FACTS, Reader, Wanted, bound
from aios.syscalls import Call

if TYPE_CHECKING:
    from aios.kernel.journal import Journal

log = logging.getLogger(__name__)

E = TypeVar("E", bound=AiosError)


class Guard:
    """Of one kernel, with what it keeps in `folder`. Raises ConfigError: rules, keys or secrets can't be
    used."""

    def __init__(self, settings: AccessSettings, folder: Path, redactor: Redactor, bus: EventBus) -> None:
        key = master.load(folder / "access.key")
        self.redactor, self._bus = redactor, bus
        self.policy: AccessPolicy = plugins.load(plugins.ACCESS, settings.policy)(settings)
        self.vault = Vault(folder / "secrets.json", key, redactor)
        self.audit = AuditLog(key, redactor, folder / "audit.checkpoints")
        self.grants = Grants(keep=self._keep_grants, groups_of=self.policy.groups_of)
        self.labels = Labels()
        self.approvals = Approvals(settings.approval_ttl_s)
        self._settings = settings
        self._subjects: dict[int, Subject] = {}
        self._newest: dict[int, tuple[str, str, Decision]] = {}
        """By process: action, resource and decision of its newest call of which there are no facts."""
        self._archiving = asyncio.Lock()
        self._labelled: Mapping[str, Labelled] = {}

    def open(self, journal: Journal, processes: ProcessTable, rows: Iterable[AccessRow]) -> None:
        """Take over what an earlier kernel left."""
        self._journal, self._reader = journal, Reader(processes)
        kept: dict[str, dict[str, Any]] = {"approval": {}, "standing": {}, "grant": {}, "labels": {}}
        for row in rows:
            if row.value is not None and row.kind in _KINDS:
                kept[row.kind][row.name] = msgspec.json.decode(row.value, type=_KINDS[row.kind])
        self.approvals.restore(kept["approval"].values(), kept["standing"].values())
        self.grants.restore(kept["grant"].values())
        self.labels = Labels(kept["labels"])
        self.asking = Asking(self._settings, self.approvals, journal, self._bus)

    async def entrust(self, labelled: Mapping[str, Labelled]) -> None:
        """Say what keeps labels of its own, by kind; those that an earlier version kept here go there. Raises
        StorageUnavailable, JournalUnavailable."""
        self._labelled = labelled
        for name in self.labels.names():
            kind, _, rest = name.partition(":")
            if kind in labelled:
                await add(labelled[kind], rest, self.labels.of(name))
                self.labels.remove(name)
                await self._journal.commit_access([self._label_row(name)])

    # -- deciding ----------------------------------------------------------------------------------

    def subject(self, process: Process) -> Subject:
        """Who a process is, as rules see it."""
        found = self._subjects.get(process.pid)
        if found is None:
            groups = self.policy.groups_of(process.group)
            labels = frozenset[str]().union(*(self.labels.of(f"agent:{id}") for id in lineage(process)))
            found = Subject(process.agent, process.name, process.group, groups, labels)
            self._subjects[process.pid] = found
        return found

    def decide(self, process: Process, action: str, resource: str, facts: Facts = NO_FACTS) -> Decision:
        """What holds, without asking anybody or recording it."""
        if facts:
            return self._ruled(process, action, resource, facts)
        # An agent asks one model time and again, and a policy is pure.
        newest = self._newest.get(process.pid)
        if newest is None or newest[0] != action or newest[1] != resource:
            newest = action, resource, self._ruled(process, action, resource, facts)
            self._newest[process.pid] = newest
        return newest[2]

    def _ruled(self, process: Process, action: str, resource: str, facts: Facts) -> Decision:
        for each in process.lineage():
            if each.rights is not None and not (each.rights and action in Names(each.rights)):
                why = f"Process {each.pid} was made without the right to it."
                return Decision(effect="deny", rule="rights", why=why)
        subject = self.subject(process)
        owner = facts.get("owner")
        if owner is not None and owner != subject.agent and self.grants.cover(owner, subject, action, resource):
            facts = {**facts, "granted": True}
        return self.policy.decide(subject, action, resource, facts)

    def minds(self, process: Process, call: Call[object], may: Sequence[str]) -> bool:
        """Whether it matters to the decision about `call` which of the facts `may` are true, or a person is
        asked whatever is."""
        wanted = self._reader.of(process, call)
        told = set[Decision]()
        for true in chain.from_iterable(combinations(may, n) for n in range(len(may) + 1)):
            told.add(self._decided(process, wanted, {**wanted.facts, **dict.fromkeys(true, True)})[0])
        return len(told) > 1 or any(decision.effect == "ask" for decision in told)

    def _decided(self, process: Process, wanted: Wanted, known: Facts) -> tuple[Decision, str]:
        """The stricter decision, where a call is about two resources; and which of them it is about."""
        decision, resource = self.decide(process, wanted.action, wanted.resource, known), wanted.resource
        if wanted.to:
            also = self.decide(process, wanted.action, wanted.to, known)
            if STRICTNESS[also.effect] < STRICTNESS[decision.effect]:
                return also, wanted.to
        return decision, resource

    async def admit(
        self,
        process: Process,
        call: Call[object],
        *,
        id: int = 0,
        facts: Mapping[str, object] | None = None,
        diff: Diff = no_diff,
        seen: Mapping[str, int] | None = None,
        park: Callable[[], Entry] | None = None,
    ) -> Audited:
        """Return when `call` (number `id`) may go on: at once, or when a person has said so. `facts` are added
        to what is known of it, `diff` makes what is shown to who is asked, and the answer is bound to `seen`,
        what is there by now, beside the call. `park` gives the entry under which it is
        journalled while it waits, if it can be asked for again.

        Raises Forbidden (denied, by a rule or by a person), JournalUnavailable (the question can't be kept)."""
        wanted = self._reader.of(process, call)
        known = {**wanted.facts, **facts} if facts else wanted.facts
        decision, resource = self._decided(process, wanted, known)
        if decision.effect == "allow":
            return _audited(process, wanted.action, resource, decision, id)
        return await self.pass_(
            process, wanted.action, resource, decision, lambda: bound(call, seen),
            id=id, diff=diff, park=park, named=wanted.named,
        )  # fmt: skip

    async def check(
        self, process: Process, action: str, resource: str, arguments: Any, facts: Facts = NO_FACTS, *,
        id: int = 0, diff: Diff = no_diff, park: Callable[[], Entry] | None = None,
    ) -> Audited:  # fmt: skip
        """`admit` for what is no syscall of its own: the call of one tool, say, with its `arguments`."""
        decision = self.decide(process, action, resource, facts)
        return await self.pass_(
            process, action, resource, decision, lambda: arguments, id=id, diff=diff, park=park
        )

    async def pass_(
        self, process: Process, action: str, resource: str, decision: Decision, arguments: Callable[[], Any], *,
        id: int = 0, diff: Diff = no_diff, park: Callable[[], Entry] | None = None, named: str = "",
    ) -> Audited:  # fmt: skip
        """Let it go on, refuse it, or ask, as `decision` says. Raises as `admit`."""
        by, mend = "", "Ask its owner for a grant, or the operator for a rule."
        if decision.effect == "ask":
            asked = Asked(process.pid, process.agent, action, resource, arguments(), decision, diff, id)
            answer = await self.asking.ask(asked, None if park is None else park())
            decided = _audited(process, action, resource, answer.decision, id, answer.by, answer.digest)
            if answer.decision.effect == "allow":
                return decided
            decision, by, mend = answer.decision, answer.by, answer.mend or mend
        else:
            decided = _audited(process, action, resource, decision, id)
            if decision.effect == "allow":
                return decided
        self._journal.decided(decided)
        self._bus.publish(
            AccessDenied(pid=process.pid, call=id, action=action, resource=resource, rule=decision.rule)
        )
        why = sentence(decision.why or "so the rule says")
        what = f"{action} on {named or resource!r} is denied by {decision.rule!r}"
        if by:
            raise Forbidden(
                f"{what}, which {by!r} was asked: {why}", "Do without it, or ask for something else."
            )
        raise Forbidden(f"{what}: {why}", mend)

    async def answer(self, by: Process, id: str, answer: Answer, reason: str = "") -> Approval:
        """Answer an approval in the name of a process. Raises Forbidden (it may not), Conflict, NotFound,
        JournalUnavailable."""
        asked = self.approvals.find(id)  # who may not answer does not learn whether there is one
        facts = NO_FACTS if asked is None else _of(asked.agent)
        decision = self.decide(by, "approval.answer", f"approval:{id}", facts)
        if decision.effect != "allow":
            refused = Decision(effect="deny", rule=decision.rule, why=decision.why)
            await self.pass_(by, "approval.answer", f"approval:{id}", refused, dict)
        return await self.asking.answer(id, answer, by.agent, lineage(by), by.pid, reason)

    async def withdraw(self, by: Process, rule: str, agent: str) -> Standing:
        """Take an `always` back, in the name of an admin. Raises NotFound, JournalUnavailable."""
        decision = Decision(effect="allow", rule="operator", why=f"{agent} is asked again for {rule}")
        decided = _audited(by, "approval.withdraw", f"standing:{rule} {agent}", decision, 0, by=by.agent)
        return await self.asking.withdraw(rule, agent, decided)

    # -- labels ------------------------------------------------------------------------------------

    def saw(self, process: Process, facts: Facts = NO_FACTS, labels: Iterable[str] = ()) -> None:
        """The agent of a process has seen what a call returned: what the facts say, what had these `labels`."""
        # By agent and not by process: to exit and come back must not wash anything off.
        name = f"agent:{process.agent}"
        labels = from_facts(facts).union(labels)
        if labels and self.labels.add(name, labels):
            self._relabelled()
            self._journal.access([self._label_row(name)])

    async def declassify(self, process: Process, name: str, labels: tuple[str, ...] | None = None) -> None:
        """Take labels (None: all) off `agent:group:name` or a resource. It is asked for. Raises as `admit`,
        NotFound."""
        asked = {"name": name, "labels": None if labels is None else sorted(labels)}
        kind, _, rest = name.partition(":")
        of = self._labelled.get(kind)
        owner = rest if of is None else await of.owner_of(rest)
        facts = _owned(owner) if kind == "memory" else _of(owner)
        decided = await self.check(process, "label.declassify", name, asked, facts)
        if of is not None:
            await of.relabel(rest, without(labels))
        if self.labels.remove(name, labels):
            self._relabelled()
        await self._journal.commit_access([self._label_row(name)], [decided])

    def forget(self, pid: int) -> None:
        """A process is gone."""
        self._subjects.pop(pid, None)
        self._newest.pop(pid, None)

    def _relabelled(self) -> None:
        """Who somebody is has changed, and what that one may."""
        self._subjects.clear()
        self._newest.clear()

    def _label_row(self, name: str) -> AccessRow:
        labels = self.labels.of(name)
        return _row("labels", name, sorted(labels) if labels else None)

    # -- grants ------------------------------------------------------------------------------------

    async def grant(self, by: Process, granted: Granted) -> None:
        """An owner, or an admin for it, lets others at something. Raises Forbidden, BadRequest."""
        decided = await self.check(
            by, "grant.give", granted.resource, msgspec.to_builtins(granted), _owned(granted.owner)
        )
        await self.grants.give(granted, [decided])

    async def revoke(self, by: Process, owner: str, resource: str, whom: Whom, name: str) -> None:
        """Raises Forbidden, NotFound."""
        asked = {"owner": owner, "resource": resource, "whom": whom, "name": name}
        decided = await self.check(by, "grant.take", resource, asked, _owned(owner))
        if not await self.grants.take_back(owner, resource, whom, name, [decided]):
            self._journal.decided(decided)
            raise NotFound(f"{owner!r} granted nothing on {resource!r} to {name!r}.", "List the grants.")

    async def _keep_grants(self, changed: Kept, decided: Sequence[Audited]) -> None:
        rows = [_row("grant", " ".join(key), granted) for key, granted in changed.items()]
        await self._journal.commit_access(rows, decided)

    # -- the audit log ---------------------------------------------------------------------------------

    def note(
        self, process: Process, action: str, resource: str, effect: Effect = "allow", why: str = ""
    ) -> None:
        """Put an administrator's act into the audit log."""
        decision = Decision(effect=effect, rule="operator", why=why)
        self._journal.decided(_audited(process, action, resource, decision, 0))

    async def keep_house(self) -> None:
        """Forget what is over, and sign what there is by now."""
        with suppress(JournalUnavailable):
            await self.grants.expire()
        await self.checkpoint()

    async def checkpoint(self) -> None:
        """Sign what is on disk of the audit log. That it can't be is logged: nothing depends on it but
        proofs."""
        try:
            if await self._journal.examine(self.audit.checkpoint):
                await self._journal.seal()
        except (JournalUnavailable, StorageUnavailable, OSError) as error:
            log.warning("the audit log has no new checkpoint: %s", error)

    async def audited(self, after: int = 0, limit: int = 100) -> list[AuditRow]:
        """Rows of the audit log after number `after`, oldest first. Raises JournalUnavailable."""
        return await self._journal.examine(lambda db: list(exported(db, after, limit)))

    async def verify(self) -> AuditReport:
        """Check the whole audit log as it is on disk. Raises JournalUnavailable, StorageUnavailable."""
        await self._journal.settled()
        return await self._journal.examine(lambda db: archive.verify(self.audit, db))

    async def archive(self, by: Process, older_than_s: float) -> Archived:
        """Move rows of the audit log that are older into a sealed file. Raises NotFound (there are none),
        StorageCorrupt (the log is not intact: it stays), StorageUnavailable, JournalUnavailable."""
        async with self._archiving:
            await self._journal.settled()
            before = time.time() - older_than_s
            done, base = await self._journal.examine(lambda db: archive.seal(self.audit, db, before))
            decision = Decision(effect="allow", rule="operator", why=f"rows {done.first} to {done.last}")
            decided = _audited(by, "audit.archive", f"audit:{done.last}", decision, 0, by=by.agent)
            await self._journal.prune_audit(done.last, _row("audit", "base", base), decided)
        return done

    def cleaned(self, error: E) -> E:
        """The same error without secrets in it."""
        if not self.redactor.idle:
            error.what, error.mend = self.redactor.text(error.what), self.redactor.text(error.mend)
            error.args = (error.what, error.mend)
        return error


def lineage(process: Process) -> frozenset[str]:
    """A process and all above it, by tree and by name (`ann/web` is below `ann`), but the kernel."""
    found: set[str] = set()
    for each in process.lineage():
        if each.pid == KERNEL:
            continue
        parts = each.name.split("/")
        found |= {agent_id(each.group, "/".join(parts[: n + 1])) for n in range(len(parts))}
    return frozenset(found)


def _audited(
    process: Process, action: str, resource: str, decision: Decision, call: int, by: str = "", digest: str = ""
) -> Audited:
    return Audited(
        at=time.time(), pid=process.pid, agent=process.agent, action=action, resource=resource,
        effect=decision.effect, rule=decision.rule, call=call,
        why=decision.why if decision.effect != "allow" or by else "", by=by, digest=digest,
    )  # fmt: skip


def _of(agent: str) -> Facts:
    return {"owner": agent, "owner_group": agent.partition(":")[0]}


def _owned(owner: str) -> Facts:
    """Nobody but the owner and admins: not even those of its group."""
    return {"owner": owner, "owner_group": ""}


def _row(kind: Any, name: str, value: object) -> AccessRow:
    return AccessRow(
        kind=kind, name=name, value=None if value is None else msgspec.Raw(msgspec.json.encode(value))
    )


_KINDS: Mapping[str, Any] = {
    "approval": Approval, "standing": Standing, "grant": Granted, "labels": tuple[str, ...],
}  # fmt: skip
