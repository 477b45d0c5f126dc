"""Globs of rules: `*` stands for any text, `/` included, `?` for one character; nothing else is special.

A `*` that stopped at `/` would make `deny file:/secret/*` miss what lies deeper; so it does not stop.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache

_WILD = re.compile(r"[*?]")


def prefix(pattern: str) -> str:
    """What comes before the first wildcard: all of it if there is none."""
    found = _WILD.search(pattern)
    return pattern if found is None else pattern[: found.start()]


def is_literal(pattern: str) -> bool:
    return _WILD.search(pattern) is None


@lru_cache(maxsize=65_536)
def compiled(pattern: str) -> re.Pattern[str]:
    """To be used with `fullmatch`."""
    first, *rest = (_literal(part) for part in re.split(r"\*+", pattern))
    # Each part at the first place where it fits, for good: nobody's pattern can make the search try all others.
    inner = "".join(f"(?>.*?{part})" for part in rest[:-1])
    return re.compile(f"{first}{inner}.*{rest[-1]}" if rest else first, re.DOTALL)


def matches(pattern: str, text: str) -> bool:
    return compiled(pattern).fullmatch(text) is not None


def _literal(part: str) -> str:
    return "".join("." if each == "?" else re.escape(each) for each in part)


class Names:
    """A set of names given by globs."""

    __slots__ = ("_exact", "_globs", "all")

    def __init__(self, patterns: Iterable[str]) -> None:
        given = tuple(patterns)
        self.all = not given or "*" in given
        self._exact = frozenset(p for p in given if is_literal(p))
        self._globs = tuple(compiled(p) for p in given if not is_literal(p))

    def __contains__(self, name: str) -> bool:
        return self.all or name in self._exact or any(glob.fullmatch(name) for glob in self._globs)

    def names(self, agent: str, name: str) -> bool:
        """Whether an agent is in it: a pattern with a colon is about `agent`, its whole id `group:name`; one
        without about its `name`. A name can hold a colon, but make no other agent's id."""
        if self.all:
            return True
        if agent in self._exact or (":" not in name and name in self._exact):
            return True
        return any(glob.fullmatch(agent if ":" in glob.pattern else name) for glob in self._globs)

    def meets(self, names: frozenset[str]) -> bool:
        """Whether one of `names` is in it."""
        if self.all or not self._exact.isdisjoint(names):
            return True
        return any(glob.fullmatch(name) for glob in self._globs for name in names)
