"""Texts that wait to be embedded, and when it is their turn beside the sequences of the engine."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from aios.cores.llama.messages import EmbedTexts, Failed, Vectors
from aios.errors import AiosError, ContextOverflow


@dataclass(slots=True)
class Asked:
    """A request, as far as it is done."""

    call: EmbedTexts
    vectors: list[list[float]] = field(default_factory=list[list[float]])
    tokens: int = 0


class EmbedQueue:
    """Requests take turns text by text, so that a thousand texts of one agent hold up no other. Beside running
    sequences texts get half of the time at most: a step of the engine waits for one text, which can't be
    divided, and then as long as that took nothing is embedded.

    `embed` makes a vector of tokens, at most `window` of them; `tokenize` reads a text; `clock` in seconds."""

    def __init__(
        self,
        embed: Callable[[Sequence[int]], list[float]],
        tokenize: Callable[[str], list[int]],
        window: int,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._embed, self._tokenize, self._window, self._clock = embed, tokenize, window, clock
        self._waiting: deque[Asked] = deque()
        self._next = 0.0
        """When it is a text's turn again, if sequences run."""

    @property
    def idle(self) -> bool:
        return not self._waiting

    def put(self, call: EmbedTexts) -> None:
        self._waiting.append(Asked(call))

    def drop(self, request: int) -> None:
        """Whoever asked is gone. Harmless if it is done."""
        self._waiting = deque(asked for asked in self._waiting if asked.call.request != request)

    def step(self, *, busy: bool) -> Vectors | Failed | None:
        """Embed the next text, if it is its turn (`busy`: sequences run); the answer to its request, if that is
        all of it."""
        began = self._clock()
        if not self._waiting or (busy and began < self._next):
            return None
        asked = self._waiting.popleft()
        try:
            self._one(asked)
        except AiosError as error:
            return Failed(id=asked.call.request, code=error.code, what=error.what, mend=error.mend)
        finally:
            ended = self._clock()
            self._next = ended + (ended - began)
        if len(asked.vectors) < len(asked.call.inputs):
            self._waiting.append(asked)
            return None
        return Vectors(request=asked.call.request, vectors=asked.vectors, tokens=asked.tokens)

    def _one(self, asked: Asked) -> None:
        if len(asked.vectors) == len(asked.call.inputs):
            return  # it was asked for nothing
        item = asked.call.inputs[len(asked.vectors)]
        tokens = self._tokenize(item) if isinstance(item, str) else item
        if len(tokens) > self._window:
            what = f"An input has {len(tokens)} tokens, the window is {self._window}."
            raise ContextOverflow(what, "Split it.")
        asked.vectors.append(self._embed(tokens))
        asked.tokens += len(tokens)
