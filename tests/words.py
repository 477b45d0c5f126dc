"""A small vocabulary for tests of grammars: all bytes, some longer tokens, two that end the text."""

from typing import NamedTuple

import numpy as np

from aios.cores.llama.grammar import GrammarFactory, GrammarState

LONGER = [
    '"}', '{"', '": ', '", "', "[]", "}}", "]}", "00", "12", "true", "null", "name", "city", "Oslo", "<tool",
    "_call>", "</tool", "\n{", '"name": "', '", "arguments": ', "alpha", "the ", "lo", "wor", "ld", "é", "€",
]  # fmt: skip
ENDS = [b"<|end|>", b"<|eot|>", b"<|im|>", b""]
TOKENS = [bytes([b]) for b in range(256)] + [w.encode() for w in LONGER] + ENDS
EOS, EOT, CONTROL = len(TOKENS) - 4, len(TOKENS) - 3, len(TOKENS) - 2


class Drawn(NamedTuple):
    token: int


def tokenize(data: bytes) -> list[int]:
    """Longest match first."""
    ids: list[int] = []
    by_length = sorted(range(EOS), key=lambda t: -len(TOKENS[t]))
    while data:
        ids.append(next(t for t in by_length if data.startswith(TOKENS[t])))
        data = data[len(TOKENS[ids[-1]]) :]
    return ids


def text_of(tokens: list[int]) -> str:
    return b"".join(TOKENS[t] for t in tokens).decode()


def grammar_factory() -> GrammarFactory:
    return GrammarFactory(
        TOKENS, eos=EOS, eog=frozenset({EOS, EOT}), special=frozenset({EOS, EOT, CONTROL}), tokenize=tokenize
    )


def accepts(state: GrammarState, text: str) -> bool:
    """Whether `text`, as tokens, is allowed from here on; moves the state."""
    for token in tokenize(text.encode()):
        if not state.allowed()[token]:
            return False
        state.accept(token)
    return True


def ramble(state: GrammarState, most: int, seed: int) -> tuple[list[int], bool]:
    """What a model without any sense writes: allowed tokens at random; and whether it ended by itself."""
    rng = np.random.default_rng(seed)
    tokens: list[int] = []
    while len(tokens) < most:
        drawn = state.pick(lambda allowed: Drawn(int(rng.choice(np.flatnonzero(allowed)))))
        if drawn.token in (EOS, EOT):
            return tokens, True
        tokens.append(drawn.token)
        if state.accept(drawn.token):
            return tokens, True
    return tokens, False
