"""The engine: schedule -> decode -> sample, one step at a time, for all slots together.

Each step gives every decoding sequence one token and takes a bounded chunk of prompt tokens of the sequences
that are still being prefilled, in the order in which they were started (continuous batching, Orca, Yu et al.
2022, section 3; chunked prefill, Sarathi, Agrawal et al. 2023, section 4). The engine decides nothing: who
starts, where and in which order is the kernel's business.

In *deterministic* mode each sequence is decoded in a call of its own and prompts are cut at multiples of
`prefill_chunk`, so the shape of every computation, and with it every float, is the same whatever else runs.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from aios.cores.core import Copy, Save, SwapOut
from aios.cores.llama.arena import Arena
from aios.cores.llama.generation import Generation
from aios.cores.llama.lanes import BeamRun, Lane
from aios.cores.llama.messages import (
    BeamDone,
    Done,
    FromWorker,
    Left,
    Options,
    Seated,
    Token,
    Tokens,
    from_wire,
)
from aios.cores.llama.model import Model
from aios.cores.llama.slots import Slots
from aios.errors import CoreError, ModelError

PROBE = 33
"""Tokens of the longer of the two contexts that `measure` looks at."""


@dataclass(slots=True)
class Span:
    """A piece of work: the next `count` tokens of a generation. `last`: its logits are to be sampled."""

    generation: Generation | Lane
    count: int
    last: bool


class Batch:
    """A reusable `llama_batch` of at most `size` tokens."""

    def __init__(self, lib: Any, size: int) -> None:
        self._lib = lib
        self.size = size
        self.data: Any = lib.llama_batch_init(size, 0, 1)

    def clear(self) -> None:
        self.data.n_tokens = 0

    def add(self, token: int, position: int, slot: int, *, logits: bool) -> int:
        i = self.data.n_tokens
        self.data.token[i] = token
        self.data.pos[i] = position
        self.data.n_seq_id[i] = 1
        self.data.seq_id[i][0] = slot
        self.data.logits[i] = logits
        self.data.n_tokens = i + 1
        return i

    def close(self) -> None:
        self._lib.llama_batch_free(self.data)


class Engine:
    """A llama.cpp context with `options.slots` slots. Not thread-safe: one thread calls everything.

    Raises ModelError when the context can't be made (usually: not enough memory)."""

    def __init__(self, model: Model, options: Options, arena: Arena) -> None:
        self.model, self.options = model, options
        self._lib, self._ffi = model.library.lib, model.library.ffi
        self._context = self._open(options)
        self.slots = Slots(self._lib, self._ffi, self._context, options.slots, arena)
        self._batch = Batch(self._lib, options.prefill_chunk + options.slots)
        self._pending: list[Generation | Lane] = []
        self._running: dict[int, Generation | Lane] = {}
        """By slot, in the order in which they started."""
        self._searches: dict[int, BeamRun] = {}
        self.window: int = self._lib.llama_n_ctx_seq(self._context)

    def _open(self, options: Options) -> Any:
        params = self._lib.llama_context_default_params()
        params.n_ctx = options.context * options.slots
        params.n_seq_max = options.slots
        params.n_batch = params.n_ubatch = options.prefill_chunk + options.slots
        params.n_threads = params.n_threads_batch = options.threads
        params.swa_full = True  # layers that look back only so far keep all: a slot is as large as was counted
        exact = options.exact or options.deterministic
        params.kv_unified = not exact
        params.flash_attn_type = 0 if exact else 1
        context = self._lib.llama_init_from_model(self.model.handle, params)
        if context == self._ffi.NULL:
            raise ModelError(
                f"No memory for {options.slots} slots of {options.context} tokens.",
                "Lower `slots` or `context` of the core.",
            )
        return context

    def measure(self) -> tuple[int, int, float]:
        """Bytes of a parked context: (fixed part, part per token), found by saving two small ones; and seconds
        that a token of a prompt takes. Of an engine whose batch has room for the longer one."""
        sizes: list[int] = []
        took = 0.0
        for count in (1, PROBE):
            began = time.perf_counter()
            self._batch.clear()
            for i in range(count):
                self._batch.add(0, i, 0, logits=False)
            self._lib.llama_decode(self._context, self._batch.data)
            sizes.append(self._lib.llama_state_seq_get_size(self._context, 0))
            took = time.perf_counter() - began
            self._lib.llama_memory_seq_rm(self._lib.llama_get_memory(self._context), 0, -1, -1)
        per_token = -(-(sizes[1] - sizes[0]) // (PROBE - 1))
        # An extent also holds the token ids, 4 bytes each.
        return sizes[0] + per_token, per_token + 4, took / PROBE

    # -- commands ----------------------------------------------------------------------------------

    def start(self, generation: Generation) -> None:
        """Run `generation` in its slot, after its operations on KV; in the order of these calls."""
        self._pending.append(generation)

    def search(self, run: BeamRun) -> None:
        """Run a beam search in its slots."""
        self._searches[run.id] = run
        self._pending.extend(run.lanes)

    def stop(self, sequence: int) -> Left | None:
        """Take a sequence out of its slot. None if it is not running (it ended, or is not seated yet: then it
        leaves as soon as it is, since the kernel counts on its operations on KV)."""
        mine = [each for each in self._running.values() if each.id == sequence]
        pending = [each for each in self._pending if each.id == sequence]
        for each in pending:
            each.reason = "stopped"
        if pending or not mine:
            return None
        for each in mine:
            del self._running[each.slot]
        run = self._searches.pop(sequence, None)
        return Left(id=sequence, kv_tokens=run.kv_tokens(self.slots) if run else self._kv(mine[0]))

    @property
    def idle(self) -> bool:
        return not self._pending and not self._running

    # -- one step ----------------------------------------------------------------------------------

    def step(self) -> list[FromWorker]:
        """Do one step of work and return what happened. Raises CoreError when the engine fails."""
        out: list[FromWorker] = self._admit()
        tokens: list[Token] = []
        for spans in self._schedule():
            for span, logits in self._decode(spans):
                if token := span.generation.advance(logits):
                    tokens.append(token)
        if tokens:
            out.append(Tokens(tokens=tokens))
        out.extend(self._collect())
        for run in [run for run in self._searches.values() if run.ready]:
            out.append(self._widen(run))
        return out

    def _widen(self, run: BeamRun) -> FromWorker:
        for lane in run.lanes:
            del self._running[lane.slot]
        happened = run.step(self.slots)
        if isinstance(happened, BeamDone):
            del self._searches[run.id]
        else:
            self._running |= {lane.slot: lane for lane in run.lanes}
        return happened

    def _admit(self) -> list[FromWorker]:
        """Seat pending generations in order, up to the first that needs what is still being prefilled."""
        out: list[FromWorker] = []
        while self._pending:
            generation = self._pending[0]
            ops = [from_wire(op) for op in generation.ops]
            taken = {g.slot: g.waiting or self._decoding(g) for g in self._running.values()}
            if any(isinstance(op, Copy) and not taken.get(op.source, True) for op in ops):
                break  # its prefix is on the way: computing it twice would cost more than waiting
            if generation.slot in taken:
                break
            del self._pending[0]
            for op in ops:
                if isinstance(op, Save | SwapOut) or op.slot == generation.slot:
                    self.slots.apply(op, generation.images)
            generation.images = {}
            reads, self.slots.reads = self.slots.reads, []
            if generation.reason:
                out.extend(self._gone(generation))
                continue
            out.append(Seated(id=generation.id, cached=self._seat(generation), reads=reads))
            self._running[generation.slot] = generation
        return out

    def _gone(self, generation: Generation | Lane) -> list[FromWorker]:
        """It was stopped before it had its slot; of a search, when the last lane is."""
        if any(each.id == generation.id for each in self._pending):
            return []
        self._searches.pop(generation.id, None)
        mine = [each for each in (*self._running.values(), generation) if each.id == generation.id]
        for each in mine:
            self._running.pop(each.slot, None)
        return [Left(id=generation.id, kv_tokens=min(self._kv(each) for each in mine))]

    def _seat(self, generation: Generation | Lane) -> int:
        """Keep what the slot holds of the generation's KV; returns how many tokens of it."""
        slot, prompt = generation.slot, generation.prompt_length
        cached = min(self.slots.common(slot, generation.context), generation.reuse)
        held = self.slots.held[slot]
        if self.options.deterministic and not (held.prompt == prompt and cached >= prompt):
            # Only whole chunks of a prompt are what this generation would have computed itself.
            cached = min(cached, held.prompt, prompt)
            cached -= cached % self.options.prefill_chunk
        self.slots.truncate(slot, cached)
        held.prompt = prompt
        return self.slots.length(slot)

    def _schedule(self) -> list[list[Span]]:
        """The decode calls of this step, each a list of spans."""
        decoding = [Span(g, 1, last=True) for g in self._running.values() if self._decoding(g)]
        prefill: list[Span] = []
        budget = self.options.prefill_chunk
        for generation in self._running.values():
            if budget <= 0:
                break
            if not generation.waiting and not self._decoding(generation):
                span = self._prefill_span(generation, budget)
                prefill.append(span)
                budget -= span.count
                if self.options.deterministic:
                    break
        if self.options.deterministic:
            return [[span] for span in decoding + prefill]
        # With separate KV streams the library computes together only slots that follow each other in the batch
        # with no number left out: in any other order each would be a pass through the model of its own.
        together = sorted(decoding + prefill, key=lambda span: span.generation.slot)
        return [together] if together else []

    def _prefill_span(self, generation: Generation | Lane, budget: int) -> Span:
        done, total = self._kv(generation), len(generation.context)
        count = min(total - done, budget)
        if self.options.deterministic:
            if done >= generation.prompt_length:
                count = 1  # a token generated before a crash: computed alone, as it was the first time
            else:
                chunk = self.options.prefill_chunk
                count = min(generation.prompt_length - done, chunk - done % chunk)
        return Span(generation, count, last=done + count == total)

    def _decode(self, spans: list[Span]) -> list[tuple[Span, NDArray[np.float32]]]:
        self._batch.clear()
        wanted: list[tuple[Span, int]] = []
        for span in spans:
            generation = span.generation
            done = self._kv(generation)
            row = -1
            for i in range(done, done + span.count):
                last = span.last and i + 1 == done + span.count
                row = self._batch.add(generation.context[i], i, generation.slot, logits=last)
            if span.last:
                wanted.append((span, row))
        status = self._lib.llama_decode(self._context, self._batch.data)
        if status != 0:
            raise CoreError(f"The engine failed to decode (status {status}).", "The kernel restarts it.")
        for span in spans:
            done = self._kv(span.generation)
            self.slots.held[span.generation.slot].tokens += span.generation.context[done : done + span.count]
        return [(span, self._logits(row)) for span, row in wanted]

    def _logits(self, row: int) -> NDArray[np.float32]:
        pointer = self._lib.llama_get_logits_ith(self._context, row)
        size = self.model.n_vocab * 4
        return np.frombuffer(self._ffi.buffer(pointer, size), dtype=np.float32)

    def _collect(self) -> list[FromWorker]:
        """Take out the generations that ended in this step."""
        ended = [g for g in self._running.values() if isinstance(g, Generation) and g.reason is not None]
        for generation in ended:
            del self._running[generation.slot]
        return [
            Done(id=g.id, reason=g.reason or "stop", text=g.held_back(), kv_tokens=self._kv(g)) for g in ended
        ]

    def _kv(self, generation: Generation | Lane) -> int:
        return self.slots.length(generation.slot)

    def _decoding(self, generation: Generation | Lane) -> bool:
        """Only its newest token is missing: the next step is a plain decode. In deterministic mode a prompt's
        last token is part of its chunk, never decoded alone, except where the chunk has just that one."""
        missing = len(generation.context) - self._kv(generation)
        return missing == 1 and len(generation.context) > generation.prompt_length

    def close(self) -> None:
        self._batch.close()
        self._lib.llama_free(self._context)
