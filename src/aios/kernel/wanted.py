"""What a syscall wants, in the words of access control: an action, a resource, and what the kernel knows of
it."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import msgspec

from aios.access.decision import Facts
from aios.kernel.pcb import Process
from aios.kernel.process import KERNEL, ProcessTable
from aios.storage.paths import one
from aios.syscalls import Call, DeclarePlan, Embed, Exit, Generate, Nice, SendSignal, Spawn, kind
from aios.syscalls.tools import AddTools, CallTool

NO_FACTS: Facts = MappingProxyType({})
KEPT: Facts = MappingProxyType({"kept": True})
NAMED_BY = ("path", "id", "name", "tool", "source")
"""Fields that name the resource of a syscall that is not told of here."""
DELIVERY = ("deadline_s", "idempotency_key")
"""Fields that say how a call is delivered, and nothing of what it does."""
WHOLE = 65_536
"""Longer contents stand in a question with their SHA-256."""
SEEN = "seen"
"""What was there when it was asked, beside the arguments."""


class Wanted(NamedTuple):
    action: str
    resource: str
    facts: Facts = NO_FACTS
    named: str = ""
    """How the caller named the resource, if its name is not the caller's to know; "": by that."""
    to: str = ""
    """A second resource that it is about, such as where a file is moved to."""


class Reader:
    """Reads syscalls. Process calls are about the process they name: its owner is itself, or who asks if that
    stands above it."""

    def __init__(self, processes: ProcessTable) -> None:
        self._processes = processes

    def of(self, process: Process, call: Call[object]) -> Wanted:
        match call:
            case Generate() | Embed():
                return Wanted(kind(call), f"model:{call.model}")
            case CallTool():  # and not by its `id`, which its caller chooses
                return Wanted(kind(call), f"tool:{call.name}")
            case AddTools():
                return Wanted(kind(call), f"tool:{call.source.name}")
            case SendSignal():
                return self._process(process, f"process.{call.signal}", call.pid)
            case Nice():
                return self._process(process, "process.nice", call.pid)
            case Exit() | DeclarePlan():
                return Wanted(kind(call), f"process:{process.agent}", {"owner": process.agent})
            case Spawn():
                group = call.group or (process.group if process.pid != KERNEL else "default")
                return Wanted("process.spawn", f"group:{group}", {"owner_group": group})
            case _ if kind(call).startswith("storage."):  # each agent has a root of its own
                facts = {"owner": process.agent, "owner_group": process.group}
                return Wanted(kind(call), _named(call), facts, to=_other(call))
            case _ if kind(call).startswith("memory."):
                return Wanted(kind(call), _named(call), KEPT)
            case _:
                return Wanted(kind(call), _named(call))

    def _process(self, actor: Process, action: str, pid: int) -> Wanted:
        if not self._processes.alive(pid):
            return Wanted(action, f"process:{pid}")  # whoever carries it out says what is wrong with it
        target = self._processes.get(pid)
        owner = actor.agent if actor in target.lineage() else target.agent
        return Wanted(
            action, f"process:{target.agent}", {"owner": owner, "owner_group": target.group}, f"process:{pid}"
        )


def _other(call: Any) -> str:
    """Where a file goes to, or what a link leads to."""
    path = getattr(call, "to", None) or getattr(call, "target", None)
    return f"file:{one(path)}" if isinstance(path, str) else ""


def bound(call: Call[object], seen: Mapping[str, int] | None = None) -> dict[str, Any]:
    """What an approval of a call is bound to: all that it does, the versions it does it to (`seen`), and not
    how it is delivered, for who sends it again after an answer may do so with another deadline or key."""
    told: dict[str, Any] = msgspec.to_builtins(call)
    if isinstance(call, CallTool):
        told |= {"arguments": plain(call.arguments)}
        told.pop("id", None)
    data, text = getattr(call, "data", b""), getattr(call, "text", None)
    if isinstance(text, str) and (data or text):
        told.pop("data", None)
        told["text"] = _readable(data or text.encode())
    if seen:
        told |= {SEEN: dict(seen)}
    return {field: value for field, value in told.items() if field not in DELIVERY}


def _readable(content: bytes) -> Any:
    """A content as a person can read it; what is long stands there with its SHA-256."""
    if len(content) > WHOLE:
        return {"sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)}
    try:
        return content.decode()
    except UnicodeDecodeError:
        return {"base64": base64.b64encode(content).decode()}


def plain(arguments: str | dict[str, Any]) -> Any:
    """A tool's arguments as plain data; a text that is no JSON stays one, and the tool says what is wrong with
    it."""
    if not isinstance(arguments, str):
        return arguments
    try:
        return msgspec.json.decode(arguments or "{}")
    except msgspec.DecodeError:
        return arguments


def _named(call: Any) -> str:
    """`file:/a` of a `storage.write` of path `/a`: the first field that names something."""
    family = kind(call).partition(".")[0]
    if family == "storage" and (path := getattr(call, "path", "")):
        return f"file:{one(path)}"
    for field in NAMED_BY:
        name = getattr(call, field, None)
        if isinstance(name, str) and name:
            return f"{'file' if family == 'storage' else family}:{name}"
    return f"{family}:"
