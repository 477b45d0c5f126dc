"""`/aios/v1/approvals`, `/audit`, `/secrets`, `/agents`, `/grants`: who may do what, and who said so.

On a machine where keys are not required anybody counts as its owner; but what opens doors (answers, secrets)
takes a key that was shown, of an admin or the daemon's own, or an agent could let itself in."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator
from typing import TYPE_CHECKING

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from aios.access.approvals import Answer, Approval, ApprovalState, Standing, unknown
from aios.access.archive import Archived
from aios.access.audit import AuditReport, AuditRow
from aios.access.decision import agent_id
from aios.access.grants import Granted
from aios.access.secrets import SecretInfo
from aios.errors import BadRequest
from aios.events import ApprovalAsked, KernelChanged
from aios.kernel.identities import AgentInfo, agents
from aios.server import body, sse
from aios.server.auth import Gate
from aios.server.endpoint import Endpoint
from aios.syscalls.memory_records import Grant, Whom

if TYPE_CHECKING:
    from aios.kernel.kernel import Kernel
    from aios.kernel.pcb import Process

STATES: tuple[ApprovalState, ...] = ("waiting", "approved", "denied", "used", "expired")
AUDIT_PAGE = 1000
"""Most rows of one answer."""


class AnswerBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    answer: Answer
    """`once`, `always` (whatever this rule asks of this agent from now on), `deny`."""
    reason: str = ""


class NewSecret(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    name: str
    value: str
    agents: tuple[str, ...] = ()
    """Globs of agents that may use it."""
    groups: tuple[str, ...] = ()
    """Globs of privilege groups whose agents may use it."""


class GrantBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An agent is named `group:name`. `owner` "": the caller."""

    resource: str
    name: str
    whom: Whom = "agent"
    write: bool = False
    expires_s: float | None = None
    owner: str = ""


class DeclassifyBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    name: str
    """`agent:group:name`, `memory:ID` or `file:…`."""
    labels: tuple[str, ...] | None = None
    """Labels to take off; null: all."""


class ArchiveBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    older_than_s: float


class ApprovalList(msgspec.Struct, frozen=True):
    approvals: tuple[Approval, ...]


class StandingList(msgspec.Struct, frozen=True):
    standing: tuple[Standing, ...]


class SecretList(msgspec.Struct, frozen=True):
    secrets: tuple[SecretInfo, ...]


class AgentList(msgspec.Struct, frozen=True):
    agents: tuple[AgentInfo, ...]


class GrantList(msgspec.Struct, frozen=True):
    grants: tuple[Granted, ...]


class AuditPage(msgspec.Struct, frozen=True):
    rows: tuple[AuditRow, ...]
    public_key: str
    """Ed25519, hex: checks checkpoints."""


