"""The index of rules finds what reading them one by one finds."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from aios.access.decision import STRICTNESS, Subject
from aios.access.globs import matches
from aios.access.policy import RulePolicy, by_default
from aios.access.rules import Rule, RuleFile, applies

TEXT = st.text("ab/*?", max_size=4)
PLAIN = st.text("ab/", max_size=4)
RESOURCES = st.lists(TEXT.map(lambda t: f"k:{t}") | TEXT, min_size=1, max_size=3).map(tuple)
ACTIONS = st.sampled_from(["memory.read", "memory.write", "tool.call"])
GLOBS = st.sampled_from(["*", "memory.*", "tool.call", "*.read", "?emory.read"])
NAMES = st.lists(st.sampled_from(["ann", "b*", "bob", "*", "g:ann", "g:b*", "h:*", "*:carl"]), max_size=2).map(
    tuple
)
FACTS = st.fixed_dictionaries(
    {},
    optional={"sink": st.booleans(), "owner": st.sampled_from(["g:ann", "h:eve"]), "owner_group": st.just("h")},
)
RULES = st.builds(
    Rule,
    id=st.uuids().map(str),
    effect=st.sampled_from(["allow", "ask", "deny"]),
    actions=st.lists(GLOBS, min_size=1, max_size=2).map(tuple),
    resources=RESOURCES,
    agents=NAMES,
    groups=st.sampled_from([(), ("g",), ("staff",), ("g", "staff"), ("g", "x*"), ("other",), ("st*",)]),
    except_groups=st.sampled_from([(), ("g",)]),
    labels=st.sampled_from([(), ("private",)]),
    when=st.sampled_from([{}, {"sink": True}, {"owner": "h:*"}]),
    across=st.booleans(),
)
SUBJECTS = st.builds(
    Subject,
    agent=st.sampled_from(["g:ann", "g:bob", "g:carl"]),
    name=st.sampled_from(["ann", "bob", "carl"]),
    group=st.just("g"),
    groups=st.sampled_from([frozenset({"g"}), frozenset({"g", "staff"})]),
    labels=st.sampled_from([frozenset(), frozenset({"private"})]),
)


@settings(max_examples=600)
@given(st.lists(RULES, max_size=8), SUBJECTS, ACTIONS, PLAIN.map(lambda t: f"k:{t}") | PLAIN, FACTS)
def test_the_index_decides_what_the_rules_say(rules, subject, action, resource, facts) -> None:
    base = by_default(subject, action, facts)
    heard = [
        rule
        for rule in rules
        if applies(rule, subject, action, resource, facts)
        and (base.effect != "deny" or rule.across or rule.effect == "deny")
    ]
    decided = RulePolicy([RuleFile(rules=tuple(rules))]).decide(subject, action, resource, facts)
    if heard:
        assert decided.effect == min((rule.effect for rule in heard), key=STRICTNESS.__getitem__)
        assert decided.rule in {rule.id for rule in heard if rule.effect == decided.effect}
    else:
        assert decided == base


@given(TEXT, PLAIN)
def test_globs_match_as_they_say(pattern, text) -> None:
    def by_hand(p: str, t: str) -> bool:
        if not p:
            return not t
        if p[0] == "*":
            return by_hand(p[1:], t) or bool(t and by_hand(p, t[1:]))
        return bool(t) and p[0] in ("?", t[0]) and by_hand(p[1:], t[1:])

    assert matches(pattern, text) == by_hand(pattern, text)
