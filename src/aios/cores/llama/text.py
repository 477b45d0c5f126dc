"""From the bytes of tokens to text that may be shown: whole characters, and nothing of a stop string."""

from __future__ import annotations

import codecs
from collections.abc import Iterable


def held_length(text: str, strings: Iterable[str]) -> int:
    """Length of the longest suffix of `text` that is a beginning of one of `strings` and not all of it."""
    longest = 0
    for string in strings:
        for length in range(min(len(string) - 1, len(text)), longest, -1):
            if text.endswith(string[:length]):
                longest = length
                break
    return longest


class TextStream:
    """Decodes pieces of UTF-8 and ends the text before a stop string.

    The text ends at the stop string that is complete first, as if it came character by character; of several
    complete at the same character, at the longest. So the result does not depend on how the text is cut into
    pieces, and no character is needed to decide beyond the last one of the stop string. Held back is only what
    may still become a stop string. Bytes that are not UTF-8 become U+FFFD; an incomplete character waits for
    the next piece. Rebuilt by pushing the same pieces."""

    def __init__(self, stop: tuple[str, ...] = ()) -> None:
        self._stop = tuple(s for s in stop if s)
        self._decoder: codecs.IncrementalDecoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._held: str = ""
        self.stopped = False
        """A stop string was met: the text is over."""

    def push(self, piece: bytes) -> str:
        """Take the next bytes; returns the text that may be shown now ("" after a stop string)."""
        return self._feed(self._decoder.decode(piece))

    def flush(self) -> str:
        """The text is over: what was held back. "" if a stop string ended it."""
        shown = self._feed(self._decoder.decode(b"", final=True))
        held, self._held = self._held, ""
        return shown + held

    def _feed(self, text: str) -> str:
        if self.stopped or not text:
            return ""
        if not self._stop:
            return text
        text = self._held + text
        found = [(start + len(s), start) for s in self._stop if (start := text.find(s)) >= 0]
        if found:
            self.stopped, self._held = True, ""
            return text[: min(found)[1]]
        shown = len(text) - held_length(text, self._stop)
        self._held = text[shown:]
        return text[:shown]
