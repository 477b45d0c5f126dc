"""Rules: what they mean, what is wrong with them, and what holds without any."""

from __future__ import annotations

import pytest

from aios.access.cedar import CedarPolicy
from aios.access.decision import AccessPolicy, Decision, Subject
from aios.access.policy import RulePolicy, from_settings
from aios.access.rules import built_in, held_by, parse
from aios.config import AccessSettings
from aios.errors import ConfigError

ANN = Subject("research:ann", "ann", "research", frozenset({"research", "staff"}))
ADMIN = Subject("admin:root", "root", "admin", frozenset({"admin"}))


def policy(text: str) -> RulePolicy:
    return RulePolicy([built_in(), parse(text, "mine.toml")])


def effects(policy: AccessPolicy, *cases: tuple[str, str], by: Subject = ANN, **facts: object) -> list[str]:
    return [policy.decide(by, action, resource, facts).effect for action, resource in cases]


def test_the_strictest_rule_wins_whatever_the_order() -> None:
    rules = policy("""
        [[rules]]
        id = "open"
        effect = "allow"
        [[rules]]
        id = "shell"
        effect = "ask"
        resources = ["tool:shell", "tool:py*"]
        why = "It runs code."
        [[rules]]
        id = "never"
        effect = "deny"
        resources = ["tool:shell"]
        agents = ["bob", "ann/*"]
    """)
    assert effects(rules, ("tool.call", "tool:clock"), ("tool.call", "tool:python")) == ["allow", "ask"]
    assert rules.decide(ANN, "tool.call", "tool:shell", {}) == Decision(
        effect="ask", rule="shell", why="It runs code."
    )
    below = Subject("research:ann/web", "ann/web", "research", frozenset({"research"}))
    assert rules.decide(below, "tool.call", "tool:shell", {}).rule == "never"


def test_a_star_does_not_stop_at_a_slash() -> None:
    rules = policy('[[rules]]\nid = "s"\neffect = "deny"\nresources = ["file:/secret/*"]')
    deep = [
        ("storage.read", "file:/secret/a"),
        ("storage.read", "file:/secret/a/b"),
        ("storage.read", "file:/b"),
    ]
    assert effects(rules, *deep) == ["deny", "deny", "allow"]


def test_without_rules_data_is_private_the_rest_is_the_groups_and_nothing_crosses_groups() -> None:
    rules = policy("")
    group, other = "research", "ops"
    read, kill = ("memory.read", "memory:n_1"), ("process.kill", "process:x")
    assert effects(rules, read, kill, owner="research:ann", owner_group=group) == ["allow", "allow"]
    assert effects(rules, read, kill, owner="research:bob", owner_group=group) == ["deny", "allow"]
    assert effects(rules, read, kill, owner="ops:eve", owner_group=other) == ["deny", "deny"]
    assert effects(rules, read, owner="ops:eve", owner_group=other, granted=True) == ["allow"]
    assert effects(rules, kill, owner="research/web:w", owner_group="research/web") == ["allow"]
    assert effects(rules, kill, owner="researchers:w", owner_group="researchers") == ["deny"]
    assert effects(rules, read, kill, owner="ops:eve", owner_group=other, by=ADMIN) == ["allow", "allow"]


def test_a_rule_opens_what_belongs_to_others_only_if_it_says_so() -> None:
    case = ("memory.read", "memory:n_1")
    foreign = {"owner": "ops:eve", "owner_group": "ops"}
    for effect in ("allow", "ask"):
        text = f'[[rules]]\nid = "r"\neffect = "{effect}"\nactions = ["memory.*"]'
        assert effects(policy(text), case, **foreign) == ["deny"]
        assert effects(policy(f"{text}\nacross = true"), case, **foreign) == [effect]


def test_what_destroys_and_what_may_leak_is_asked_without_any_rule() -> None:
    rules = policy("")
    assert effects(rules, ("storage.purge", "file:/a"), irreversible=True) == ["ask"]
    assert effects(rules, ("storage.purge", "file:/a"), irreversible=True, by=ADMIN) == ["allow"]
    seen = Subject("research:ann", "ann", "research", ANN.groups, frozenset({"private", "untrusted"}))
    once = Subject("research:ann", "ann", "research", ANN.groups, frozenset({"private"}))
    assert [effects(rules, ("tool.call", "tool:http"), by=who, sink=True) for who in (seen, once)] == [
        ["ask"],
        ["allow"],
    ]


