"""Constrained generation: which tokens may come next, so that the whole answer always parses.

Also when `max_tokens` cuts it: from the first token on, a text is known that completes the answer, and a token
is taken only if such a text still fits into what remains. When nothing else fits, that text is forced.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Protocol, TypeVar

import numpy as np
from llguidance import LLMatcher, LLTokenizer
from numpy.typing import NDArray

from aios.cores.llama.ending import Alphabet, compiled
from aios.errors import CoreError, InvalidSchema

Mask = NDArray[np.bool_]
_TRIES = 4


class HasToken(Protocol):
    @property
    def token(self) -> int: ...


D = TypeVar("D", bound=HasToken)


def validate(source: str) -> None:
    """Check a grammar's source without a model. Raises InvalidSchema for one that can't be compiled, or that
    no text could be found for. Costs milliseconds, for a huge source up to a second, without the GIL."""
    alphabet = Alphabet()
    if alphabet.find(alphabet.matcher(source), lambda _: True) is None:
        raise _no_answer()


def _no_answer() -> InvalidSchema:
    return InvalidSchema(
        "No text of this form could be found: it can't be met, is too complex, or is longer than 4096 bytes.",
        "Simplify the schema or grammar.",
    )


class GrammarFactory:
    """Makes grammar states for one vocabulary.

    `tokens[t]` is the text of token t in bytes; `special` are the tokens that make no text, and are never
    allowed except those in `eog`, which end the generation. `tokenize` gives the ids of a piece of UTF-8 text:
    no control tokens, nothing before or after. The vocabulary's index is built on first use (0.1–0.5 s)."""

    def __init__(
        self,
        tokens: list[bytes],
        *,
        eos: int,
        eog: frozenset[int],
        special: frozenset[int],
        tokenize: Callable[[bytes], list[int]],
    ) -> None:
        self._tokens = tokens
        self._eog = eog | {eos}
        self._special = special | self._eog
        self._eos = eos
        self._tokenize = tokenize
        self._index: Index | None = None

    def make(self, source: str, max_tokens: int) -> GrammarState:
        """The state at the start of an answer of at most `max_tokens` tokens.

        Raises InvalidSchema for a source that can't be compiled or whose answers are all longer."""
        if self._index is None:
            self._index = Index(self._tokens, self._eos, self._eog, self._special, self._tokenize)
        return GrammarState(self._index, source, max_tokens)


class Index:
    """A vocabulary as the grammar library needs it, and bytes as tokens."""

    def __init__(
        self,
        tokens: list[bytes],
        eos: int,
        eog: frozenset[int],
        special: frozenset[int],
        tokenize: Callable[[bytes], list[int]],
    ) -> None:
        self.tokens = tokens
        self.eos = eos
        self.eog = eog
        self.alphabet = Alphabet()
        self._tokenize = tokenize
        self._bytes = {token: i for i, token in enumerate(tokens) if len(token) == 1 and i not in special}
        # What the library reads of its tokenizer argument:
        self.is_tokenizer_wrapper = True
        self.eos_token_id = eos
        self.bos_token_id = None
        self.special_token_ids = sorted(special)
        self.tokenizer = LLTokenizer(self, eos_token=[eos, *sorted(eog - {eos})])  # pyright: ignore[reportArgumentType]

    def __call__(self, text: str | bytes) -> list[int]:
        return self.encode(text.encode() if isinstance(text, str) else text)

    def encode(self, text: bytes) -> list[int]:
        """Token ids whose bytes are exactly `text`, which may begin within a character. At most one a byte."""
        head = next((i for i, byte in enumerate(text) if byte & 0xC0 != 0x80), len(text))
        ids = [self._bytes[text[i : i + 1]] for i in range(head)]
        rest = text[head:]
        found = self._tokenize(rest) if rest else []
        if b"".join(self.tokens[t] for t in found) != rest:  # a tokenizer that adds a space, or replaces bytes
            found = [self._bytes[bytes([byte])] for byte in rest]
        return ids + found


@dataclass(frozen=True, slots=True)
class Move:
    """What a token leads to: the bytes' matcher after it, and a text that completes the answer from there,
    with its token ids where they are known."""

    token: int
    shadow: LLMatcher
    ending: bytes
    ids: list[int] | None


