"""What a client asks of access control: requests, and `client.approvals`."""

from __future__ import annotations

import inspect
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator, Sequence
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlencode

from aios.access.approvals import Answer, Approval, ApprovalState
from aios.sdk import answers
from aios.sdk.requests import Request
from aios.sdk.transport import ENDLESS
from aios.syscalls import Record

if TYPE_CHECKING:
    from aios.sdk.client import AsyncClient, Client

Decided = Answer | tuple[Answer, str] | None
"""What a callback says of an approval: an answer, one with a reason, or nothing (somebody else answers)."""


class ToldApprovals(Record, frozen=True):
    approvals: tuple[Approval, ...]


def approvals(state: ApprovalState | None) -> Request[tuple[Approval, ...]]:
    query = f"?state={state}" if state else ""
    return Request(
        "GET", f"/aios/v1/approvals{query}", lambda told: answers.decoded(told, ToldApprovals).approvals
    )


def approval(id: str) -> Request[Approval]:
    return Request("GET", f"/aios/v1/approvals/{quote(id, safe='')}", _approval)


def answer(id: str, said: Answer, reason: str) -> Request[Approval]:
    given = {"answer": said, "reason": reason}
    return Request("POST", f"/aios/v1/approvals/{quote(id, safe='')}", _approval, given, repeatable=False)


def watch() -> Request[None]:
    return Request("GET", "/aios/v1/approvals/watch", lambda told: None)


def withdraw(rule: str, agent: str) -> Request[dict[str, Any]]:
    query = urlencode({"rule": rule, "agent": agent})
    return Request("DELETE", f"/aios/v1/standing?{query}", _told, repeatable=False)


def standing() -> Request[dict[str, Any]]:
    return Request("GET", "/aios/v1/standing", _told)


def audit(after: int, limit: int) -> Request[dict[str, Any]]:
    return Request("GET", f"/aios/v1/audit?{urlencode({'after': after, 'limit': limit})}", _told)


def verify_audit() -> Request[dict[str, Any]]:
    return Request("GET", "/aios/v1/audit/verify", _told)


def archive_audit(older_than_s: float) -> Request[dict[str, Any]]:
    given = {"older_than_s": older_than_s}
    return Request("POST", "/aios/v1/audit/archive", _told, given, repeatable=False)


def secrets() -> Request[dict[str, Any]]:
    return Request("GET", "/aios/v1/secrets", _told)


def put_secret(name: str, value: str, agents: Sequence[str], groups: Sequence[str]) -> Request[dict[str, Any]]:
    given = {"name": name, "value": value, "agents": list(agents), "groups": list(groups)}
    return Request("PUT", "/aios/v1/secrets", _told, given)


def remove_secret(name: str) -> Request[dict[str, Any]]:
    return Request("DELETE", f"/aios/v1/secrets/{quote(name, safe='')}", _told, repeatable=False)


def agents() -> Request[dict[str, Any]]:
    return Request("GET", "/aios/v1/agents", _told)


def grants() -> Request[dict[str, Any]]:
    return Request("GET", "/aios/v1/grants", _told)


def grant(resource: str, name: str, **fields: Any) -> Request[dict[str, Any]]:
    """`fields`: whom, write, expires_s, owner."""
    return Request("POST", "/aios/v1/grants", _told, {"resource": resource, "name": name, **fields})


def revoke(resource: str, name: str, whom: str, owner: str) -> Request[dict[str, Any]]:
    query = urlencode({"resource": resource, "name": name, "whom": whom, "owner": owner})
    return Request("DELETE", f"/aios/v1/grants?{query}", _told, repeatable=False)


class AsyncApprovals:
    """`client.approvals`: what agents wait for, and answers to it. Answering takes the key of an admin."""

    def __init__(self, client: AsyncClient) -> None:
        self._client = client

    async def list(self, state: ApprovalState | None = None) -> tuple[Approval, ...]:
        """Oldest first; without an admin's rights one's own."""
        return await self._client.request(approvals(state))

    async def get(self, id: str) -> Approval:
        """With the exact arguments and what would change. Raises NotFound."""
        return await self._client.request(approval(id))

    async def allow(self, id: str, *, always: bool = False, reason: str = "") -> Approval:
        """Once, or always what this rule asks of this agent. Raises Forbidden, Conflict (it is over),
        NotFound."""
        return await self._client.request(answer(id, "always" if always else "once", reason))

    async def deny(self, id: str, reason: str = "") -> Approval:
        """The agent is told the reason. Raises Forbidden, Conflict, NotFound."""
        return await self._client.request(answer(id, "deny", reason))

    async def waiting(self) -> AsyncGenerator[Approval, None]:
        """What waits now, then each as it is asked, until the kernel ends."""
        async for told in self._client.lines(watch(), ENDLESS):
            yield answers.decoded(told, Approval)

    async def answer_all(self, decide: Callable[[Approval], Decided | Awaitable[Decided]]) -> None:
        """Answer whatever is asked by what `decide` says of it, until the kernel ends or this is cancelled."""
        async for asked in self.waiting():
            said = decide(asked)
            if (request := _said(asked, await said if inspect.isawaitable(said) else said)) is not None:
                await self._client.request(request)


class Approvals:
    """The same for the synchronous client."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def list(self, state: ApprovalState | None = None) -> tuple[Approval, ...]:
        return self._client.request(approvals(state))

    def get(self, id: str) -> Approval:
        return self._client.request(approval(id))

    def allow(self, id: str, *, always: bool = False, reason: str = "") -> Approval:
        return self._client.request(answer(id, "always" if always else "once", reason))

    def deny(self, id: str, reason: str = "") -> Approval:
        return self._client.request(answer(id, "deny", reason))

    def waiting(self) -> Generator[Approval]:
        for told in self._client.lines(watch(), ENDLESS):
            yield answers.decoded(told, Approval)

    def answer_all(self, decide: Callable[[Approval], Decided]) -> None:
        for asked in self.waiting():
            if (request := _said(asked, decide(asked))) is not None:
                self._client.request(request)


def _said(asked: Approval, said: Decided) -> Request[Approval] | None:
    if said is None:
        return None
    given, reason = said if isinstance(said, tuple) else (said, "")
    return answer(asked.id, given, reason)


def _approval(told: bytes) -> Approval:
    return answers.decoded(told, Approval)


def _told(told: bytes) -> dict[str, Any]:
    return answers.decoded(told, dict[str, Any])
