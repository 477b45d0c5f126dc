"""Longest stored prefix of a prompt: a radix trie over token ids.

Each path is the token ids of some stored contexts; a node holds the entries that end there (Morrison 1968,
PATRICIA; used for KV reuse by SGLang, Zheng et al. 2024, section 3). Insertion, removal and lookup take time
proportional to the tokens of the one sequence they are given, however many are stored.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Generic, TypeVar

E = TypeVar("E")


@dataclass(slots=True)
class Node(Generic[E]):
    """`label` is the run of tokens on the edge that leads here."""

    label: list[int]
    entries: list[E] = field(default_factory=list[E])
    children: dict[int, Node[E]] = field(default_factory=dict)  # pyright: ignore[reportUnknownVariableType]


class RadixTrie(Generic[E]):
    """A multimap from token sequences to entries."""

    def __init__(self) -> None:
        self._root: Node[E] = Node([])
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def insert(self, tokens: list[int], entry: E) -> None:
        node, at = self._root, 0
        while at < len(tokens):
            child: Node[E] | None = node.children.get(tokens[at])
            if child is None:
                child = Node(tokens[at:])
                node.children[tokens[at]] = child
                node, at = child, len(tokens)
                break
            common = shared_length(child.label, tokens, at)
            if common < len(child.label):
                child = self._split(node, child, common)
            node, at = child, at + common
        node.entries.append(entry)
        self._count += 1

    def remove(self, tokens: list[int], entry: E) -> None:
        """Take out what `insert` put in with the same arguments. Raises KeyError if it is not there."""
        path: list[Node[E]] = [self._root]
        at = 0
        while at < len(tokens):
            child = path[-1].children[tokens[at]]
            if shared_length(child.label, tokens, at) < len(child.label):
                raise KeyError("no such path")
            path.append(child)
            at += len(child.label)
        if entry not in path[-1].entries:
            raise KeyError("no such entry")
        path[-1].entries.remove(entry)
        self._count -= 1
        self._prune(path)

    def longest(self, tokens: list[int]) -> tuple[int, Iterator[E]]:
        """How many leading tokens some stored sequence shares with `tokens`, and all entries that do."""
        node, at = self._root, 0
        while at < len(tokens):
            child = node.children.get(tokens[at])
            if child is None:
                break
            common = shared_length(child.label, tokens, at)
            node, at = child, at + common
            if common < len(child.label):
                break
        return at, self._below(node)

    def _below(self, node: Node[E]) -> Iterator[E]:
        stack = [node]
        while stack:
            node = stack.pop()
            yield from node.entries
            stack.extend(node.children.values())

    def _split(self, parent: Node[E], child: Node[E], at: int) -> Node[E]:
        upper: Node[E] = Node(child.label[:at])
        child.label = child.label[at:]
        upper.children[child.label[0]] = child
        parent.children[upper.label[0]] = upper
        return upper

    def _prune(self, path: list[Node[E]]) -> None:
        """Remove an empty leaf, and merge a node that only leads on to one child."""
        node = path.pop()
        while path and not node.entries and not node.children:
            del path[-1].children[node.label[0]]
            node = path.pop()
        if (path or node is not self._root) and not node.entries and len(node.children) == 1:
            (child,) = node.children.values()
            child.label = node.label + child.label
            parent = path[-1]
            parent.children[child.label[0]] = child


def shared_length(label: list[int], tokens: list[int], at: int) -> int:
    """How many leading tokens `label` and `tokens[at:]` share."""
    most = min(len(label), len(tokens) - at)
    if label[:most] == tokens[at : at + most]:
        return most
    return next(i for i in range(most) if label[i] != tokens[at + i])