class GrammarState:
    """Where one answer stands in its grammar. A pure function of (source, max_tokens, accepted tokens)."""

    def __init__(self, index: Index, source: str, max_tokens: int) -> None:
        self._index = index
        self._remaining = max_tokens
        self._matcher = compiled(index.tokenizer, source)
        self._shadow = index.alphabet.matcher(source)
        self._next: Move | None = None
        ending = index.alphabet.find(self._shadow, lambda text: self._fits(text, max_tokens))
        if ending is None:
            raise _no_answer()
        if not self._fits(ending, max_tokens):
            least = len(index.encode(ending))
            raise InvalidSchema(
                f"No complete answer of this form fits into max_tokens={max_tokens}.",
                f"Set max_tokens to at least {least}.",
                param="max_tokens",
            )
        self._ending = ending
        self._ending_ids: list[int] | None = None

    @property
    def accepting(self) -> bool:
        """The answer is complete as it stands."""
        return self._matcher.is_accepting()

    @property
    def done(self) -> bool:
        """The answer is complete and nothing can be added: only the end may follow."""
        return self._matcher.is_stopped()

    def pick(self, draw: Callable[[Mask], D]) -> D:
        """Draw a token with `draw(allowed)` until one is drawn after which the answer can still be completed
        in what then remains. Nearly always the first; after a few the completing text is forced. The token is
        not accepted yet."""
        allowed = self.allowed()
        for _ in range(_TRIES):
            drawn = draw(allowed)
            if drawn.token in self._index.eog or self._try(drawn.token):
                return drawn
            allowed[drawn.token] = False
            if not allowed.any():
                break
        return draw(self._only(self._way_out()))

    def allowed(self) -> Mask:
        """Which tokens may come next, shape (n_vocab,); a new array. Use `pick` for the guarantee."""
        if len(self._ending) >= self._remaining and len(self._ids()) >= self._remaining:
            return self._only(self._way_out())
        mask = np.frombuffer(self._matcher.compute_bitmask(), dtype=np.uint8)
        return np.unpackbits(mask, count=len(self._index.tokens), bitorder="little").view(np.bool_)

    def accept(self, token: int) -> bool:
        """Take the next token; returns `done`. Raises CoreError for one that `pick` would not give."""
        if token in self._index.eog:
            return True
        move = self._try(token)
        if move is None or not self._matcher.consume_token(token):
            reason = self._matcher.get_error() or "the answer could not be completed after it"
            raise CoreError(f"Token {token} is not in the grammar: {reason}.", "Simplify the grammar.")
        self._shadow, self._ending, self._ending_ids = move.shadow, move.ending, move.ids
        self._next = None
        self._remaining -= 1
        return self.done

    def replay(self, tokens: Iterable[int]) -> None:
        """Accept the tokens of an earlier stay."""
        for token in tokens:
            self.accept(token)

    def _try(self, token: int) -> Move | None:
        """The move to take with `token`; None if the answer could not be completed after it."""
        if self._next and self._next.token == token:
            return self._next
        piece = self._index.tokens[token]
        shadow = self._shadow.deep_copy()
        if not piece or not shadow.consume_tokens(list(piece)):
            return None
        ids: list[int] | None = None
        if self._ending.startswith(piece):
            ending: bytes | None = self._ending[len(piece) :]
            if self._ids()[0] == token:
                ids = self._ids()[1:]
        elif self._index.alphabet.completes(shadow, self._ending):
            ending = self._ending
        else:
            ending = self._index.alphabet.find(shadow, lambda text: self._fits(text, self._remaining - 1))
        if ending is None or (ids is None and not self._fits(ending, self._remaining - 1)):
            return None
        self._next = Move(token, shadow, ending, ids)
        return self._next

    def _fits(self, text: bytes, tokens: int) -> bool:
        return len(text) <= tokens or len(self._index.encode(text)) <= tokens

    def _ids(self) -> list[int]:
        if self._ending_ids is None:
            self._ending_ids = self._index.encode(self._ending)
        return self._ending_ids

    def _way_out(self) -> int:
        """The next token of the completing text; the end, if it is complete."""
        ids = self._ids()
        return ids[0] if ids else self._index.eos

    def _only(self, token: int) -> Mask:
        mask = np.zeros(len(self._index.tokens), dtype=np.bool_)
        mask[token] = True
        return mask
