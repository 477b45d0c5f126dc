"""What contexts, memories and files have seen: `private` data, `untrusted` text (or any label of a rule's).

Labels only add up (Denning 1976, section 3: information flows up the lattice, which here is that of sets):
what reads something has its labels from then on, what is written has those of its writer, a child those of its
parent. Only declassifying takes them away, and that is asked for."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from aios.access.decision import NO_LABELS, Facts

FROM_FACTS: Mapping[str, str] = {"private": "private", "untrusted": "untrusted"}
"""Facts of what was read that become labels."""


class Labels:
    """Labels by name: of an agent (`agent:research:ann`). Memories and files have theirs in their stores."""

    def __init__(self, known: Mapping[str, Iterable[str]] | None = None) -> None:
        self._labels = {name: frozenset(labels) for name, labels in (known or {}).items()}

    def names(self) -> tuple[str, ...]:
        return tuple(self._labels)

    def of(self, name: str) -> frozenset[str]:
        return self._labels.get(name, NO_LABELS)

    def add(self, name: str, labels: Iterable[str]) -> bool:
        """Whether that changed anything."""
        before = self.of(name)
        after = before.union(labels)
        if after == before:
            return False
        self._labels[name] = after
        return True

    def remove(self, name: str, labels: Iterable[str] | None = None) -> bool:
        """Declassify: these, or all. Whether that changed anything."""
        before = self._labels.pop(name, NO_LABELS)
        after = NO_LABELS if labels is None else before.difference(labels)
        if after:
            self._labels[name] = after
        return after != before


def from_facts(facts: Facts) -> frozenset[str]:
    """Labels that something returned brings with it."""
    return frozenset(label for fact, label in FROM_FACTS.items() if facts.get(fact))
