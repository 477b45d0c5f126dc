"""Embeddings by the model of a core: the mean of its last layer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from aios.cores.llama.engine import Batch
from aios.cores.llama.model import Model
from aios.cores.ram import Ram
from aios.errors import CoreError, CoreRefused

LEAST = 512
"""Tokens that there is room for at first, so that short texts don't have it made anew one by one."""


class Embedder:
    """Mean-pooled, normalised embeddings of the model's last layer, with a context of their own, which is as
    long as the longest text so far: a text is computed in one piece, and what that takes grows with the square
    of its length. `reserved()`: bytes of what the machine calls free that are promised to others."""

    def __init__(
        self, model: Model, *, window: int, threads: int, ram: Ram, reserved: Callable[[], int]
    ) -> None:
        self._model, self._window, self._threads = model, window, threads
        self._ram, self._reserved = ram, reserved
        self._lib, self._ffi = model.library.lib, model.library.ffi
        self._size = 0
        self._context: Any = self._ffi.NULL
        self._batch: Batch | None = None
        self._width: int = self._lib.llama_model_n_embd(model.handle)

    def embed(self, tokens: Sequence[int]) -> list[float]:
        """One vector of length 1, width `n_embd`. At most `window` tokens, at least one. Raises CoreRefused
        (there is no memory for so long a text), CoreError."""
        batch = self._batch
        if batch is None or len(tokens) > self._size:
            batch = self._open(min(self._window, max(LEAST, 1 << (len(tokens) - 1).bit_length())))
        self._lib.llama_memory_clear(self._lib.llama_get_memory(self._context), True)
        batch.clear()
        for i, token in enumerate(tokens):
            batch.add(token, i, 0, logits=True)
        if self._lib.llama_decode(self._context, batch.data) != 0:
            raise CoreError("The engine failed to embed.", "Try again.")
        pointer = self._lib.llama_get_embeddings_seq(self._context, 0)
        vector = np.frombuffer(self._ffi.buffer(pointer, self._width * 4), dtype=np.float32)
        return (vector / max(float(np.linalg.norm(vector)), 1e-12)).tolist()

    def close(self) -> None:
        """Give its memory back. Harmless when it has none."""
        if self._batch is not None:
            self._batch.close()
            self._lib.llama_free(self._context)
        self._batch, self._context, self._size = None, self._ffi.NULL, 0

    def _open(self, size: int) -> Batch:
        """Room for a text of `size` tokens. Its memory is asked for here and touched when it is used: in
        between it can be refused."""
        self.close()
        before, free = self._ram.asked_for(), self._ram.free()
        params = self._lib.llama_context_default_params()
        params.n_ctx = params.n_batch = params.n_ubatch = size
        params.n_threads = params.n_threads_batch = self._threads
        params.embeddings = True
        params.pooling_type = 1  # mean
        params.flash_attn_type = 0
        context = self._lib.llama_init_from_model(self._model.handle, params)
        if context != self._ffi.NULL:
            self._context, self._size, self._batch = context, size, Batch(self._lib, size)
        takes = self._ram.asked_for() - before
        if self._batch is None or (free is not None and takes > free - self._reserved()):
            self.close()
            raise CoreRefused(
                f"No memory to embed texts of up to {size} tokens: that takes {takes / 2**20:,.0f} MB.",
                "Split it, lower `kv_ram_mb`, `slots` or `context` of the core, or free memory.",
            )
        return self._batch
