"""Sequences under keys, shared prefixes stored once: how conversation history is kept.

Every turn of a chat repeats all turns before it, and many chats begin with the same system prompt; in a trie
each of these runs is one edge. The trie is in RAM; what a change does to its edges is told as plain data, so
that its owner can keep the edges on disk.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, Generic

from aios.context.prefix import Node, RadixTrie, S


@dataclass(frozen=True, slots=True)
class Edge(Generic[S]):
    """One edge: its number, the edge above it (None: the root), and the run of elements on it."""

    number: int
    parent: int | None
    label: S


@dataclass(slots=True)
class Changes(Generic[S]):
    """What one call did: edges to be written (new or changed), edges gone, and where the key now ends (None:
    at the root); `dropped`: the key is gone."""

    written: list[Edge[S]] = field(default_factory=list)  # pyright: ignore[reportUnknownVariableType]
    gone: list[int] = field(default_factory=list[int])
    end: int | None = None
    dropped: bool = False


class HistoryTrie(Generic[S]):
    """A map from keys to sequences. `numbers` gives each new edge its number."""

    def __init__(self, empty: S, numbers: Iterator[int]) -> None:
        self._trie: RadixTrie[S, str] = RadixTrie(empty)
        self._ends: dict[str, Node[S, str]] = {}
        self._numbers: dict[Node[S, str], int] = {}
        self._fresh = numbers
        self._empty = empty
        self.stored = 0
        """Elements on all edges together."""

    def __len__(self) -> int:
        return len(self._ends)

    def __contains__(self, key: str) -> bool:
        return key in self._ends

    def load(self, edges: Iterable[Edge[S]], ends: Iterable[tuple[str, int | None]]) -> None:
        """Fill an empty trie with what `Changes` told of an earlier one. Raises KeyError if edges miss."""
        edges = list(edges)
        nodes: dict[int | None, Node[S, str]] = {edge.number: Node(edge.label) for edge in edges}
        nodes[None] = self._trie.root
        for edge in edges:
            node, parent = nodes[edge.number], nodes[edge.parent]
            node.parent = parent
            parent.children[edge.label[0]] = node
            self._numbers[node] = edge.number
            self.stored += len(edge.label)
        for key, number in ends:
            self._ends[key] = nodes[number]
            nodes[number].entries.append(key)

    def put(self, key: str, sequence: S) -> Changes[S]:
        """Store `sequence` under `key`, in the place of what it had. In time proportional to the sequence."""
        changes = Changes[S]()
        before = self._ends.get(key)
        end = self._ends[key] = self._trie.insert(sequence, key)
        self._note_new(end, changes)
        if before is not None:
            self._discard(before, key, changes)
        changes.end = self._numbers.get(end)
        return changes

    def get(self, key: str) -> S:
        """Raises KeyError."""
        labels: list[S] = []
        node: Node[S, str] | None = self._ends[key]
        while node is not None:
            labels.append(node.label)
            node = node.parent
        return _joined(labels[::-1], self._empty)

    def drop(self, key: str) -> Changes[S]:
        """Forget a key and what only it needed. Raises KeyError."""
        changes = Changes[S](dropped=True)
        self._discard(self._ends.pop(key), key, changes)
        return changes

    def longest(self, sequence: S) -> tuple[int, Iterator[str]]:
        """How many leading elements some stored sequence shares with this one, and the keys of all that do."""
        return self._trie.longest(sequence)

    def _note_new(self, node: Node[S, str], changes: Changes[S]) -> None:
        """Number the new nodes from `node` up: they, and what a split hung below them, are written."""
        fresh: list[Node[S, str]] = []
        at: Node[S, str] | None = node
        while at is not None and at is not self._trie.root and at not in self._numbers:
            fresh.append(at)
            at = at.parent
        for new in fresh:
            self._numbers[new] = next(self._fresh)
            if new is node and not new.children:
                self.stored += len(new.label)
        changed = {below: None for new in fresh for below in (new, *new.children.values())}
        changes.written += [self._edge(each) for each in changed]

    def _discard(self, node: Node[S, str], key: str, changes: Changes[S]) -> None:
        for gone in self._trie.discard(node, key):
            changes.gone.append(self._numbers.pop(gone))
            self.stored -= len(gone.label)

    def _edge(self, node: Node[S, str]) -> Edge[S]:
        parent = None if node.parent is None else self._numbers.get(node.parent)
        return Edge(self._numbers[node], parent, node.label)


def _joined(labels: list[S], empty: S) -> S:
    parts: Any = labels
    whole: Any = "".join(parts) if isinstance(empty, str) else list(itertools.chain.from_iterable(parts))
    return whole
