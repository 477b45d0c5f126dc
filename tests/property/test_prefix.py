from hypothesis import given
from hypothesis import strategies as st

from aios.context.prefix import RadixTrie

# few distinct tokens, so that sequences share prefixes often
sequences = st.lists(st.lists(st.integers(0, 2), max_size=8), max_size=25)


def common(a: list[int], b: list[int]) -> int:
    n = 0
    while n < min(len(a), len(b)) and a[n] == b[n]:
        n += 1
    return n


def check(trie: RadixTrie[list[int], int], stored: dict[int, list[int]], query: list[int]) -> None:
    length, entries = trie.longest(query)
    best = max((common(tokens, query) for tokens in stored.values()), default=0)
    assert length == best
    assert set(entries) == {key for key, tokens in stored.items() if common(tokens, query) == best}


@given(sequences, st.lists(st.integers(0, 2), max_size=8), st.data())
def test_the_trie_agrees_with_comparing_everything(inserted, query, data):
    trie: RadixTrie[list[int], int] = RadixTrie([])
    stored: dict[int, list[int]] = {}
    for key, tokens in enumerate(inserted):
        trie.insert(tokens, key)
        stored[key] = tokens
        check(trie, stored, query)
    for key in data.draw(st.permutations(sorted(stored))):
        trie.remove(stored.pop(key), key)
        assert len(trie) == len(stored)
        check(trie, stored, query)


@given(sequences, st.lists(st.integers(0, 2), min_size=1, max_size=8))
def test_removing_what_is_not_there_is_an_error_and_changes_nothing(inserted, query):
    trie: RadixTrie[list[int], int] = RadixTrie([])
    stored = dict(enumerate(inserted))
    for key, tokens in stored.items():
        trie.insert(tokens, key)
    try:
        trie.remove(query, -1)
    except KeyError:
        pass
    else:
        raise AssertionError("removed an entry that was never inserted")
    check(trie, stored, query)