def test_a_rule_of_ones_own_takes_the_place_of_a_built_in_one_with_its_id() -> None:
    rules = policy('[[rules]]\nid = "irreversible"\neffect = "deny"\nwhen = { irreversible = true }')
    assert effects(rules, ("storage.purge", "file:/a"), irreversible=True) == ["deny"]


def test_groups_hold_groups_and_circles_do_no_harm() -> None:
    groups = {"staff": ("research", "ops"), "all": ("staff", "guests"), "ops": ("all",)}
    assert held_by(groups, "research") == {"research", "staff", "all", "ops"}
    assert held_by(groups, "nobody") == {"nobody"}
    rules = policy("""
        [groups]
        staff = ["research"]
        [[rules]]
        id = "r"
        effect = "deny"
        groups = ["staff"]
    """)
    assert rules.groups_of("research") == {"research", "staff"}
    assert effects(rules, ("tool.call", "tool:x")) == ["deny"]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ('[[rules]]\nid = "a"\neffect = "maybe"', "mine.toml: Invalid enum value 'maybe'"),
        ('[[rules]]\nid = "a"\neffect = "deny"\nactoins = []', "unknown field `actoins`"),
        (
            '[[rules]]\nid = "a"\neffect = "deny"\n[[rules]]\nid = "a"\neffect = "ask"',
            "two rules are called 'a'",
        ),
        (
            '[[rules]]\nid = "a"\neffect = "deny"\nagents = ["b"]\nmatch = [{ action = "x.y", agent = "ann" }]',
            "rule 'a' does not match its match[0] (x.y on '' by 'ann' of 'default')",
        ),
        (
            '[[rules]]\nid = "a"\neffect = "deny"\nnot_match = [{ action = "x.y" }]',
            "rule 'a' matches its not_match[0]",
        ),
        ("rules = 3", "Expected `array`"),
        ("[[rules", "mine.toml"),
    ],
)
def test_a_wrong_file_is_named_with_the_rule_and_the_mend(text: str, told: str) -> None:
    with pytest.raises(ConfigError) as error:
        parse(text, "mine.toml")
    assert told in str(error.value)
    assert error.value.mend


def test_rules_come_from_the_files_of_the_settings(tmp_path) -> None:
    file = tmp_path / "rules.toml"
    file.write_text('[[rules]]\nid = "mine"\neffect = "deny"\nresources = ["tool:x"]')
    rules = from_settings(AccessSettings(rules=(str(file),)))
    assert rules.decide(ANN, "tool.call", "tool:x", {}).rule == "mine"
    with pytest.raises(ConfigError, match="can't be read"):
        from_settings(AccessSettings(rules=(str(tmp_path / "none"),)))


def test_cedar_decides_behind_the_same_protocol() -> None:
    cedar: AccessPolicy = CedarPolicy(
        """
        @id("tools") @ask("Are you sure?")
        permit(principal in Group::"staff", action in Action::"tool", resource);
        @id("sinks")
        forbid(principal, action, resource) when { context has sink && context.sink };
        @id("clerks") @across("")
        permit(principal == Agent::"research:ann", action == Action::"memory.read", resource);
        @id("all")
        permit(principal, action == Action::"memory.write", resource);
        """
    )
    foreign = {"owner": "ops:eve", "owner_group": "ops"}
    assert cedar.decide(ANN, "tool.call", "tool:x", {}) == Decision(
        effect="ask", rule="tools", why="Are you sure?"
    )
    assert cedar.decide(ANN, "tool.call", "tool:x", {"sink": True}).rule == "sinks"
    assert cedar.decide(ANN, "memory.read", "memory:1", foreign).effect == "allow"
    assert cedar.decide(ANN, "memory.write", "memory:1", foreign).rule == "default.private"
    assert cedar.decide(ANN, "llm.generate", "model:q", {}).rule == "default.open"
    with pytest.raises(ConfigError):
        CedarPolicy("permit(")
