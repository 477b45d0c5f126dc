"""Paths inside a root: what may be a name, and nothing that could mean another place.

A path is virtual: `/a/b` and `a/b` are the same file of the owner's own root, and there is nothing above it.
Names are kept in Unicode normal form C, so that one name can't be two files that look the same.
"""

from __future__ import annotations

import unicodedata
from typing import Any

from aios.errors import InvalidPath

Parts = tuple[str, ...]

NAME_BYTES = 255
PATH_BYTES = 4096
DEEPEST = 255
"""Folders in one another."""

_JOINERS = "\u200c\u200d"
"""Invisible, and part of how emoji and some scripts are written."""
_SLASHES = "\\\u2044\u2215\u29f8\u29f5\u29f9\ufe68"
"""Read as separators by people or other systems, and not folded to "/" by normal form KC."""
_REFUSED = {"Cc": "control character", "Cf": "invisible character", "Cs": "half of a character",
            "Zl": "line break", "Zp": "line break"}  # fmt: skip


def parse(path: str) -> Parts:
    """The names on the way to `path` from the root; () is the root itself.

    Empty parts and "." are left out. Raises InvalidPath for "..", what is no name (`check`), and too long
    paths."""
    given: Any = path
    if not isinstance(given, str):
        raise InvalidPath(f"A path is text, not {type(given).__name__}.", param="path")
    if not path:
        raise InvalidPath("The path is empty.", 'The root is "/".', param="path")
    parts = tuple(check(name) for name in path.split("/") if name not in ("", "."))
    if len(parts) > DEEPEST:
        raise InvalidPath(f"The path has more than {DEEPEST} parts.", "Use fewer folders.", param="path")
    if sum(len(name.encode()) + 1 for name in parts) > PATH_BYTES:
        raise InvalidPath(f"The path is longer than {PATH_BYTES} bytes.", "Use fewer folders.", param="path")
    return parts


def parse_inner(path: str) -> Parts:
    """As `parse`, of a path that must not be the root. Raises InvalidPath."""
    parts = parse(path)
    if not parts:
        raise InvalidPath("The root itself can't be this.", "Name something in it.", param="path")
    return parts


def check(name: str) -> str:
    """`name` in normal form C. Raises InvalidPath if it can't be one name in a folder."""
    name = unicodedata.normalize("NFC", name)
    for character in name:
        kind = unicodedata.category(character)
        if kind in _REFUSED and character not in _JOINERS:
            raise _refused(name, f"it has a {_REFUSED[kind]} (U+{ord(character):04X})")
        if character in _SLASHES:
            raise _refused(name, f"U+{ord(character):04X} would be taken for a separator")
    folded = unicodedata.normalize("NFKC", name)
    if folded in ("", ".", ".."):
        raise _refused(name, "it would name another folder")
    if "/" in folded or "\\" in folded:
        raise _refused(name, "a part of it would be taken for a separator")
    if len(name.encode()) > NAME_BYTES:
        raise _refused(name[:40] + "…", f"it is longer than {NAME_BYTES} bytes")
    return name


def show(parts: Parts) -> str:
    """`parts` as text: "/a/b"."""
    return "/" + "/".join(parts)


def one(path: str) -> str:
    """The one text of all that mean the same file, as rules and labels name it; `path` itself if it is none,
    for what it is asked of refuses it."""
    try:
        return show(parse(path))
    except InvalidPath:
        return path


def _refused(name: str, why: str) -> InvalidPath:
    mend = 'Use plain names, "/" between them, and no "..".'
    return InvalidPath(f"{name!a} can't be a name: {why}.", mend, param="path")
