"""Stretches of words of a command: what a model may copy from it, and nothing else."""

from __future__ import annotations

import re

LONGEST = 12
"""Words of a stretch that ends before the command does."""
WORDS = 60
"""Words of a command from which stretches are taken: their number grows with the square."""
_EDGES = " \t\n\"'“”‘’`()[]{},;:!?"


def spans(command: str) -> list[str]:
    """All stretches of whole words, without the punctuation and quotes around them, as they stand in the
    command; those that reach its end, and quoted texts, whatever their length."""
    words = [(found.start(), found.end()) for found in re.finditer(r"\S+", command)][:WORDS]
    kept: dict[str, None] = {}
    for first, (start, _) in enumerate(words):
        for last in range(first, len(words)):
            if last - first < LONGEST or last == len(words) - 1:
                kept.setdefault(trimmed(command[start : words[last][1]]), None)
    for quoted in re.finditer(r"\"([^\"]+)\"|“([^”]+)”|(?<!\w)'([^']+)'(?!\w)", command):
        kept.setdefault(next(text for text in quoted.groups() if text is not None), None)
    kept.pop("", None)
    return list(kept)


def trimmed(text: str) -> str:
    """Without quotes and punctuation around it; a "." stays at the start (of a hidden name), not at the end."""
    return text.strip(_EDGES).rstrip("." + _EDGES)
