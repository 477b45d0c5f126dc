"""Longest stored prefix of a sequence: a radix trie over token ids or text.

Each path is a stored sequence; a node holds the entries that end there (Morrison 1968, PATRICIA; used for KV
reuse by SGLang, Zheng et al. 2024, section 3). Insertion, removal and lookup compare each element of the one
sequence they are given once, however many are stored; a split copies the label it splits.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from dataclasses import dataclass, field
from typing import Generic, TypeVar

E = TypeVar("E")
S = TypeVar("S", list[int], str)


@dataclass(slots=True, eq=False)
class Node(Generic[S, E]):
    """`label` is the run of elements on the edge that leads here."""

    label: S
    parent: Node[S, E] | None = None
    entries: list[E] = field(default_factory=list[E])
    children: dict[Hashable, Node[S, E]] = field(default_factory=dict)  # pyright: ignore[reportUnknownVariableType]


class RadixTrie(Generic[S, E]):
    """A multimap from sequences to entries. `empty` is the sequence of no elements."""

    def __init__(self, empty: S) -> None:
        self.root: Node[S, E] = Node(empty)
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def insert(self, tokens: S, entry: E) -> Node[S, E]:
        """The node where `entry` ends. Nodes keep their identity when others are split or removed."""
        node, at = self.root, 0
        while at < len(tokens):
            child = node.children.get(tokens[at])
            if child is None:
                child = Node[S, E](tokens[at:], node)
                node.children[tokens[at]] = child
                node, at = child, len(tokens)
                break
            common = shared_length(child.label, tokens, at)
            if common < len(child.label):
                child = self._split(node, child, common)
            node, at = child, at + common
        node.entries.append(entry)
        self._count += 1
        return node

    def remove(self, tokens: S, entry: E) -> None:
        """Take out what `insert` put in with the same arguments. Raises KeyError if it is not there."""
        node, at = self.root, 0
        while at < len(tokens):
            node = node.children[tokens[at]]
            if shared_length(node.label, tokens, at) < len(node.label):
                raise KeyError("no such path")
            at += len(node.label)
        if entry not in node.entries:
            raise KeyError("no such entry")
        gone = self.discard(node, entry)
        left = gone[-1].parent if gone else node
        if left is not None:
            self._merge(left)

    def discard(self, node: Node[S, E], entry: E) -> list[Node[S, E]]:
        """Take `entry` out of its node. The nodes that only led to it go, and are returned; no other node
        changes."""
        node.entries.remove(entry)
        self._count -= 1
        gone: list[Node[S, E]] = []
        while node.parent is not None and not node.entries and not node.children:
            del node.parent.children[node.label[0]]
            gone.append(node)
            node = node.parent
        return gone

    def longest(self, tokens: S) -> tuple[int, Iterator[E]]:
        """How many leading elements some stored sequence shares with `tokens`, and all entries that do."""
        node, at = self.root, 0
        while at < len(tokens):
            child = node.children.get(tokens[at])
            if child is None:
                break
            common = shared_length(child.label, tokens, at)
            node, at = child, at + common
            if common < len(child.label):
                break
        return at, self._below(node)

    def _below(self, node: Node[S, E]) -> Iterator[E]:
        stack = [node]
        while stack:
            node = stack.pop()
            yield from node.entries
            stack.extend(node.children.values())

    def _split(self, parent: Node[S, E], child: Node[S, E], at: int) -> Node[S, E]:
        upper = Node[S, E](child.label[:at], parent)
        child.label, child.parent = child.label[at:], upper
        upper.children[child.label[0]] = child
        parent.children[upper.label[0]] = upper
        return upper

    def _merge(self, node: Node[S, E]) -> None:
        """Where a node only leads on, its edge and the next become one."""
        if node.parent is not None and not node.entries and len(node.children) == 1:
            (child,) = node.children.values()
            child.label, child.parent = node.label + child.label, node.parent
            node.parent.children[child.label[0]] = child


def shared_length(label: S, tokens: S, at: int) -> int:
    """How many leading elements `label` and `tokens[at:]` share."""
    low, high = 0, min(len(label), len(tokens) - at)
    # Halves: what is compared halves too, so that all comparisons together are linear, at the speed of a slice.
    while low < high:
        middle = (low + high + 1) // 2
        if label[low:middle] != tokens[at + low : at + middle]:
            high = middle - 1
        else:
            low = middle
    return low
