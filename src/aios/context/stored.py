"""Contexts by their tokens: what a sequence can start from."""

from __future__ import annotations

from collections.abc import Iterator

from aios.context.entry import Entry
from aios.context.prefix import RadixTrie

MIN_SHARED = 32
"""A shared prefix gets an entry of its own when it is so much longer than one that has."""

Realm = tuple[str, int]


class Stored:
    """A trie for each privilege group, whose processes may start from each other's contexts; without `share`
    for each process of it. Entries of process 0 are the group's own."""

    def __init__(self, *, share: bool) -> None:
        self.share = share
        self._tries: dict[Realm, RadixTrie[str, Entry]] = {}
        self._shared: dict[str, set[Entry]] = {}
        """By group: its own."""

    def insert(self, entry: Entry) -> None:
        realm = self._realm(entry.group, entry.pid)
        self._tries.setdefault(realm, RadixTrie[str, Entry]("")).insert(entry.tokens, entry)
        if entry.pid == 0:
            self._shared.setdefault(entry.group, set()).add(entry)

    def remove(self, entry: Entry) -> None:
        """Raises KeyError if it is not there."""
        realm = self._realm(entry.group, entry.pid)
        trie = self._tries[realm]
        trie.remove(entry.tokens, entry)
        if not trie:
            del self._tries[realm]
        if entry.pid == 0:
            self._shared[entry.group].discard(entry)

    def longest(self, group: str, pid: int, tokens: str) -> tuple[int, Iterator[Entry]]:
        """The length of the longest prefix of `tokens` that something has from which a process of that group
        may start; and all that have it."""
        trie = self._tries.get(self._realm(group, pid))
        return (0, iter(())) if trie is None else trie.longest(tokens)

    def should_share(self, group: str, tokens: str) -> bool:
        """Whether `tokens`, which two contexts have, deserve an entry of the group's own."""
        own = self._shared.get(group, ())
        have = max((len(each.tokens) for each in own if tokens.startswith(each.tokens)), default=0)
        return self.share and len(tokens) - have >= MIN_SHARED

    def _realm(self, group: str, pid: int) -> Realm:
        return group, 0 if self.share else pid
