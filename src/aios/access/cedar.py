"""Access rules in Cedar (Cutler et al. 2024), for those who have them: `policy = "cedar"` of [access].

`rules` name files of Cedar policies. The principal is `Agent::"group:name"` in each `Group::"…"` that holds
it, the action `Action::"memory.read"` in `Action::"memory"`, the resource `Resource::"file:/a"`; the context
has the facts and `labels`. `@id("…")` names a policy; `@ask("why")` on a permit makes it ask; as with rules of
TOML, only what says `@across("")` opens what belongs to others. A forbid denies; where no policy matches, the
defaults of policy.py hold. Needs `pip install 'aios[cedar]'`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aios.access.decision import Decision, Facts, Subject
from aios.access.policy import by_default
from aios.access.rules import built_in, held_by
from aios.errors import ConfigError

if TYPE_CHECKING:
    from aios.config import AccessSettings


class CedarPolicy:
    """Policies of one text. Some hundred microseconds a decision: the built-in rules are far faster."""

    def __init__(
        self, text: str, name: str = "cedar", groups: Mapping[str, tuple[str, ...]] | None = None
    ) -> None:
        """Raises ConfigError: cedarpy is missing, or the text is no Cedar."""
        try:
            import cedarpy
        except ImportError as error:
            raise ConfigError("Cedar is not installed.", "pip install 'aios[cedar]'") from error
        self._cedar: Any = cedarpy
        try:
            self._policies: Any = cedarpy.PolicySet.from_str(text)
            told = json.loads(cedarpy.policies_to_json_str(text))["staticPolicies"]
        except ValueError as error:
            raise ConfigError(
                f"{name}: {error}.", "Correct the policy; its language is at cedarpolicy.com."
            ) from error
        self._notes: dict[str, dict[str, str | None]] = {
            id: policy.get("annotations", {}) for id, policy in told.items()
        }
        self._holders = dict(groups or {})

    def groups_of(self, group: str) -> frozenset[str]:
        return held_by(self._holders, group)

    def decide(self, subject: Subject, action: str, resource: str, facts: Facts) -> Decision:
        base = by_default(subject, action, facts)
        answer = self._cedar.is_authorized(
            {
                "principal": {"type": "Agent", "id": subject.agent},
                "action": {"type": "Action", "id": action},
                "resource": {"type": "Resource", "id": resource},
                "context": _context(subject, facts),
            },
            self._policies,
            _entities(subject, action),
        )
        reasons: list[str] = list(answer.diagnostics.reasons)
        if answer.diagnostics.errors:
            return Decision(
                effect="deny", rule="cedar.error", why="; ".join(map(str, answer.diagnostics.errors))
            )
        if not answer.allowed and reasons:
            return Decision(effect="deny", rule=self._named(reasons[0]), why="A policy forbids it.")
        if base.effect == "deny":
            reasons = [reason for reason in reasons if "across" in self._notes.get(reason, {})]
        for reason in reasons:
            if "ask" in (notes := self._notes.get(reason, {})):
                return Decision(effect="ask", rule=self._named(reason), why=notes["ask"] or "")
        return Decision(effect="allow", rule=self._named(reasons[0])) if reasons else base

    def _named(self, policy: str) -> str:
        return self._notes.get(policy, {}).get("id") or policy


def from_settings(settings: AccessSettings) -> CedarPolicy:
    """The files that `settings.rules` names. Raises ConfigError."""
    parts: list[str] = []
    for name in settings.rules:
        try:
            parts.append(Path(name).expanduser().read_text("utf-8"))
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(
                f"The policies {name} can't be read: {error}.", "Correct `rules` of [access]."
            ) from error
    return CedarPolicy("\n".join(parts), ", ".join(settings.rules), built_in().groups)


def _context(subject: Subject, facts: Facts) -> dict[str, Any]:
    plain = {name: value for name, value in facts.items() if isinstance(value, str | bool | int)}
    return {**plain, "labels": sorted(subject.labels)}


def _entities(subject: Subject, action: str) -> list[dict[str, Any]]:
    agent = {
        "uid": {"type": "Agent", "id": subject.agent},
        "attrs": {"name": subject.name, "group": subject.group},
        "parents": [{"type": "Group", "id": group} for group in sorted(subject.groups)],
    }
    family = [{"type": "Action", "id": action.partition(".")[0]}] if "." in action else []
    return [agent, {"uid": {"type": "Action", "id": action}, "attrs": {}, "parents": family}]
