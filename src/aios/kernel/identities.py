"""Who there is: agents by their keys and processes, with what they may and what their contexts have seen."""

from __future__ import annotations

from collections.abc import Iterable

from aios.access.decision import agent_id
from aios.access.keys import Agent
from aios.kernel.guard import Guard
from aios.kernel.pcb import Process
from aios.syscalls import Record


class AgentInfo(Record, frozen=True):
    """One agent. `groups`: its privilege group and all that hold it. `keys`: how many it has. `labels`: what
    the contexts of its processes have seen. `grants`: how many it gave."""

    agent: str
    name: str
    group: str
    groups: tuple[str, ...]
    keys: int = 0
    pids: tuple[int, ...] = ()
    labels: tuple[str, ...] = ()
    grants: int = 0


def agents(keys: Iterable[Agent], processes: Iterable[Process], guard: Guard) -> tuple[AgentInfo, ...]:
    """By name."""
    keyed: dict[str, int] = {}
    running: dict[str, list[Process]] = {}
    named: dict[str, tuple[str, str]] = {}
    for key in keys:
        id = agent_id(key.group, key.name)
        keyed[id] = keyed.get(id, 0) + 1
        named[id] = key.group, key.name
    for process in processes:
        running.setdefault(process.agent, []).append(process)
        named[process.agent] = process.group, process.name
    return tuple(
        AgentInfo(
            agent=id, name=name, group=group, groups=tuple(sorted(guard.policy.groups_of(group))),
            keys=keyed.get(id, 0), pids=tuple(sorted(p.pid for p in running.get(id, ()))),
            labels=tuple(sorted({label for p in running.get(id, ()) for label in guard.subject(p).labels})),
            grants=len(guard.grants.list(id)),
        )
        for id, (group, name) in sorted(named.items())
    )  # fmt: skip
