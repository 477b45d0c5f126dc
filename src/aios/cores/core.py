"""What a core is: one LLM instance, embedded or behind an endpoint.

A core executes; it decides nothing. The scheduler gives it a *sequence* (one choice of one `Generate`) and a
slot, and reads *steps* until the sequence ended or left the slot. Between two stays a sequence keeps all that
is needed to go on exactly: its tokens, what it generated, and (where the core has contexts) its KV state.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

import msgspec

from aios.syscalls import Delta, Embed, Embeddings, FinishReason, Generate, Record


class Ended(Record, frozen=True):
    """The sequence is done. `reasons` holds the finish reason of each choice it produced.

    `prompt_tokens` is the length of the prompt, of which the KV of `cached_tokens` was not computed anew."""

    reasons: dict[int, FinishReason]
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cached_tokens: int = 0


class Yielded(Record, frozen=True):
    """The sequence left its slot and is not done: run it again, in any slot, to go on with the next token."""

    why: Literal["interrupt", "core_lost"] = "interrupt"


Step = Delta | Ended | Yielded


@dataclass(frozen=True, slots=True)
class ContextSpec:
    """How a core keeps contexts, for those that can save and restore KV.

    A parked context of n tokens takes `bytes_base + n * bytes_per_token` bytes of the `ram_bytes` of parking
    memory. `align` > 1 means that only a multiple of so many prefilled tokens may be reused by another call
    (deterministic mode); `truncatable` False means that KV can be reused only whole (recurrent and
    sliding-window models). `prefill_s`: seconds it takes to compute a token of a prompt, about, as
    measured when the core started. `keeper` moves
    contexts that do not run; None: they can't be swapped."""

    bytes_base: int
    bytes_per_token: int
    ram_bytes: int
    align: int = 1
    truncatable: bool = True
    prefill_s: float = 0.003
    keeper: ContextKeeper | None = None


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What the scheduler may ask of a core. `window`: tokens of prompt and answer together; 0 unknown.
    `interruptible`: `interrupt` works, so that a quantum can be enforced."""

    window: int = 0
    interruptible: bool = False
    embeddings: bool = False
    contexts: ContextSpec | None = None


class Branch(msgspec.Struct):
    """One of several ways in which a sequence goes on at once, and the slot in which it does."""

    generated: list[int] = []
    slot: int = -1


class Sequence(msgspec.Struct, eq=False):
    """One choice of one `Generate` on its way through a core.

    `tokens` is the prompt in the core's vocabulary (empty where the core hides tokens), `generated` what was
    generated so far; both together are the context, and `kv` says of how many of its tokens the KV was in the
    slot when last heard of. `prefilled` counts the prompt tokens computed for it over all its stays. `state`
    is the core's own (sampler, parser, partial text). `group` says whose KV it may share.

    One of `width` > 1 takes so many slots, and has as many `branches`, or fewer; all of them are equally long,
    and `generated` is that of the first."""

    id: int
    call: Generate
    pid: int
    group: str
    choice: int = 0
    tokens: list[int] = []
    generated: list[int] = []
    kv: int = 0
    prefilled: int = 0
    state: Any = None
    width: int = 1
    branches: list[Branch] = []

    @property
    def contexts(self) -> list[list[int]]:
        """Of each branch; of one without branches its own."""
        if not self.branches:
            return [self.tokens + self.generated]
        return [self.tokens + branch.generated for branch in self.branches]

    def context_in(self, slot: int) -> list[int]:
        """The context that is computed in `slot`; empty if none is."""
        if not self.branches:
            return self.tokens + self.generated
        mine = [branch for branch in self.branches if branch.slot == slot]
        return self.tokens + mine[0].generated if mine else []


@dataclass(frozen=True, slots=True)
class Extent:
    """A piece of a core's parking memory: `offset` and `size` in bytes. It outlives the core's worker.
    `serial` is unique: what an earlier extent left at the same place is never taken for this one's."""

    offset: int
    size: int
    serial: int


@dataclass(frozen=True, slots=True)
class Save:
    """Copy the KV of `slot` (idle) into `extent`; the slot keeps it."""

    slot: int
    extent: Extent


@dataclass(frozen=True, slots=True)
class Load:
    """Replace the KV of `slot` by the first `tokens` tokens of what `extent` holds."""

    slot: int
    extent: Extent
    tokens: int


