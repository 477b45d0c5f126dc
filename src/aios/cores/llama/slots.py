"""The engine's slots: llama.cpp sequences and their KV state."""

from __future__ import annotations

import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

from aios.cores.core import Copy, Extent, KvOp, Load, Read, Save, SwapIn, SwapOut, Truncate
from aios.cores.llama.arena import Arena, Content
from aios.cores.llama.swapfile import Image, read_swapfile, write_swapfile
from aios.errors import StorageCorrupt

NOTHING: Mapping[Path, Image] = MappingProxyType({})


@dataclass(slots=True)
class Held:
    """The KV in a slot: of which tokens, and how many of them were the prompt of whoever computed it (those
    were prefilled in chunks, the later ones decoded one by one)."""

    tokens: list[int] = field(default_factory=list[int])
    prompt: int = 0


class Slots:
    """Which KV each slot holds, and the operations on it. Whatever the kernel believes, this is what is true:
    an operation whose source does not hold what was expected yields fewer tokens, never wrong ones."""

    def __init__(self, lib: Any, ffi: Any, context: Any, count: int, arena: Arena) -> None:
        self._lib, self._ffi, self._context, self._arena = lib, ffi, context, arena
        self._memory = lib.llama_get_memory(context)
        self._scratch = ffi.new_allocator(should_clear_after_alloc=False)
        self.held = [Held() for _ in range(count)]
        self.damaged: list[tuple[Path, str]] = []
        """Swap files that could not be used, and why."""
        self.reads: list[Read] = []
        """What was brought back, since somebody took this."""

    def length(self, slot: int) -> int:
        return len(self.held[slot].tokens)

    def apply(self, op: KvOp, images: Mapping[Path, Image] = NOTHING) -> None:
        """`images`: swap files that were read beforehand; others are read now."""
        match op:
            case Save(slot, extent):
                self._save(slot, extent)
            case Load(slot, extent, tokens):
                self._load(slot, extent)
                self.truncate(slot, tokens)
            case SwapIn(slot, path, tokens):
                self.truncate(slot, 0)
                if image := images.get(path) or self._read(path):
                    seconds = self._restore(slot, image.view, image.content)
                    self.reads.append(Read(True, image.content.length, image.seconds + seconds))
                self.truncate(slot, tokens)
            case SwapOut(extent, path):
                with suppress(OSError):  # who reads it finds that it is not there
                    write_swapfile(self._arena, extent, path)
            case Copy(slot, source, tokens):
                self._copy(slot, source)
                self.truncate(slot, tokens)
            case Truncate(slot, tokens):
                self.truncate(slot, tokens)

    def common(self, slot: int, context: list[int]) -> int:
        """How many leading tokens of `context`, short of its last (whose logits are still needed), have their
        KV in the slot."""
        held = self.held[slot].tokens
        most = min(len(held), len(context) - 1)
        if held[:most] == context[:most]:
            return most
        return next(i for i in range(most) if held[i] != context[i])

    def truncate(self, slot: int, length: int) -> None:
        held = self.held[slot]
        if length >= len(held.tokens):
            return
        if length == 0 or not self._lib.llama_memory_seq_rm(self._memory, slot, length, -1):
            # Recurrent state can't be cut: then all of it goes.
            self._lib.llama_memory_seq_rm(self._memory, slot, -1, -1)
            length = 0
        del held.tokens[length:]

    def _save(self, slot: int, extent: Extent) -> None:
        held = self.held[slot]
        room = self._arena.room(extent, len(held.tokens))
        needed = self._lib.llama_state_seq_get_size(self._context, slot)
        if not held.tokens or needed > len(room):
            return  # stays uncommitted: a later Load finds nothing there and the tokens are computed again
        target = self._ffi.from_buffer("uint8_t[]", room, require_writable=True)
        if self._lib.llama_state_seq_get_data(self._context, target, len(room), slot) == needed:
            self._arena.commit(extent, held.tokens, held.prompt, needed)

    def _load(self, slot: int, extent: Extent) -> None:
        self.truncate(slot, 0)
        if content := self._arena.content(extent):
            seconds = self._restore(slot, self._arena.view, content)
            self.reads.append(Read(False, content.length, seconds))

    def _restore(self, slot: int, view: memoryview, content: Content) -> float:
        """Seconds that it took."""
        began = time.perf_counter()
        state = view[content.start : content.start + content.length]
        if self._set(slot, self._ffi.from_buffer("uint8_t[]", state), content.length):
            self.held[slot] = Held(content.tokens, content.prompt)
        return time.perf_counter() - began

    def _read(self, path: Path) -> Image | None:
        try:
            return read_swapfile(path)
        except (OSError, StorageCorrupt) as error:
            self.damaged.append((path, str(error)))
            return None

    def _copy(self, slot: int, source: int) -> None:
        # Separate KV streams share nothing: the copy goes through the engine's own state format.
        self.truncate(slot, 0)
        size = self._lib.llama_state_seq_get_size(self._context, source)
        buffer = self._scratch("uint8_t[]", size)
        saved = self._lib.llama_state_seq_get_data(self._context, buffer, size, source) == size
        if saved and self._set(slot, buffer, size):
            held = self.held[source]
            self.held[slot] = Held(list(held.tokens), held.prompt)

    def _set(self, slot: int, source: Any, size: int) -> bool:
        return self._lib.llama_state_seq_set_data(self._context, source, size, slot) == size
