"""What a model takes, measured on a small context before the memory of the slots is taken."""

from __future__ import annotations

from typing import NamedTuple

import msgspec

from aios.cores.llama.arena import Arena
from aios.cores.llama.engine import PROBE, Engine
from aios.cores.llama.messages import Options
from aios.cores.llama.model import Model
from aios.errors import ModelError

SMALL = 256
MOVING = 3
"""Contexts that are in memory once more for a moment: one that is read before it is wanted (`images.py`), one
that the engine moves, one that the kernel copies to a file."""


class Gauge(NamedTuple):
    """A parked context of n tokens takes `base + n * per_token` bytes, the longest `context`; a token of a
    prompt took `prefill_s` seconds; the weights take `weights` bytes of RAM, with the KV of all slots, the
    engine's work space and copies of contexts on their way it is `taken` (both 0: they are on a GPU)."""

    base: int
    per_token: int
    context: int
    prefill_s: float
    weights: int
    taken: int

    @classmethod
    def of(cls, model: Model, options: Options) -> Gauge:
        """Raises ModelError."""
        # As many slots as there will be: a saved context has some bytes for each.
        chunk = max(PROBE, options.prefill_chunk)
        small = msgspec.structs.replace(options, context=SMALL, prefill_chunk=chunk)
        engine = Engine(model, small, Arena(-1, 0))
        try:
            base, per_token, prefill_s = engine.measure()
        finally:
            engine.close()
        context = base + options.context * per_token
        if options.gpu_layers:
            return cls(base, per_token, context, prefill_s, 0, 0)
        taken = model.size + (options.slots + MOVING) * context
        return cls(base, per_token, context, prefill_s, model.size, taken)

    def opened(self, asked_for: int) -> Gauge:
        """The engine is made, and asked for so many bytes. Its work space is among them, which grows with the
        window and is not touched before it is used: here it can be had exactly and still be refused."""
        if not self.taken:
            return self
        return self._replace(taken=max(self.taken, self.weights + asked_for + MOVING * self.context))

    def check(self, options: Options, free: int | None) -> None:
        """Raises ModelError where `free` bytes are not enough."""
        if free is not None and self.taken > free:
            raise ModelError(
                f"The model with {options.slots} slots of {options.context} tokens takes {_mb(self.taken)} of "
                f"memory; {_mb(free)} are free.",
                "Lower `slots` or `context` of the core, choose a smaller model, or free memory.",
            )


def _mb(size: int) -> str:
    return f"{size / 2**20:,.0f} MB"
