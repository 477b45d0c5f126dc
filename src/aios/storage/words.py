"""Words of a text as they are indexed and asked for.

Each bears the mark of whose it is, so that how often it occurs is counted for that owner alone.
"""

from __future__ import annotations

import re
import sqlite3
import unicodedata
from collections.abc import Iterator
from contextlib import closing

TOKENIZER = "porter unicode61 remove_diacritics 2"
"""How index.sql cuts words to their stems."""
_WORD = re.compile(r"[^\W_]+")


def split(text: str) -> Iterator[str]:
    """Its words, folded so that letters that look alike are alike (NFKD, case, accents)."""
    if text.isascii():
        plain = text.lower()
    else:
        folded = unicodedata.normalize("NFKD", text).casefold()
        plain = "".join(c for c in folded if not unicodedata.combining(c))
    return (match.group() for match in _WORD.finditer(plain))


def marked(owner: int, text: str) -> str:
    """`text` with the owner's mark before each word, for the index.

    A mark is digits and a consonant: Porter's stemmer counts vowels that follow consonants, so it cuts a
    marked word where it would cut the plain one."""
    return " ".join(f"{owner}x{word}" for word in split(text))


def stems(owner: int, words: list[str]) -> list[str]:
    """`words` as the index has them for `owner`, each once: marked, and cut by SQLite itself."""
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as db:
        db.execute(f"CREATE VIRTUAL TABLE said USING fts5 (text, tokenize = '{TOKENIZER}')")
        db.execute("CREATE VIRTUAL TABLE terms USING fts5vocab (said, 'row')")
        db.execute("INSERT INTO said (text) VALUES (?)", (marked(owner, " ".join(words)),))
        found = [term for (term,) in db.execute("SELECT term FROM terms")]
    return [term for term in found if term.startswith(f"{owner}x")]