@dataclass(frozen=True, slots=True)
class Copy:
    """Replace the KV of `slot` by the first `tokens` tokens of what slot `source` holds."""

    slot: int
    source: int
    tokens: int


@dataclass(frozen=True, slots=True)
class Truncate:
    """Keep the first `tokens` tokens of the KV of `slot`."""

    slot: int
    tokens: int


@dataclass(frozen=True, slots=True)
class SwapIn:
    """Replace the KV of `slot` by the first `tokens` tokens of what the swap file `path` holds."""

    slot: int
    path: Path
    tokens: int


@dataclass(frozen=True, slots=True)
class SwapOut:
    """Copy what `extent` holds to the new swap file `path`; the extent keeps it."""

    extent: Extent
    path: Path


KvOp = Save | Load | Copy | Truncate | SwapIn | SwapOut


class Read(msgspec.Struct, frozen=True, array_like=True):
    """KV came back into a slot: `size` bytes in so many seconds, from disk or from RAM."""

    disk: bool
    size: int
    seconds: float


class ContextKeeper(Protocol):
    """What a core with contexts can do with those that do not run."""

    @property
    def fingerprint(self) -> str:
        """Of model, engine and settings: KV of another one is of no use."""
        ...

    async def move(self, ops: Iterable[KvOp]) -> None:
        """Do operations on idle slots. Raises CoreError."""
        ...

    async def swap_out(self, extent: Extent, path: Path) -> bool:
        """What the operation SwapOut does, beside everything else. False if nothing whole is there (yet).
        Raises OSError."""
        ...

    def damaged(self) -> list[tuple[Path, str]]:
        """Swap files that could not be used, and why: those found since it was asked last."""
        ...

    def reads(self) -> list[tuple[int, Read]]:
        """For which sequences KV was brought back since it was asked last, and what that took."""
        ...


class Seat(msgspec.Struct, frozen=True):
    """A slot, and what to do with KV, in order, before the sequence starts there. The core checks that the
    KV it ends up with belongs to the sequence's own tokens, and computes whatever is missing."""

    slot: int
    ops: tuple[KvOp, ...] = ()
    cached: int = 0
    """Tokens whose KV should be there after `ops`, and the most that may be reused."""
    others: tuple[Seat, ...] = ()
    """Of the other slots of a sequence that takes several."""


class Core(Protocol):
    """One LLM instance."""

    name: str
    """Unique in the kernel."""

    @property
    def models(self) -> tuple[str, ...]:
        """Model names it serves; the first is its default. Known after `start`."""
        ...

    @property
    def capacity(self) -> int:
        """Sequences that may be in `run` at once: slots, or the in-flight window, which may move."""
        ...

    @property
    def capabilities(self) -> Capabilities:
        """Known after `start`."""
        ...

    @property
    def epoch(self) -> int:
        """Grows each time all that was resident in the slots is lost (a worker restart)."""
        ...

    async def start(self, tasks: asyncio.TaskGroup) -> None:
        """Load the model or check the endpoint. What must go on from then on becomes tasks of `tasks`, which
        `close` ends. Raises ModelError, CoreError."""
        ...

    async def close(self) -> None:
        """Free everything. Running sequences end with `CoreUnavailable`."""
        ...

    async def prepare(self, call: Generate, pid: int, group: str) -> list[Sequence]:
        """Render, tokenize, compile and check a call: one sequence a choice, or one for all.

        Raises BadRequest (ContextOverflow, InvalidSchema, …) for what can't run."""
        ...

    def run(self, sequence: Sequence, seat: Seat) -> AsyncGenerator[Step, None]:
        """Run `sequence` in `seat.slot` until it ended or was interrupted; the last step is `Ended` or
        `Yielded`. Closing the generator cancels: the slot is free within one engine step.

        Raises CoreError. A worker that died yields `Yielded(why="core_lost")` once it is back."""
        ...

    def interrupt(self, sequence: Sequence) -> None:
        """Ask a running sequence to leave its slot after the current step. It may end first."""
        ...

    async def embed(self, call: Embed) -> Embeddings:
        """Embed texts. Raises BadRequest where `capabilities.embeddings` is False."""
        ...
