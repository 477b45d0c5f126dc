"""`/aios/v1`: the kernel's own API. Every syscall by its wire form, and the paths an operator needs."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from typing import TYPE_CHECKING, Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from aios.access.decision import within
from aios.access.keys import Agent
from aios.config import GroupSettings
from aios.errors import Forbidden, NotFound
from aios.events import AnyEvent, Event, KernelChanged, Lost
from aios.kernel.pcb import unknown
from aios.server import body, sse
from aios.server.auth import Caller, Credentials, Gate, below
from aios.server.endpoint import Endpoint
from aios.syscalls import (
    Call,
    ContextInfo,
    GroupInfo,
    Nice,
    ProcessInfo,
    ProcessList,
    Ps,
    Result,
    SendSignal,
    Signal,
    Spawn,
    Syscall,
)

if TYPE_CHECKING:
    from aios.kernel.kernel import Kernel


class SignalBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    signal: Signal
    reason: str = ""


class NiceBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    nice: int


class NewKey(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    agent: str
    group: str = "default"


class PolicyBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    policy: str
    """A name registered under `aios.policies`."""
    core: str = ""
    """Whose calls it orders; "": those of all cores."""


class Named(msgspec.Struct, frozen=True):
    """What a body is about; the rest of it is something else's to read."""

    name: str


class CreatedKey(msgspec.Struct, frozen=True):
    agent: str
    group: str
    key: str
    """The key itself, shown this once."""


class KeyList(msgspec.Struct, frozen=True):
    keys: tuple[Agent, ...]


class GroupList(msgspec.Struct, frozen=True):
    groups: tuple[GroupInfo, ...]


class Health(msgspec.Struct, frozen=True):
    status: str
    """`ok`, or the state that keeps the kernel from taking calls: `starting`, `draining`."""


