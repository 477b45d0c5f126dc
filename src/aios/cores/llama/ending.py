"""How can a constrained text be completed from here?

Works on bytes, not tokens: the grammar is matched over an alphabet of 256 bytes, where a step costs a few
microseconds, no model is needed, and any text it finds can be written with any vocabulary.
"""

from __future__ import annotations

import heapq
import itertools
import re
from collections import Counter
from collections.abc import Callable, Iterator

from llguidance import LLMatcher, LLParserLimits, LLTokenizer

from aios.errors import InvalidSchema

_SHORT, _LONG = 1024, 4096
_EXPANSIONS, _FEW_EXPANSIONS = 400, 40
_FREE_TEXT = 64
_BYTES = (1 << 256) - 1
_DIGITS = b"0123456789"
_CLOSING = b"}])>\"',:;\n"

Fits = Callable[[bytes], bool]


def limits() -> LLParserLimits:
    """Bounds of memory and time for one grammar: a hostile one is refused, it does not stall the engine."""
    return LLParserLimits(
        initial_lexer_fuel=400_000,
        step_lexer_fuel=50_000,
        step_max_items=20_000,
        max_lexer_states=20_000,
        max_grammar_size=100_000,
        precompute_large_lexemes=False,
        verbose_errors=False,
    )


def compiled(tokenizer: LLTokenizer, source: str) -> LLMatcher:
    """A matcher of `source`. Raises InvalidSchema with the library's reason."""
    matcher = LLMatcher(tokenizer, source, log_level=0, limits=limits())
    if matcher.is_error():
        why = _reason(matcher)
        raise InvalidSchema(f"The grammar or schema can't be used: {why}.", "Change that part of it.")
    return matcher


def _reason(matcher: LLMatcher) -> str:
    """The library's message without the listing of the source below it."""
    lines = [line.strip() for line in matcher.get_error().splitlines()]
    text = " ".join(line for line in lines if line and not re.match(r"\d+ \||\^", line))
    return re.sub(r"^at \d+\(\d+\): (failed to compile JSON schema: )?", "", text)


