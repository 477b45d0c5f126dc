"""One sequence inside the worker: from logits to tokens to text.

A generation is a pure function of its request, its prompt and the tokens generated so far. So it is rebuilt
anywhere by replaying those tokens, and an interrupt, another slot or a new worker changes nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from aios.cores.llama.grammar import GrammarFactory
from aios.cores.llama.messages import Start, Token
from aios.cores.llama.model import Vocabulary
from aios.cores.llama.sampler import Sampler
from aios.cores.llama.swapfile import Image
from aios.cores.llama.text import TextStream

LogprobRow = tuple[str, bytes, float]


class Generation:
    """`context` is prompt and generated tokens; `reason` is set when it ended. `images`: by path, of the swap
    files that its operations name. Raises InvalidSchema for a grammar that can't be compiled or met within
    `max_tokens`."""

    def __init__(
        self,
        start: Start,
        vocabulary: Vocabulary,
        grammars: GrammarFactory,
        images: Mapping[Path, Image] | None = None,
    ) -> None:
        self.start = start
        self.ops, self.reuse = start.ops, start.reuse
        self.images = images or {}
        self.id = start.id
        self.slot = start.slot
        self.context = start.tokens + start.generated
        self.prompt_length = len(start.tokens)
        self.reason: str | None = None
        self._vocabulary = vocabulary
        self._sampler = Sampler(start.sampling, start.seed, len(vocabulary.raw), start.logprobs)
        self._text = TextStream(tuple(start.stop))
        self._grammar = grammars.make(start.grammar, start.max_tokens) if start.grammar else None
        self._replay(start.generated)

    def _replay(self, generated: list[int]) -> None:
        self._sampler.replay(generated)
        for token in generated:
            self._text.push(self._vocabulary.pieces[token])
        if self._grammar:
            self._grammar.replay(generated)

    @property
    def waiting(self) -> bool:
        """Its logits are there, and for now it needs no others."""
        return False

    @property
    def generated(self) -> list[int]:
        return self.context[self.prompt_length :]

    def advance(self, logits: NDArray[np.float32]) -> Token | None:
        """Draw the next token from `logits` (n_vocab,); sets `reason` when it is the last.

        None when the model ended the text, which makes no token."""
        step = len(self.context) - self.prompt_length
        if self._grammar:
            drawn = self._grammar.pick(lambda allowed: self._sampler.sample(logits, step, allowed))
        else:
            drawn = self._sampler.sample(logits, step)
        if drawn.token in self._vocabulary.eog:
            self.reason = "stop"
            return None
        self.context.append(drawn.token)
        self._sampler.accept(drawn.token)
        text = self._text.push(self._vocabulary.pieces[drawn.token])
        complete = self._grammar.accept(drawn.token) if self._grammar else False
        if self._text.stopped or complete:
            self.reason = "stop"
        elif step + 1 >= self.start.max_tokens:
            self.reason = "length"
        rows = None
        if drawn.logprob is not None:
            rows = [self._row(drawn.token, drawn.logprob), *(self._row(t, p) for t, p in drawn.top)]
        return Token(self.id, drawn.token, text, rows)

    def held_back(self) -> str:
        """The text that waited for a possible stop string; "" after one was met. Call once, at the end."""
        return self._text.flush()

    def _row(self, token: int, logprob: float) -> LogprobRow:
        raw = self._vocabulary.raw[token]
        return raw.decode("utf-8", "replace"), raw, logprob