class Access:
    """Handlers of access control."""

    def __init__(self, kernel: Kernel, gate: Gate) -> None:
        self._kernel, self._gate = kernel, gate
        self._limit = int(kernel.settings.server.max_body_mb * 1e6)

    def endpoints(self) -> tuple[Endpoint, ...]:
        one, asked = "/aios/v1/approvals/{id}", {"state": f"only those that are {', '.join(STATES)}"}
        page = {"after": "number of the row to begin after", "limit": f"at most {AUDIT_PAGE}"}
        who = {"rule": "of which rule", "agent": "of which agent, `group:name`"}
        grant = {
            "resource": "glob",
            "whom": "`agent` or `group`",
            "name": "whose",
            "owner": "default: the caller",
        }
        return (
            Endpoint("GET", "/aios/v1/approvals", self.approvals, None, ApprovalList, asked),
            Endpoint("GET", "/aios/v1/approvals/watch", self.watch, None, Approval),
            Endpoint("GET", one, self.approval, None, Approval),
            Endpoint("POST", one, self.answer, AnswerBody, Approval),
            Endpoint("GET", "/aios/v1/standing", self.standing, None, StandingList),
            Endpoint("DELETE", "/aios/v1/standing", self.withdraw, None, Standing, who),
            Endpoint("GET", "/aios/v1/audit", self.audit, None, AuditPage, page),
            Endpoint("GET", "/aios/v1/audit/verify", self.verify, None, AuditReport),
            Endpoint("POST", "/aios/v1/audit/archive", self.archive, ArchiveBody, Archived),
            Endpoint("GET", "/aios/v1/secrets", self.secrets, None, SecretList),
            Endpoint("PUT", "/aios/v1/secrets", self.put_secret, NewSecret, SecretInfo),
            Endpoint("DELETE", "/aios/v1/secrets/{name}", self.remove_secret, None, SecretList),
            Endpoint("GET", "/aios/v1/agents", self.agents, None, AgentList),
            Endpoint("GET", "/aios/v1/grants", self.grants, None, GrantList),
            Endpoint("POST", "/aios/v1/grants", self.grant, GrantBody, Granted, status=201),
            Endpoint("DELETE", "/aios/v1/grants", self.revoke, None, GrantList, grant),
            Endpoint("POST", "/aios/v1/declassify", self.declassify, DeclassifyBody, DeclassifyBody),
        )

    # -- approvals ---------------------------------------------------------------------------------

    async def approvals(self, request: Request) -> Response:
        """What was asked of people: all for an admin, its own for others."""
        state = request.query_params.get("state")
        if state is not None and state not in STATES:
            raise BadRequest(f"There is no state {state!r}.", f"Use one of {', '.join(STATES)}.", param="state")
        mine = self._whose(request)
        found = self._kernel.guard.approvals.list(state)
        return body.reply(ApprovalList(tuple(a for a in found if mine is None or a.agent == mine)))

    async def watch(self, request: Request) -> Response:
        """Follow what waits for an answer, as server-sent events: what waits now, then each as it is asked.
        Admin."""
        self._gate.admin(request)
        return sse.EventStream(self._waiting(), heartbeat=b": alive\n\n", all_along=True)

    async def approval(self, request: Request) -> Response:
        """One approval, with the exact arguments and what would change."""
        mine = self._whose(request)
        found = self._kernel.guard.approvals.get(request.path_params["id"])
        if mine is not None and found.agent != mine:
            raise unknown(found.id)
        return body.reply(found)

    async def answer(self, request: Request) -> Response:
        """Answer what an agent waits for. Takes a key whose holder may: by default an admin's, never the
        asker's."""
        by = self._person(request)
        asked = body.decode(await body.read(request, self._limit), AnswerBody)
        id: str = request.path_params["id"]
        return body.reply(await self._kernel.guard.answer(by, id, asked.answer, asked.reason))

    async def standing(self, request: Request) -> Response:
        """What is always allowed, by rule and agent. Admin."""
        self._gate.admin(request)
        return body.reply(StandingList(self._kernel.guard.approvals.standing()))

    async def withdraw(self, request: Request) -> Response:
        """Take an `always` back. Admin."""
        by = self._admin(request)
        rule, agent = (_query(request, name) for name in ("rule", "agent"))
        return body.reply(await self._kernel.guard.withdraw(by, rule, agent))

    # -- the audit log -----------------------------------------------------------------------------

    async def audit(self, request: Request) -> Response:
        """Decisions, oldest first. Admin."""
        self._gate.admin(request)
        after, limit = (
            body.integer(request.query_params.get(name, str(default)), name)
            for name, default in (("after", 0), ("limit", 100))
        )
        rows = await self._kernel.guard.audited(after, max(1, min(limit, AUDIT_PAGE)))
        return body.reply(AuditPage(tuple(rows), self._kernel.guard.audit.public_key))

    async def verify(self, request: Request) -> Response:
        """Check every row of the audit log. Admin."""
        self._gate.admin(request)
        return body.reply(await self._kernel.guard.verify())

    async def archive(self, request: Request) -> Response:
        """Move old rows of the audit log into a sealed file of the state folder. Admin."""
        by = self._admin(request)
        asked = body.decode(await body.read(request, self._limit), ArchiveBody)
        return body.reply(await self._kernel.guard.archive(by, asked.older_than_s))

    # -- secrets -----------------------------------------------------------------------------------

    async def secrets(self, request: Request) -> Response:
        """Names of secrets and who may use them, never their values. Admin."""
        self._gate.admin(request)
        return body.reply(SecretList(self._kernel.guard.vault.list()))

    async def put_secret(self, request: Request) -> Response:
        """Keep a secret, encrypted; tools get it for `{{secret:NAME}}`. Admin."""
        by = self._admin(request)
        asked = body.decode(await body.read(request, self._limit), NewSecret)
        vault = self._kernel.guard.vault
        info = await asyncio.to_thread(vault.put, asked.name, asked.value, asked.agents, asked.groups)
        self._kernel.guard.note(by, "secret.put", f"secret:{asked.name}")
        return body.reply(info)

    async def remove_secret(self, request: Request) -> Response:
        """Forget a secret. Admin."""
        by = self._admin(request)
        name: str = request.path_params["name"]
        await asyncio.to_thread(self._kernel.guard.vault.remove, name)
        self._kernel.guard.note(by, "secret.remove", f"secret:{name}")
        return body.reply(SecretList(self._kernel.guard.vault.list()))

    # -- agents and grants -------------------------------------------------------------------------

    async def agents(self, request: Request) -> Response:
        """All agents: groups, keys, processes, labels. Admin."""
        self._gate.admin(request)
        kernel = self._kernel
        return body.reply(AgentList(agents(kernel.keys.list(), kernel.processes.live(), kernel.guard)))

    async def grants(self, request: Request) -> Response:
        """What was granted: by all for an admin, by itself for others."""
        return body.reply(GrantList(self._kernel.guard.grants.list(self._whose(request))))

    async def grant(self, request: Request) -> Response:
        """Let an agent or a group read, or change, something of one's own."""
        by = self._caller(request)
        asked = body.decode(await body.read(request, self._limit), GrantBody)
        if asked.expires_s is not None and asked.expires_s <= 0:
            raise BadRequest("A grant expires in the future.", "Use a positive number.", param="expires_s")
        expires = None if asked.expires_s is None else time.time() + asked.expires_s
        grant = Grant(whom=asked.whom, name=asked.name, write=asked.write, expires=expires)
        granted = Granted(owner=asked.owner or by.agent, resource=asked.resource, grant=grant)
        await self._kernel.guard.grant(by, granted)
        return body.reply(granted, 201)

    async def revoke(self, request: Request) -> Response:
        """Take a grant back. Answers with those that are left."""
        by = self._caller(request)
        resource, name = _query(request, "resource"), _query(request, "name")
        whom: Whom = "group" if request.query_params.get("whom") == "group" else "agent"
        owner = request.query_params.get("owner") or by.agent
        await self._kernel.guard.revoke(by, owner, resource, whom, name)
        return body.reply(GrantList(self._kernel.guard.grants.list(owner)))

    async def declassify(self, request: Request) -> Response:
        """Take labels off a context, a memory or a file. It is asked for: the answer may take long."""
        by = self._caller(request)
        asked = body.decode(await body.read(request, self._limit), DeclassifyBody)
        async with sse.Attendance(request.receive):
            await self._kernel.guard.declassify(by, asked.name, asked.labels)
            return body.reply(asked)
        return Response(status_code=499)

    # -- who asks ----------------------------------------------------------------------------------

    def _whose(self, request: Request) -> str | None:
        """The agent that may see only its own; None: all."""
        known = self._gate.credentials(request)
        return None if known.admin else agent_id(known.group, known.name)

    def _caller(self, request: Request) -> Process:
        known = self._gate.credentials(request)
        if known.admin and not known.open:
            return self._kernel.processes.get(self._gate.operator())
        return self._kernel.processes.get(self._gate.caller(request, known).pid)

    def _person(self, request: Request) -> Process:
        """Who answers: the holder of a key that was shown."""
        return self._kernel.processes.get(self._gate.person(self._gate.shown(request)))

    def _admin(self, request: Request) -> Process:
        self._gate.admin(request)
        return self._person(request)

    async def _waiting(self) -> AsyncGenerator[bytes, None]:
        with self._kernel.bus.subscribe() as events:
            yield b": following\n\n"
            told: set[str] = set()
            for approval in self._kernel.guard.approvals.list("waiting"):
                told.add(approval.id)
                yield sse.data(approval)
            async for event in events:
                if isinstance(event, KernelChanged) and event.state in ("draining", "closed"):
                    return
                if isinstance(event, ApprovalAsked) and event.id not in told:
                    yield sse.data(self._kernel.guard.approvals.get(event.id))


def _query(request: Request, name: str) -> str:
    value = request.query_params.get(name)
    if not value:
        raise BadRequest(f"The query needs `{name}`.", f"Add ?{name}=…", param=name)
    return value