class Native:
    """Handlers of `/aios/v1` and `/health`."""

    def __init__(self, kernel: Kernel, gate: Gate) -> None:
        self._kernel = kernel
        self._gate = gate
        self._limit = int(kernel.settings.server.max_body_mb * 1e6)

    def endpoints(self) -> tuple[Endpoint, ...]:
        one = "/aios/v1/processes/{pid}"
        every = {"all": "`true`: with exited ones"}
        only = {"pid": "only events of this process"}
        return (
            Endpoint("GET", "/health", self.health, None, Health),
            Endpoint("POST", "/aios/v1/syscalls", self.syscall, Syscall, Result),
            Endpoint("GET", "/aios/v1/processes", self.processes, None, ProcessList, every),
            Endpoint("POST", "/aios/v1/processes", self.spawn, Spawn, ProcessInfo, status=201),
            Endpoint("GET", one, self.process, None, ProcessInfo),
            Endpoint("DELETE", one, self.kill, None, ProcessInfo),
            Endpoint("POST", f"{one}/signal", self.signal, SignalBody, ProcessInfo),
            Endpoint("POST", f"{one}/nice", self.nice, NiceBody, ProcessInfo),
            Endpoint("GET", f"{one}/context", self.context, None, ContextInfo),
            Endpoint("GET", "/aios/v1/events", self.events, None, AnyEvent, only),
            Endpoint("GET", "/aios/v1/status", self.status, None, dict[str, Any]),
            Endpoint("GET", "/aios/v1/trace", self.trace, None, dict[str, Any]),
            Endpoint("PUT", "/aios/v1/scheduler", self.set_policy, PolicyBody, dict[str, Any]),
            Endpoint("GET", "/aios/v1/groups", self.groups, None, GroupList),
            Endpoint("PATCH", "/aios/v1/groups", self.set_group, GroupSettings, GroupInfo),
            Endpoint("GET", "/aios/v1/keys", self.keys, None, KeyList),
            Endpoint("POST", "/aios/v1/keys", self.create_key, NewKey, CreatedKey, status=201),
            Endpoint("DELETE", "/aios/v1/keys/{agent}", self.revoke_keys, None, KeyList),
        )

    async def health(self, request: Request) -> Response:
        """200 when the kernel takes calls, else 503. Needs no key."""
        if self._kernel.draining:
            return body.reply(Health("draining"), 503)
        return body.reply(Health("ok")) if self._kernel.ready else body.reply(Health("starting"), 503)

    async def syscall(self, request: Request) -> Response:
        """Make any syscall; `call` says which. The answer's `type` says which result."""
        known = self._gate.credentials(request)
        call: Syscall = body.decode_union(await body.read(request, self._limit), Syscall)
        caller = self._gate.caller(request, known)
        if isinstance(call, Ps):
            return body.reply(self._visible(known, call.all))
        if isinstance(call, SendSignal | Nice):
            return await self._trap(request, self._actor(caller, call.pid), call)
        if isinstance(call, Spawn):
            return await self._spawned(request, caller, known, call)
        return await self._trap(request, caller.pid, call)

    async def processes(self, request: Request) -> Response:
        """List processes: all for an admin, those of its own group for others."""
        known = self._gate.credentials(request)
        return body.reply(self._visible(known, request.query_params.get("all") in ("1", "true")))

    async def spawn(self, request: Request) -> Response:
        """Make a child process of the caller. With a key, its name is below that of the key's agent."""
        known = self._gate.credentials(request)
        call = body.decode(await body.read(request, self._limit), Spawn)
        return await self._spawned(request, self._gate.caller(request, known), known, call, status=201)

    async def process(self, request: Request) -> Response:
        """Describe one process."""
        known = self._gate.credentials(request)
        pid = _pid(request)
        info = self._kernel.processes.info(pid)
        if not known.admin and info.group != known.group:
            raise unknown(pid)
        return body.reply(info)

    async def kill(self, request: Request) -> Response:
        """Kill a process and its children."""
        return await self._on_process(request, SendSignal(pid=_pid(request), signal="kill"))

    async def signal(self, request: Request) -> Response:
        """Kill, pause or resume a process."""
        self._gate.credentials(request)  # before anything is read
        asked = body.decode(await body.read(request, self._limit), SignalBody)
        return await self._on_process(
            request, SendSignal(pid=_pid(request), signal=asked.signal, reason=asked.reason)
        )

    async def nice(self, request: Request) -> Response:
        """Set the nice value of a process."""
        self._gate.credentials(request)
        asked = body.decode(await body.read(request, self._limit), NiceBody)
        return await self._on_process(request, Nice(pid=_pid(request), nice=asked.nice))

    async def context(self, request: Request) -> Response:
        """What the window of a process's last call holds, in tokens. Admin."""
        self._gate.admin(request)
        return body.reply(await self._kernel.composition(_pid(request)))

    async def events(self, request: Request) -> Response:
        """Follow the kernel's events as server-sent events, from now until the kernel drains. Admin."""
        self._gate.admin(request)
        asked = request.query_params.get("pid")
        pid = None if asked is None else self._kernel.processes.info(body.integer(asked, "pid")).pid
        return sse.EventStream(self._event_frames(pid), heartbeat=b": alive\n\n", all_along=True)

    async def status(self, request: Request) -> Response:
        """Version, uptime, and each core with its slots, queue and KV. Admin."""
        self._gate.admin(request)
        return body.reply(self._kernel.status())

    async def trace(self, request: Request) -> Response:
        """The newest events as a timeline in Chrome's trace format, which Perfetto reads. Admin."""
        self._gate.admin(request)
        return body.reply(self._kernel.trace())

    async def set_policy(self, request: Request) -> Response:
        """Order calls by another policy from now on; none that waits is lost. Answers with the status.
        Admin."""
        self._gate.admin(request)
        asked = body.decode(await body.read(request, self._limit), PolicyBody)
        self._kernel.set_policy(asked.policy, asked.core)
        return body.reply(self._kernel.status())

    async def groups(self, request: Request) -> Response:
        """Groups with limits, and what is used of them. Admin."""
        self._gate.admin(request)
        return body.reply(GroupList(self._kernel.groups.list()))

    async def set_group(self, request: Request) -> Response:
        """Give a group these limits, until the kernel ends; those not named stay, null takes one away. Admin,
        with a key or the token."""
        known = self._gate.owner(request)
        raw = await body.read(request, self._limit)
        name, limits = body.decode(raw, Named).name, body.decode(raw, dict[str, Any])
        told = self._kernel.groups.change(name, limits)
        self._note(known, "group.set", f"group:{name}")
        return body.reply(told)

    async def keys(self, request: Request) -> Response:
        """List whose keys there are, never the keys. Admin."""
        self._gate.admin(request)
        return body.reply(KeyList(self._kernel.keys.list()))

    async def create_key(self, request: Request) -> Response:
        """Make a key for an agent. Admin, with a key or the token."""
        known = self._gate.owner(request)
        asked = body.decode(await body.read(request, self._limit), NewKey)
        key = await asyncio.to_thread(self._kernel.keys.create, asked.agent, asked.group)
        self._note(known, "key.create", f"key:{asked.group}:{asked.agent}")
        return body.reply(CreatedKey(asked.agent, asked.group, key), 201)

    async def revoke_keys(self, request: Request) -> Response:
        """Revoke all keys of an agent, at once. Answers with those that are left. Admin, with a key or the
        token."""
        known = self._gate.owner(request)
        agent: str = request.path_params["agent"]
        if not await asyncio.to_thread(self._kernel.keys.revoke, agent):
            raise NotFound(f"The agent {agent!r} has no key.", "GET /aios/v1/keys lists those that have.")
        self._note(known, "key.revoke", f"key:{agent}")
        return body.reply(KeyList(self._kernel.keys.list()))

    def _note(self, known: Credentials, action: str, resource: str) -> None:
        """Put what an admin did into the audit log."""
        person = self._kernel.processes.get(self._gate.person(known))
        self._kernel.guard.note(person, action, resource)

    async def _on_process(self, request: Request, call: SendSignal | Nice) -> Response:
        known = self._gate.credentials(request)
        return await self._trap(request, self._actor(self._gate.caller(request, known), call.pid), call)

    async def _spawned(
        self, request: Request, caller: Caller, known: Credentials, call: Spawn, status: int = 200
    ) -> Response:
        named = msgspec.structs.replace(call, name=below(known, call.name)) if call.name else call
        return await self._trap(request, self._parent(caller, known, call), named, status)

    async def _trap(self, request: Request, pid: int, call: Call[object], status: int = 200) -> Response:
        async with sse.Attendance(request.receive):
            return body.reply(await self._kernel.trap(pid, call), status)
        return Response(status_code=499)

    def _actor(self, caller: Caller, pid: int) -> int:
        """In whose name `caller` acts on process `pid`: its own for itself and its descendants, else the
        operator's, for an admin and for the sub-agents of its own key. Raises NotFound, Forbidden."""
        processes = self._kernel.processes
        info = processes.info(pid)
        ancestor = pid
        while ancestor and ancestor != caller.pid:
            ancestor = processes.info(ancestor).parent
        if ancestor:
            return caller.pid
        if caller.admin or (info.group == caller.group and info.name.startswith(f"{caller.name}/")):
            return self._gate.operator()
        if info.group != caller.group:
            raise unknown(pid)
        mend = "A process may signal itself and those below it; others take a key of group 'admin'."
        raise Forbidden(f"{caller.name!r} may not signal process {pid}.", mend)

    def _parent(self, caller: Caller, known: Credentials, call: Spawn) -> int:
        """Whose child is made: `caller`'s; the operator's where the daemon's own token asks for one of another
        group."""
        foreign = call.group and not within(caller.group, call.group)
        proven = known.admin and not known.name and not known.open
        return self._gate.operator() if foreign and proven else caller.pid

    def _visible(self, known: Credentials, all: bool) -> ProcessList:
        listed = self._kernel.processes.list(all)
        return ProcessList(
            processes=listed if known.admin else tuple([p for p in listed if p.group == known.group])
        )

    async def _event_frames(self, pid: int | None) -> AsyncGenerator[bytes, None]:
        with self._kernel.bus.subscribe() as events:
            yield b": following\n\n"  # from here on nothing is missed, and the client can tell
            async for event in events:
                ends = isinstance(event, KernelChanged) and event.state in ("draining", "closed")
                if pid is None or event.pid == pid or ends or isinstance(event, Lost):
                    yield _frame(event)
                if ends:
                    return  # else this reader would hold up the drain it was just told of


def _frame(event: Event) -> bytes:
    head = f"id: {event.seq}\n" if event.seq else ""
    return f"{head}event: {event.__struct_config__.tag}\n".encode() + sse.data(event)


def _pid(request: Request) -> int:
    return body.integer(request.path_params["pid"], "pid")
