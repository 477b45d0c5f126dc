"""Tries of conversation history against a plain dict, and against what they tell to write."""

import itertools

from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from aios.context.prefix import shared_length
from aios.memory.trie import Edge, HistoryTrie

texts = st.text("ab", max_size=8)
keys = st.sampled_from(["k1", "k2", "k3", "k4", "k5"])


def common(a: str, b: str) -> int:
    return next((i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))


@given(texts, texts, st.integers(0, 8))
def test_the_shared_length_is_that_of_the_common_beginning(label, text, at):
    at = min(at, len(text))
    assert shared_length(label, text, at) == common(label, text[at:])


class TrieMachine(RuleBasedStateMachine):
    """A trie, the dict it stands for, and the edges on disk that follow what it tells."""

    def __init__(self):
        super().__init__()
        self.numbers = itertools.count(1)
        self.trie: HistoryTrie[str] = HistoryTrie("", self.numbers)
        self.model: dict[str, str] = {}
        self.edges: dict[int, Edge[str]] = {}
        self.ends: dict[str, int | None] = {}

    def follow(self, key, changes):
        for edge in changes.written:
            self.edges[edge.number] = edge
        for number in changes.gone:
            del self.edges[number]
        if changes.dropped:
            del self.ends[key]
        else:
            self.ends[key] = changes.end

    @rule(key=keys, text=texts)
    def put(self, key, text):
        self.follow(key, self.trie.put(key, text))
        self.model[key] = text

    @rule(key=keys, more=texts)
    def go_on(self, key, more):
        if key in self.model:
            self.put(key, self.model[key] + more)

    @rule(key=keys)
    def drop(self, key):
        if key in self.model:
            self.follow(key, self.trie.drop(key))
            del self.model[key]

    @rule()
    def restart(self):
        self.trie = HistoryTrie("", self.numbers)
        self.trie.load(self.edges.values(), self.ends.items())

    @rule(query=texts)
    def look_up(self, query):
        length, found = self.trie.longest(query)
        best = max((common(text, query) for text in self.model.values()), default=0)
        assert length == best
        assert set(found) == {key for key, text in self.model.items() if common(text, query) == best}

    @invariant()
    def holds_the_same_as_the_dict(self):
        assert len(self.trie) == len(self.model)
        for key, text in self.model.items():
            assert self.trie.get(key) == text

    @invariant()
    def every_prefix_is_stored_once(self):
        prefixes = {text[:n] for text in self.model.values() for n in range(1, len(text) + 1)}
        assert self.trie.stored == len(prefixes)
        assert sum(len(edge.label) for edge in self.edges.values()) == len(prefixes)


TestTrie = TrieMachine.TestCase


@given(st.lists(st.lists(st.integers(0, 2), max_size=8), max_size=12))
def test_tokens_come_back_as_they_were(sequences):
    trie: HistoryTrie[list[int]] = HistoryTrie([], itertools.count(1))
    for number, tokens in enumerate(sequences):
        trie.put(str(number), tokens)
    assert [trie.get(str(number)) for number in range(len(sequences))] == sequences


class Counted(str):
    """Text that counts the elements that are looked at when it is sliced."""

    looked = 0

    def __getitem__(self, key):
        part = super().__getitem__(key)
        Counted.looked += len(part)
        return part


def test_work_grows_with_the_text_and_not_with_what_is_stored():
    def work(stored: int) -> int:
        trie: HistoryTrie[str] = HistoryTrie("", itertools.count(1))
        for i in range(stored):
            trie.put(str(i), f"system prompt that all share. {i:06} and what follows")
        Counted.looked = 0
        trie.longest(Counted("system prompt that all share. 000003 and what else"))
        trie.put("new", Counted("system prompt that all share. 000003 and what else"))
        return Counted.looked

    assert work(2000) <= 2 * work(20)
