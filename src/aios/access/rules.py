"""Files of access rules: TOML with globs and with tests of its own, which are run when it is loaded.

[groups]                       # groups of groups: for rules and grants
staff = ["research", "ops"]

[[rules]]
id = "shell"
effect = "ask"                 # allow, ask, deny
actions = ["tool.call"]
resources = ["tool:shell"]
groups = ["research", "staff"]
when = { sink = true }         # facts
why = "Commands change this machine."
match = [{ action = "tool.call", resource = "tool:shell", group = "ops", facts = { sink = true } }]
not_match = [{ action = "tool.call", resource = "tool:clock" }]
"""

from __future__ import annotations

from collections.abc import Collection
from importlib.resources import files
from pathlib import Path
from typing import Any

import msgspec

from aios.access.decision import Effect, Facts, Subject, agent_id
from aios.access.globs import Names, matches
from aios.errors import ConfigError

SETTABLE = ("delete", "overwrite", "irreversible")
"""Ids of built-in rules that a setting turns off."""


class Case(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A case that a rule must match, or must not."""

    action: str
    resource: str = ""
    agent: str = "anybody"
    group: str = "default"
    labels: tuple[str, ...] = ()
    facts: dict[str, Any] = {}


class Rule(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One rule. It matches if all that it names does; what it leaves out, anything does. `labels`: the context
    has all of them. `agents`: names, or with a colon `group:name`. `when`: facts, each equal to the value or
    matching the glob. `except_groups`: it is not for them. `across`: it may open what belongs to others;
    without it, no `allow` and no `ask` does."""

    id: str
    effect: Effect
    actions: tuple[str, ...] = ("*",)
    resources: tuple[str, ...] = ("*",)
    agents: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()
    except_groups: tuple[str, ...] = ()
    labels: tuple[str, ...] = ()
    when: dict[str, Any] = {}
    across: bool = False
    why: str = ""
    match: tuple[Case, ...] = ()
    not_match: tuple[Case, ...] = ()


class RuleFile(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`groups`: which groups each one holds."""

    groups: dict[str, tuple[str, ...]] = {}
    rules: tuple[Rule, ...] = ()


def meets(facts: Facts, when: dict[str, Any]) -> bool:
    """Whether all facts are as a rule wants them; a fact that is missing is false."""
    for name, wanted in when.items():
        given = facts.get(name, False)
        if isinstance(wanted, str) and isinstance(given, str):
            if not matches(wanted, given):
                return False
        elif given != wanted or isinstance(given, bool) != isinstance(wanted, bool):
            return False
    return True


def applies(rule: Rule, subject: Subject, action: str, resource: str, facts: Facts) -> bool:
    """What a rule means, said plainly; policy.py finds the same faster."""
    return (
        action in Names(rule.actions)
        and resource in Names(rule.resources)
        and Names(rule.agents).names(subject.agent, subject.name)
        and Names(rule.groups).meets(subject.groups)
        and not (rule.except_groups and Names(rule.except_groups).meets(subject.groups))
        and subject.labels.issuperset(rule.labels)
        and meets(facts, rule.when)
    )


def built_in(ask: Collection[str] = SETTABLE) -> RuleFile:
    """The rules that hold where nobody wrote any: defaults.toml, of the SETTABLE ones those in `ask`."""
    file = parse(files("aios.access").joinpath("defaults.toml").read_text("utf-8"), "defaults.toml")
    off = frozenset(SETTABLE).difference(ask)
    return msgspec.structs.replace(file, rules=tuple(rule for rule in file.rules if rule.id not in off))


def load(path: Path) -> RuleFile:
    """Raises ConfigError: no such file, or what `parse` raises."""
    try:
        return parse(path.read_text("utf-8"), str(path))
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(
            f"The rules {path} can't be read: {error}.", "Correct `rules` of [access]."
        ) from error


def parse(text: str, name: str) -> RuleFile:
    """Read rules and run their tests. Raises ConfigError naming file, rule and mend."""
    try:
        file = msgspec.toml.decode(text, type=RuleFile)
    except msgspec.MsgspecError as error:
        raise ConfigError(f"{name}: {error}.", "See docs/howto/access.md for the form of rules.") from error
    seen: set[str] = set()
    for rule in file.rules:
        if rule.id in seen or not rule.id:
            raise ConfigError(f"{name}: two rules are called {rule.id!r}.", "Give each an id of its own.")
        seen.add(rule.id)
        for kind, cases, wanted in (("match", rule.match, True), ("not_match", rule.not_match, False)):
            for number, case in enumerate(cases):
                _check(name, file, rule, kind, number, case, wanted)
    return file


def held_by(groups: dict[str, tuple[str, ...]], group: str) -> frozenset[str]:
    """`group` and all groups that hold it, directly or through others. Circles do no harm."""
    found, todo = {group}, [group]
    while todo:
        member = todo.pop()
        for holder, members in groups.items():
            if holder not in found and member in Names(members) and members:
                found.add(holder)
                todo.append(holder)
    return frozenset(found)


def _check(name: str, file: RuleFile, rule: Rule, kind: str, number: int, case: Case, wanted: bool) -> None:
    group = case.group
    subject = Subject(
        agent_id(group, case.agent), case.agent, group, held_by(file.groups, group), frozenset(case.labels)
    )
    if applies(rule, subject, case.action, case.resource, case.facts) is not wanted:
        what = "does not match" if wanted else "matches"
        raise ConfigError(
            f"{name}: rule {rule.id!r} {what} its {kind}[{number}] ({case.action} on {case.resource!r} by"
            f" {case.agent!r} of {case.group!r}).",
            f"Correct the rule, or take that case out of `{kind}`.",
        )
