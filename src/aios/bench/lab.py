"""An engine on the bench: the worker's own parts in this process, driven step by step.

The micro-benchmarks look at single operations and at raw logits, which the worker's protocol does not show; so
they take the engine out of its process. Nothing else differs.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Sequence
from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import NDArray

from aios.cores.core import KvOp, Truncate
from aios.cores.llama.arena import Arena
from aios.cores.llama.engine import Engine
from aios.cores.llama.ffi import Library
from aios.cores.llama.generation import Generation
from aios.cores.llama.grammar import GrammarFactory
from aios.cores.llama.messages import Options, Start, Token, to_wire
from aios.cores.llama.model import Model
from aios.cores.llama.parking import ParkingMemory
from aios.syscalls import Sampling


class Recorded(Generation):
    """A generation that keeps the logits (n_vocab,) of each token it drew, as bytes: equal means bit-equal."""

    def __init__(self, start: Start, model: Model, grammars: GrammarFactory) -> None:
        super().__init__(start, model.vocabulary, grammars)
        self.logits: list[bytes] = []

    def advance(self, logits: NDArray[np.float32]) -> Token | None:
        self.logits.append(logits.tobytes())
        return super().advance(logits)


class Lab:
    """Engines over one model and one parking memory. `restart` is what a worker's death does: a new engine
    with empty slots, while what was parked is still there."""

    def __init__(
        self,
        model: Path,
        *,
        slots: int,
        context: int = 4096,
        deterministic: bool = False,
        exact: bool = True,
        prefill_chunk: int = 128,
        arena_mb: int = 512,
        threads: int | None = None,
    ) -> None:
        self._library = Library()
        self.model = Model(self._library, model)
        self._memory = ParkingMemory(arena_mb * 2**20)
        self._options = Options(
            model=str(model),
            slots=slots,
            context=context,
            threads=threads or len(os.sched_getaffinity(0)),
            gpu_layers=0,
            exact=exact,
            deterministic=deterministic,
            prefill_chunk=prefill_chunk,
            arena_fd=self._memory.fd,
            arena_bytes=self._memory.size,
        )
        vocabulary = self.model.vocabulary
        self._grammars = GrammarFactory(
            vocabulary.raw,
            eos=vocabulary.eos,
            eog=vocabulary.eog,
            special=vocabulary.control,
            tokenize=lambda data: self.tokens(data.decode("utf-8", "replace")),
        )
        self._ids = itertools.count(1)
        self.engine = self._open()

    def _open(self) -> Engine:
        arena = Arena(self._memory.fd, self._memory.size)
        return Engine(self.model, self._options, arena)

    def restart(self, *, deterministic: bool | None = None) -> None:
        """A new engine. `deterministic` switches the mode for it."""
        self.engine.close()
        if deterministic is not None:
            self._options = msgspec.structs.replace(self._options, deterministic=deterministic)
        self.engine = self._open()

    def tokens(self, text: str) -> list[int]:
        return self.model.tokenize(text, special=False, bos=False)

    def start(
        self,
        slot: int,
        tokens: Sequence[int],
        *,
        generated: Sequence[int] = (),
        ops: Sequence[KvOp] = (),
        count: int = 32,
        sampling: Sampling | None = None,
        seed: int = 0,
    ) -> Recorded:
        """Start a sequence that generates until it has `count` tokens, whatever the model thinks of it. Without
        `ops` it starts from nothing, even if the slot holds KV it could use."""
        bias = dict.fromkeys(self.model.vocabulary.eog, -1000000000.0)
        sampling = sampling or Sampling(temperature=0.0)
        start = Start(
            id=next(self._ids),
            slot=slot,
            reuse=10**9,
            tokens=list(tokens),
            generated=list(generated),
            ops=[to_wire(op) for op in ops or [Truncate(slot, 0)]],
            sampling=msgspec.structs.replace(sampling, logit_bias=bias),
            seed=seed,
            max_tokens=count,
            stop=[],
        )
        generation = Recorded(start, self.model, self._grammars)
        self.engine.start(generation)
        return generation

    def finish(self) -> None:
        """Step until nothing runs."""
        while not self.engine.idle:
            self.engine.step()

    def until(self, generation: Recorded, count: int) -> None:
        """Step until `generation` has `count` generated tokens (or ended)."""
        while generation.reason is None and len(generation.generated) < count:
            self.engine.step()

    def close(self) -> None:
        self.engine.close()
        self.model.close()
        self._memory.close()
