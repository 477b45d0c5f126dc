"""What a syscall wants, in the words of access control: an action, a resource, and what the kernel knows of
it."""

from __future__ import annotations

from types import MappingProxyType
from typing import Any, NamedTuple

import msgspec

from aios.access.decision import Facts
from aios.kernel.pcb import Process
from aios.kernel.process import KERNEL, ProcessTable
from aios.syscalls import Call, DeclarePlan, Embed, Exit, Generate, Nice, SendSignal, Spawn, kind

NO_FACTS: Facts = MappingProxyType({})
KEPT: Facts = MappingProxyType({"kept": True})
NAMED_BY = ("path", "id", "name", "tool", "source")
"""Fields that name the resource of a syscall that is not told of here."""


class Wanted(NamedTuple):
    action: str
    resource: str
    facts: Facts = NO_FACTS
    named: str = ""
    """How the caller named the resource, if its name is not the caller's to know; "": by that."""


class Reader:
    """Reads syscalls. Process calls are about the process they name: its owner is itself, or who asks if that
    stands above it."""

    def __init__(self, processes: ProcessTable) -> None:
        self._processes = processes

    def of(self, process: Process, call: Call[object]) -> Wanted:
        match call:
            case Generate() | Embed():
                return Wanted(kind(call), f"model:{call.model}")
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
                return Wanted(kind(call), _named(call), {"owner": process.agent, "owner_group": process.group})
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


def arguments(call: Call[object]) -> dict[str, Any]:
    """What a person is asked about: all of `call` but its idempotency key, which says nothing of the deed."""
    fields = msgspec.to_builtins(call)
    fields.pop("idempotency_key", None)
    return fields


def _named(call: Any) -> str:
    """`file:/a` of a `storage.write` of path `/a`: the first field that names something."""
    family = kind(call).partition(".")[0]
    for field in NAMED_BY:
        name = getattr(call, field, None)
        if isinstance(name, str) and name:
            return f"{'file' if family == 'storage' else family}:{name}"
    return f"{family}:"
