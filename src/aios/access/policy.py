"""The built-in policy: rules of files over a few defaults; the strictest that matches wins.

Where no rule matches: what belongs to nobody is open; what is one's own too; data of others (memory, files,
contexts) needs a grant; anything else of one's own privilege group, or of one below it, is open; the rest is
denied. A rule opens what belongs to others only if it says `across`.

Rules are found by action, by whom they name (an agent, else a group, else anybody), and by what comes before
the first wildcard of their resource, so that a decision costs what the rules cost that may match, and not what
the file is long."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aios.access.decision import STRICTNESS, Decision, Facts, Subject, within
from aios.access.globs import Names, compiled, is_literal, prefix
from aios.access.keys import ADMIN_GROUP
from aios.access.rules import Rule, RuleFile, built_in, held_by, load, meets

if TYPE_CHECKING:
    from aios.config import AccessSettings

DATA = frozenset({"memory", "storage", "context"})
"""Families of actions on what an agent keeps for itself."""
ACTIONS_KEPT = 4096
"""Actions whose rules are kept together; there are as many as kinds of syscalls."""

OPEN = Decision(effect="allow", rule="default.open", why="It belongs to nobody.")
OWN = Decision(effect="allow", rule="default.own", why="It is the agent's own.")
KEPT = Decision(effect="allow", rule="default.kept", why="Its manager shows only what is one's own or shared.")
ADMIN = Decision(effect="allow", rule="default.admin", why="Admins may, where no rule says otherwise.")
GROUP = Decision(effect="allow", rule="default.group", why="It belongs to the agent's privilege group.")
GRANTED = Decision(effect="allow", rule="default.granted", why="Its owner granted it.")
PRIVATE = Decision(effect="deny", rule="default.private", why="It is another agent's, who granted nothing.")
ACROSS = Decision(effect="deny", rule="default.across", why="It belongs to another privilege group.")


def by_default(subject: Subject, action: str, facts: Facts) -> Decision:
    """What holds where no rule says anything."""
    owner = facts.get("owner")
    if owner == subject.agent:
        return OWN
    group = facts.get("owner_group")
    if owner is None and group is None:
        return KEPT if facts.get("kept") else OPEN
    if subject.group == ADMIN_GROUP:
        return ADMIN
    if facts.get("granted"):
        return GRANTED
    if owner is not None and action.partition(".")[0] in DATA:
        return PRIVATE
    return GROUP if isinstance(group, str) and within(subject.group, group) else ACROSS


class RulePolicy:
    """Rules of `files`; a later rule takes the place of an earlier one with its id."""

    def __init__(self, files: Iterable[RuleFile]) -> None:
        rules: dict[str, Rule] = {}
        self._holders: dict[str, tuple[str, ...]] = {}
        for file in files:
            rules |= {rule.id: rule for rule in file.rules}
            self._holders |= file.groups
        self._rules = tuple(rules.values())
        self._indexes: dict[str, _Index] = {}
        self._groups: dict[str, frozenset[str]] = {}

    def groups_of(self, group: str) -> frozenset[str]:
        found = self._groups.get(group)
        if found is None:
            found = held_by(self._holders, group)
            if len(self._groups) < ACTIONS_KEPT:
                self._groups[group] = found
        return found

    def decide(self, subject: Subject, action: str, resource: str, facts: Facts) -> Decision:
        index = self._indexes.get(action) or self._index(action)
        base = by_default(subject, action, facts)
        foreign = base.effect == "deny"
        best: _Matcher | None = None
        for shelf in index.shelves(subject):
            for matchers in shelf.about(resource):
                for matcher in matchers:
                    if best is not None and matcher.rank >= best.rank:
                        break  # the stricter ones stand first
                    if (matcher.opens or not foreign) and matcher.matches(subject, resource, facts):
                        best = matcher
        return base if best is None else best.decision

    def _index(self, action: str) -> _Index:
        index = _Index(rule for rule in self._rules if action in Names(rule.actions))
        if len(self._indexes) < ACTIONS_KEPT:
            self._indexes[action] = index
        return index


def from_settings(settings: AccessSettings) -> RulePolicy:
    """The built-in rules, as `settings.ask` has them, and those of `settings.rules`. Raises ConfigError."""
    return RulePolicy((built_in(settings.ask), *(load(Path(path).expanduser()) for path in settings.rules)))


class _Matcher:
    """One rule for one pattern of a resource."""

    __slots__ = (
        "_agents",
        "_besides",
        "_glob",
        "_groups",
        "_labels",
        "_not_for",
        "_when",
        "decision",
        "opens",
        "rank",
    )

    def __init__(self, rule: Rule, pattern: str) -> None:
        self.decision = Decision(effect=rule.effect, rule=rule.id, why=rule.why)
        self.rank = STRICTNESS[rule.effect]
        self.opens = rule.across or rule.effect == "deny"
        whole = is_literal(pattern) or pattern == prefix(pattern) + "*"  # then the index has said it all
        self._glob: Callable[[str], Any] | None = None if whole else compiled(pattern).fullmatch
        agents, groups = Names(rule.agents), Names(rule.groups)
        self._agents = None if agents.all else agents
        self._groups = None if groups.all else groups
        self._not_for = Names(rule.except_groups) if rule.except_groups else None
        self._labels = frozenset(rule.labels)
        self._when = rule.when

    def matches(self, subject: Subject, resource: str, facts: Facts) -> bool:
        return (
            (self._glob is None or self._glob(resource) is not None)
            and (self._agents is None or self._agents.names(subject.agent, subject.name))
            and (not self._labels or self._labels <= subject.labels)
            and (not self._when or meets(facts, self._when))
            and (self._groups is None or self._groups.meets(subject.groups))
            and (self._not_for is None or not self._not_for.meets(subject.groups))
        )


class _Shelf:
    """Rules by their resources, the strictest first."""

    __slots__ = ("_anywhere", "_exact", "_lengths", "_prefixes")

    def __init__(self, rules: Iterable[Rule]) -> None:
        exact: defaultdict[str, list[_Matcher]] = defaultdict(list)
        prefixes: defaultdict[str, list[_Matcher]] = defaultdict(list)
        for rule in sorted(rules, key=lambda rule: STRICTNESS[rule.effect]):
            for pattern in rule.resources:
                (exact if is_literal(pattern) else prefixes)[prefix(pattern)].append(_Matcher(rule, pattern))
        self._anywhere = tuple(prefixes.pop("", ()))
        self._exact = {text: tuple(found) for text, found in exact.items()}
        self._prefixes = {text: tuple(found) for text, found in prefixes.items()}
        self._lengths = tuple(sorted({len(text) for text in prefixes}))

    def about(self, resource: str) -> Iterator[tuple[_Matcher, ...]]:
        """The rules that may be about it."""
        if self._anywhere:
            yield self._anywhere
        if found := self._exact.get(resource):
            yield found
        for length in self._lengths:
            if length > len(resource):
                break
            if found := self._prefixes.get(resource[:length]):
                yield found


class _Index:
    """The rules for one action, by whom they are for."""

    __slots__ = ("_anybody", "_by_agent", "_by_group")

    def __init__(self, rules: Iterable[Rule]) -> None:
        anybody: list[Rule] = []
        by_agent: defaultdict[str, list[Rule]] = defaultdict(list)
        by_group: defaultdict[str, list[Rule]] = defaultdict(list)
        for rule in rules:
            # One name of each is enough to find it by: what else it wants its matcher sees to.
            if rule.agents and all(map(is_literal, rule.agents)):
                for name in set(rule.agents):
                    by_agent[name].append(rule)
            elif rule.groups and all(map(is_literal, rule.groups)):
                for name in set(rule.groups):
                    by_group[name].append(rule)
            else:
                anybody.append(rule)
        self._anybody = _Shelf(anybody)
        self._by_agent = {name: _Shelf(found) for name, found in by_agent.items()}
        self._by_group = {name: _Shelf(found) for name, found in by_group.items()}

    def shelves(self, subject: Subject) -> Iterator[_Shelf]:
        """Those with rules that may be for it."""
        yield self._anybody
        if self._by_agent:
            for name in (subject.name, subject.agent):
                if shelf := self._by_agent.get(name):
                    yield shelf
        if self._by_group:
            for group in subject.groups:
                if shelf := self._by_group.get(group):
                    yield shelf
