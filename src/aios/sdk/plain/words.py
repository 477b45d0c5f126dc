"""Words of phrases and of names, and when two of them are the same word."""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache

STOP = frozenset((
    "a", "about", "all", "an", "and", "any", "anything", "are", "as", "at", "be", "been", "both", "by",
    "called", "can", "concerning", "contain", "containing", "contains", "content", "contents", "copy",
    "could", "did", "do", "does", "each", "every", "everything", "for", "from", "get", "give", "had", "has",
    "have", "having", "i", "im", "in", "inside", "into", "is", "it", "its", "ive", "just", "kind", "like",
    "made", "make", "me", "mention", "mentioning", "mentions", "mine", "my", "named", "near", "new", "of",
    "off", "on", "one", "ones", "only", "or", "our", "out", "over", "please", "pls", "put", "regarding",
    "said", "say", "saying", "says", "show", "some", "something", "stuff", "tag", "tagged", "tags", "that",
    "the", "their", "them", "then", "there", "these", "they", "thing", "things", "this", "those", "to",
    "under", "up", "wants", "was", "we", "were", "what", "whats", "where", "which", "who", "whose", "will",
    "with", "within", "would", "you", "your",
))  # fmt: skip
GENERIC = frozenset((
    "content", "dir", "directory", "doc", "document", "entry", "file", "folder", "item", "link", "note",
    "page", "paper", "piece", "text", "version",
))  # fmt: skip
"""Nouns that say of nothing what it is, unless a folder or file has them as its name."""
MANY = frozenset(
    ["all", "every", "everything", "each", "both", "any", "anything", "ones", "things", "stuff", "whatever"]
)


def words(text: str) -> list[str]:
    """In lower case and order, without marks on letters; numbers are words too."""
    flat = unicodedata.normalize("NFKD", text.lower())
    return re.findall(
        r"[a-z0-9]+", "".join(c for c in flat if not unicodedata.combining(c)).replace("'s ", " ")
    )


_VOWEL = re.compile("[aeiouy]")


@lru_cache(4096)
def stem(word: str) -> str:
    """Without the ending of a plural, of "-ing" and "-ed", and without a last "e" (a part of Porter 1980)."""
    word = singular(word)
    for ending in ("ing", "ed"):
        rest = word.removesuffix(ending)
        if rest != word and len(rest) > 2 and _VOWEL.search(rest):
            word = rest[:-1] if rest[-1] == rest[-2] and rest[-1] not in "lsz" else rest
            break
    return word.removesuffix("e") if len(word) > 3 else word


def singular(word: str) -> str:
    if len(word) > 4 and word.endswith("ies"):
        return word[:-3] + "y"
    if len(word) > 4 and word.endswith(("oes", "xes", "ches", "shes", "sses")):
        return word[:-2]
    if len(word) > 3 and word.endswith("s") and not word.endswith(("ss", "us", "is")):
        return word[:-1]
    return word


def plural(word: str) -> bool:
    return singular(word) != word


@lru_cache(16384)
def alike(a: str, b: str) -> bool:
    """Whether they are one word: in another number, or with a slip of the pen (one edit, two in long words:
    Damerau 1964; the first letters agree)."""
    a, b = stem(a), stem(b)
    if a == b:
        return True
    short = min(len(a), len(b))
    if short < 4 or a[0] != b[0] or a.isdecimal() or b.isdecimal():
        return False
    return _edits(a, b) <= (2 if short >= 8 else 1)


def _edits(a: str, b: str) -> int:
    """Insertions, deletions, replacements and swaps of neighbours that make `b` of `a`."""
    before: list[int] = []
    row = list(range(len(b) + 1))
    for i, x in enumerate(a, 1):
        older, before, row = before, row, [i]
        for j, y in enumerate(b, 1):
            cost = min(before[j] + 1, row[j - 1] + 1, before[j - 1] + (x != y))
            if i > 1 and j > 1 and x == b[j - 2] and a[i - 2] == y:
                cost = min(cost, older[j - 2] + 1)
            row.append(cost)
    return row[-1]
