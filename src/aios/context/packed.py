"""Token ids as text: a character each.

A list of ids takes 36 bytes for each; text takes two (four where an id is beyond 65,535), is compared and cut
at the speed of memory, and never changes. What an idle agent costs the kernel is mostly its context's ids."""

from __future__ import annotations

import sys
from array import array
from collections.abc import Sequence

CODEC = f"utf-32-{'le' if sys.byteorder == 'little' else 'be'}"


def packed(tokens: Sequence[int]) -> str:
    """The text of ids below 1,114,112. Raises UnicodeDecodeError beyond."""
    return array("I", tokens).tobytes().decode(CODEC, "surrogatepass")


def unpacked(text: str) -> list[int]:
    """What was `packed`."""
    return list(map(ord, text))
