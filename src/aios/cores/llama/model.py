"""A loaded GGUF model and its vocabulary."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from aios.cores.llama.ffi import Library
from aios.errors import ModelCorrupt


class ModelInfo(msgspec.Struct, frozen=True, kw_only=True):
    """What the kernel must know of a model: its chat template, special tokens (text) and sizes."""

    description: str
    n_vocab: int
    n_ctx_train: int
    n_embd: int
    size_bytes: int
    parameters: int
    chat_template: str
    bos: str
    eos: str
    control: list[str]
    """Texts of all control tokens."""
    end_tokens: list[int]
    add_bos: bool
    truncatable: bool
    """Any prefix of a context's KV can be kept (not so for recurrent and sliding-window models)."""


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """`pieces[t]` is the text of token t as bytes, empty for control tokens; `raw[t]` names those too."""

    pieces: list[bytes]
    raw: list[bytes]
    eog: frozenset[int]
    control: frozenset[int]
    eos: int


class Model:
    """Weights and vocabulary. Safe to tokenize with from several threads. Raises ModelCorrupt."""

    def __init__(self, library: Library, path: Path, *, gpu_layers: int = 0) -> None:
        self.library = library
        ffi, lib = library.ffi, library.lib
        _check_magic(path)
        params = lib.llama_model_default_params()
        params.n_gpu_layers = gpu_layers if gpu_layers >= 0 else 999
        self.handle = lib.llama_model_load_from_file(str(path).encode(), params)
        if self.handle == ffi.NULL:
            raise ModelCorrupt(f"{path} can't be loaded: damaged, cut short, or of an unknown architecture.",
                               "Pull it again (`aios pull`), or name another GGUF file.")  # fmt: skip
        self._vocab: Any = lib.llama_model_get_vocab(self.handle)
        self.n_vocab: int = lib.llama_vocab_n_tokens(self._vocab)
        self.vocabulary = self._read_vocabulary()

    @property
    def size(self) -> int:
        """Bytes of its weights."""
        return self.library.lib.llama_model_size(self.handle)

    @property
    def trained(self) -> int:
        """The longest context it was trained for, tokens."""
        return self.library.lib.llama_model_n_ctx_train(self.handle)

    @property
    def sliding(self) -> int:
        """Tokens that some layers look back at; 0: all layers see everything."""
        return self.library.lib.llama_model_n_swa(self.handle)

    def info(self) -> ModelInfo:
        lib, handle = self.library.lib, self.handle
        template = lib.llama_model_chat_template(handle, self.library.ffi.NULL)
        return ModelInfo(
            description=self._description(),
            n_vocab=self.n_vocab,
            n_ctx_train=self.trained,
            n_embd=lib.llama_model_n_embd(handle),
            size_bytes=self.size,
            parameters=lib.llama_model_n_params(handle),
            chat_template=self._string(template),
            bos=self._special(lib.llama_vocab_bos(self._vocab)),
            eos=self._special(lib.llama_vocab_eos(self._vocab)),
            control=[self._special(token) for token in sorted(self.vocabulary.control)],
            end_tokens=sorted(self.vocabulary.eog),
            add_bos=lib.llama_vocab_get_add_bos(self._vocab),
            truncatable=not (
                lib.llama_model_is_recurrent(handle) or lib.llama_model_is_hybrid(handle) or self.sliding > 0
            ),
        )

    def tokenize(self, text: str, *, special: bool, bos: bool) -> list[int]:
        """Token ids of `text`. `special`: control tokens written in it are recognised; `bos`: the model's
        own beginning-of-sequence token goes first, if it has one."""
        ffi, lib = self.library.ffi, self.library.lib
        data = text.encode("utf-8", errors="replace")
        room = len(data) + 8
        while True:
            out = ffi.new("llama_token[]", room)
            count = lib.llama_tokenize(self._vocab, data, len(data), out, room, bos, special)
            if count >= 0:
                return list(ffi.unpack(out, count)) if count else []
            room = -count

    def close(self) -> None:
        self.library.lib.llama_model_free(self.handle)

    def _read_vocabulary(self) -> Vocabulary:
        lib = self.library.lib
        tokens = range(self.n_vocab)
        control = frozenset(t for t in tokens if lib.llama_vocab_is_control(self._vocab, t))
        raw = [self._piece(t, special=True) for t in tokens]
        return Vocabulary(
            pieces=[b"" if t in control else raw[t] for t in tokens],
            raw=raw,
            eog=frozenset(t for t in tokens if lib.llama_vocab_is_eog(self._vocab, t)),
            control=control,
            eos=lib.llama_vocab_eos(self._vocab),
        )

    def _piece(self, token: int, *, special: bool) -> bytes:
        ffi, lib = self.library.ffi, self.library.lib
        room = 64
        while True:
            buffer = ffi.new("char[]", room)
            count = lib.llama_token_to_piece(self._vocab, token, buffer, room, 0, special)
            if count >= 0:
                return bytes(ffi.buffer(buffer, count))
            room = -count

    def _special(self, token: int) -> str:
        return self.vocabulary.raw[token].decode("utf-8", "replace") if token >= 0 else ""

    def _description(self) -> str:
        buffer = self.library.ffi.new("char[]", 256)
        self.library.lib.llama_model_desc(self.handle, buffer, 256)
        return self._string(buffer)

    def _string(self, pointer: Any) -> str:
        ffi = self.library.ffi
        return "" if pointer == ffi.NULL else bytes(ffi.string(pointer)).decode("utf-8", "replace")


def _check_magic(path: Path) -> None:
    # The engine says only "failed"; these two causes are worth words of their own.
    mend = "Name a GGUF file, or a model of `aios models`."
    try:
        with path.open("rb") as file:
            magic = file.read(4)
    except OSError as error:
        raise ModelCorrupt(f"{path} can't be read: {error.strerror}.", mend) from error
    if magic != b"GGUF":
        raise ModelCorrupt(f"{path} is not a GGUF file (it begins with {magic!r}).", mend)