class Alphabet:
    """Matches grammars over single bytes and finds how a text can end. Costs about 1.5 ms to make."""

    def __init__(self) -> None:
        self._tokenizer = LLTokenizer("byte")
        # Where nearly any byte may follow we are within a string, which a quote ends; elsewhere a bracket
        # closes more than a quote, which opens something.
        self._in_text = _ordered(b"\"'\n" + _CLOSING + _DIGITS)
        self._in_structure = _ordered(_CLOSING + _DIGITS)

    def matcher(self, source: str) -> LLMatcher:
        """A matcher whose tokens are bytes. Raises InvalidSchema."""
        # Without "no_forcing" each step would look for all that must follow, however long that is.
        return compiled(self._tokenizer, f'{source}\n%llguidance {{"no_forcing": true}}')

    def completes(self, matcher: LLMatcher, text: bytes) -> bool:
        """Whether `text` completes what `matcher` has seen. `matcher` is not changed."""
        path = [*text, self._tokenizer.eos_token]
        return matcher.validate_tokens(path) == len(path)

    def find(self, matcher: LLMatcher, fits: Fits) -> bytes | None:
        """A text that completes what `matcher` has seen: one that `fits`, else the shortest found; None if none
        was found within a fixed effort. `matcher` is not changed; the same state gives the same answer.

        First straight on, each time with the byte that most likely closes something. If that leads nowhere or
        to a text that does not fit, limited discrepancy search (Harvey and Ginsberg 1995): paths with fewer
        and smaller deviations from that choice first, and novelty before both (Lipovetzky and Geffner 2012)."""
        best = self._straight(matcher, _SHORT)
        if best is None:
            best = self._turning(matcher)
        if best is not None and fits(best):
            return best
        for text in self._deviating(matcher, best):
            if fits(text):
                return text
            if best is None or len(text) < len(best):
                best = text
        return self._straight(matcher, _LONG) if best is None else best

    def _straight(self, matcher: LLMatcher, longest: int) -> bytes | None:
        """Always the preferred byte."""
        return self._walk(matcher, longest, lambda choices, _: next(choices, None))

    def _turning(self, matcher: LLMatcher) -> bytes | None:
        """Where the same bytes may follow as before, the next one in turn: gets out of `[a-z]*x`. Bytes that
        close something get sixteen turns at a time."""
        visits: Counter[bytes] = Counter()

        def choose(choices: Iterator[int], mask: bytes) -> int | None:
            known = list(choices)
            if not known:
                return None
            turn = visits[mask] >> 4 if known[0] in _CLOSING else visits[mask]
            visits[mask] += 1
            return known[turn % len(known)]

        return self._walk(matcher, _SHORT, choose)

    def _walk(
        self, matcher: LLMatcher, longest: int, choose: Callable[[Iterator[int], bytes], int | None]
    ) -> bytes | None:
        matcher, text = matcher.deep_copy(), bytearray()
        while not matcher.is_accepting():
            mask = matcher.compute_bitmask()
            choice = choose(self._choices(mask), mask)
            if choice is None or len(text) > longest or not matcher.consume_token(choice):
                return None
            text.append(choice)
        return bytes(text)

    def _deviating(self, matcher: LLMatcher, known: bytes | None) -> Iterator[bytes]:
        """Completing texts, if one is `known` only shorter ones."""
        longest = _LONG if known is None else len(known) - 1
        serial = itertools.count()
        seen: set[bytes] = set()
        start = matcher.deep_copy()
        forced = _forced(start)
        queue = [(0, len(forced), next(serial), forced, start, dict[bytes, int]())]
        for _ in range(_EXPANSIONS if known is None else _FEW_EXPANSIONS):
            if not queue:
                return
            cost, _, _, text, node, path_seen = heapq.heappop(queue)
            if node.is_accepting():
                yield text
                continue
            # Of several bytes after which the same bytes may follow, one stands for all.
            following: set[bytes] = set()
            for choice in self._choices(node.compute_bitmask()):
                child = node.deep_copy()
                if not child.consume_token(choice):
                    continue
                more = bytes([choice]) + _forced(child)
                mask = more[1:] + child.compute_bitmask()
                if len(text) + len(more) > longest or (mask in following and not child.is_accepting()):
                    continue
                # What was never seen is worth a look before what is merely preferred, and a path that comes
                # again and again to where it was gives way to others.
                visits = path_seen.get(mask, 0)
                price = cost + (len(following) if mask in seen else 0) + (visits >> 2)
                seen.add(mask)
                following.add(mask)
                grown, path = text + more, path_seen | {mask: visits + 1}
                heapq.heappush(queue, (price, len(grown), next(serial), grown, child, path))

    def _choices(self, mask: bytes) -> Iterator[int]:
        """The bytes that a mask allows, most likely to close something first."""
        bits = int.from_bytes(mask, "little") & _BYTES
        order = self._in_text if bits.bit_count() > _FREE_TEXT else self._in_structure
        return (byte for byte in order if bits >> byte & 1)


def _forced(matcher: LLMatcher) -> bytes:
    """Consume and return the bytes that must follow, up to where the text could end.

    Byte by byte: the library's own look-ahead has no bound."""
    text = bytearray()
    while len(text) <= _LONG and not matcher.is_accepting():
        bits = int.from_bytes(matcher.compute_bitmask(), "little") & _BYTES
        byte = bits.bit_length() - 1
        if bits.bit_count() != 1 or not matcher.consume_token(byte):
            break
        text.append(byte)
    return bytes(text)


def _ordered(preferred: bytes) -> list[int]:
    """All bytes: the preferred ones, ASCII letters, the others."""
    letters = bytes(range(97, 123)) + bytes(range(65, 91))
    return list(dict.fromkeys(preferred + letters + bytes(range(256))))
