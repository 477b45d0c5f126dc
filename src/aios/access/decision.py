"""What is asked of access control, and what it answers.

An *action* is `family.verb` (`llm.generate`, `memory.read`, `tool.call`); a *resource* is `kind:name`
(`model:qwen`, `file:/notes/a.md`, `process:research:ann`). *Facts* are what the one who calls knows of the
case; these have a meaning of their own:

- `owner`: the agent (`group:name`) whose it is, `owner_group`: its privilege group. Without them it is
everybody's. - `kept`: its manager shows each agent only what is its own and what others share with it.
- `granted`: the owner let the subject do this. - `irreversible`: nothing brings back what it
changes. `sink`: it sends data out. `private`, `untrusted`: it returns
  such data.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, Protocol

import msgspec

from aios.syscalls import Record

Effect = Literal["allow", "ask", "deny"]
Facts = Mapping[str, object]
STRICTNESS: Mapping[Effect, int] = {"deny": 0, "ask": 1, "allow": 2}
"""The smaller wins."""
NO_LABELS: frozenset[str] = frozenset()


class Subject(msgspec.Struct, frozen=True, gc=False):
    """Who acts. `agent` is `group:name`; `groups` are its own group and all that hold it; `labels` say what its
    context has seen."""

    agent: str
    name: str
    group: str
    groups: frozenset[str]
    labels: frozenset[str] = NO_LABELS


class Decision(Record, frozen=True):
    """`rule` is the id of what decided: a rule of a file, or one of the defaults of policy.py."""

    effect: Effect
    rule: str
    why: str = ""


class AccessPolicy(Protocol):
    """Decides. Pure: it sees what is passed and changes nothing; it must answer within microseconds, for every
    syscall asks it. Registered under `aios.access`, made with `settings: AccessSettings`; raises ConfigError
    then."""

    def decide(self, subject: Subject, action: str, resource: str, facts: Facts) -> Decision: ...

    def groups_of(self, group: str) -> frozenset[str]:
        """`group` and all groups that hold it."""
        ...


def agent_id(group: str, name: str) -> str:
    """How agents are named everywhere in access control: names are unique within a privilege group."""
    return f"{group}:{name}"


def within(group: str, other: str) -> bool:
    """Whether `other` is `group` or below it (`research/web` is below `research`)."""
    return other == group or other.startswith(f"{group}/")
