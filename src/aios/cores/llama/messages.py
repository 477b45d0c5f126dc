"""What the kernel and the engine's worker say to each other, and how it is framed.

A frame is a 4-byte little-endian length and a MessagePack message. The socket is private to the pair.
"""

from __future__ import annotations

import struct
from pathlib import Path

import msgspec

from aios.cores.core import Copy, Extent, KvOp, Load, Read, Save, SwapIn, SwapOut, Truncate
from aios.cores.llama.beam import Hypothesis
from aios.cores.llama.model import ModelInfo
from aios.syscalls import Sampling

FRAME = struct.Struct("<I")
DEFAULT_WINDOW = 4096


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """How the worker sets up the engine. Sizes in tokens (`context` 0: the smaller of the model's own and
    DEFAULT_WINDOW); `arena_bytes` is the size of the parking memory behind the inherited file descriptor
    `arena_fd`. Model and slots may take `free` bytes, or what the machine has if that is less or None."""

    model: str
    slots: int
    context: int
    threads: int
    gpu_layers: int
    exact: bool
    deterministic: bool
    prefill_chunk: int
    arena_fd: int
    arena_bytes: int
    free: int | None = None


# -- to the worker ----------------------------------------------------------------------------------


class Op(msgspec.Struct, frozen=True, array_like=True):
    """A KvOp on the wire: what, slot, source slot or -1, extent (offset, size, serial), tokens, file."""

    what: str
    slot: int
    source: int = -1
    offset: int = 0
    size: int = 0
    serial: int = 0
    tokens: int = 0
    path: str = ""


class Start(msgspec.Struct, frozen=True, kw_only=True, tag="start"):
    """Run a sequence in `slot` after `ops`. `generated` are tokens of an earlier stay: go on after them. Of the
    KV that is then in the slot at most `reuse` tokens may be used: the rest may be of another group."""

    id: int
    slot: int
    reuse: int
    tokens: list[int]
    generated: list[int]
    ops: list[Op]
    sampling: Sampling
    seed: int
    max_tokens: int
    stop: list[str]
    logprobs: int | None = None
    grammar: str | None = None


class LaneSeat(msgspec.Struct, frozen=True, array_like=True):
    """The slot of one beam: at most `reuse` tokens of the KV that is in it after `ops` may be used."""

    slot: int
    reuse: int
    ops: list[Op]


class StartBeams(msgspec.Struct, frozen=True, kw_only=True, tag="start_beams"):
    """Run a beam search over as many beams as `seats`, and answer with the `best` ones. `beams`, `scores` and
    `ended` are those of an earlier stay; at first one beam without tokens."""

    id: int
    seats: list[LaneSeat]
    tokens: list[int]
    beams: list[list[int]]
    scores: list[float]
    ended: list[Hypothesis]
    best: int
    length_penalty: float
    bias: dict[int, float]
    max_tokens: int
    stop: list[str]

    @property
    def ops(self) -> list[Op]:
        return [op for seat in self.seats for op in seat.ops]


class Stop(msgspec.Struct, frozen=True, kw_only=True, tag="stop"):
    """Leave the slot after the current step. `Left` answers, unless the sequence ended first. Of a request for
    embeddings: the rest of it is not wanted."""

    id: int


class Tokenize(msgspec.Struct, frozen=True, kw_only=True, tag="tokenize"):
    """Tokenize texts one by one and join the ids. `special`: control tokens in them are recognised; `bos`: the
    model's beginning-of-sequence token goes first."""

    request: int
    parts: list[str]
    special: bool
    bos: bool


class EmbedTexts(msgspec.Struct, frozen=True, kw_only=True, tag="embed"):
    request: int
    inputs: list[str | list[int]]


class Move(msgspec.Struct, frozen=True, kw_only=True, tag="move"):
    """Do operations on idle slots. `Moved` answers."""

    request: int
    ops: list[Op]


class Close(msgspec.Struct, frozen=True, kw_only=True, tag="close"):
    pass


ToWorker = Start | StartBeams | Stop | Tokenize | EmbedTexts | Move | Close


# -- from the worker --------------------------------------------------------------------------------


class Ready(msgspec.Struct, frozen=True, kw_only=True, tag="ready"):
    """The engine is up. A parked context of n tokens takes `extent_base + n * extent_per_token` bytes.
    `prefill_s`: seconds a token of a prompt took. `taken`: bytes of RAM for the weights and the slots; 0: they
    are on a GPU."""

    info: ModelInfo
    context: int
    extent_base: int
    extent_per_token: int
    prefill_s: float
    taken: int


class Seated(msgspec.Struct, frozen=True, kw_only=True, tag="seated"):
    """A sequence began its stay; the KV of `cached` of its tokens was there. `reads`: what was brought back for
    it, and what that took."""

    id: int
    cached: int
    reads: list[Read] = []


class Token(msgspec.Struct, frozen=True, array_like=True):
    """One generated token of sequence `id`, the text it made showable, and (if asked) its logprob and the
    likeliest rivals as (token text, bytes, logprob), the chosen one first."""

    id: int
    token: int
    text: str
    logprobs: list[tuple[str, bytes, float]] | None = None


class Tokens(msgspec.Struct, frozen=True, kw_only=True, tag="tokens"):
    """All tokens of one engine step."""

    tokens: list[Token]


class BeamRow(msgspec.Struct, frozen=True, array_like=True):
    """A beam after a step: it goes on from the `parent`-th of those before by `token`, lies in `slot`, and has
    that `score`."""

    parent: int
    token: int
    score: float
    slot: int


class BeamStep(msgspec.Struct, frozen=True, kw_only=True, tag="beam_step"):
    """One step of a beam search: the beams that go on, and the best that ended so far."""

    id: int
    rows: list[BeamRow]
    ended: list[Hypothesis]


class Written(msgspec.Struct, frozen=True, array_like=True):
    """An answer of a beam search."""

    text: str
    tokens: list[int]
    score: float
    reason: str


class BeamDone(msgspec.Struct, frozen=True, kw_only=True, tag="beam_done"):
    """A beam search ended with these answers, best first. `kv_tokens` as of `Done`."""

    id: int
    best: list[Written]
    kv_tokens: int


class Done(msgspec.Struct, frozen=True, kw_only=True, tag="done"):
    """A sequence ended. `text` is what was held back; `kv_tokens` tokens of it have their KV in the slot."""

    id: int
    reason: str
    text: str
    kv_tokens: int


class Left(msgspec.Struct, frozen=True, kw_only=True, tag="left"):
    """A stopped sequence is out of its slot, which holds the KV of its first `kv_tokens` tokens."""

    id: int
    kv_tokens: int


class Failed(msgspec.Struct, frozen=True, kw_only=True, tag="failed"):
    """Sequence or request `id` failed with the error of that code. `id` 0: the worker itself."""

    id: int
    code: str
    what: str
    mend: str = ""


class TokenIds(msgspec.Struct, frozen=True, kw_only=True, tag="token_ids"):
    request: int
    ids: list[int]


class Vectors(msgspec.Struct, frozen=True, kw_only=True, tag="vectors"):
    request: int
    vectors: list[list[float]]
    tokens: int


class Moved(msgspec.Struct, frozen=True, kw_only=True, tag="moved"):
    request: int


class Damaged(msgspec.Struct, frozen=True, kw_only=True, tag="damaged"):
    """The swap file `path` could not be used."""

    path: str
    why: str


FromWorker = (
    Ready | Seated | Tokens | BeamStep | BeamDone | Done | Left | Failed | TokenIds | Vectors | Moved | Damaged
)


def frame(message: ToWorker | FromWorker, encoder: msgspec.msgpack.Encoder) -> bytes:
    """The bytes of one message on the socket."""
    body = encoder.encode(message)
    return FRAME.pack(len(body)) + body


def to_wire(op: KvOp) -> Op:
    match op:
        case Save(slot, e):
            return Op("save", slot, offset=e.offset, size=e.size, serial=e.serial)
        case Load(slot, e, tokens):
            return Op("load", slot, offset=e.offset, size=e.size, serial=e.serial, tokens=tokens)
        case Copy(slot, source, tokens):
            return Op("copy", slot, source=source, tokens=tokens)
        case Truncate(slot, tokens):
            return Op("truncate", slot, tokens=tokens)
        case SwapIn(slot, path, tokens):
            return Op("swap_in", slot, tokens=tokens, path=str(path))
        case SwapOut(e, path):
            return Op("swap_out", -1, offset=e.offset, size=e.size, serial=e.serial, path=str(path))


def from_wire(op: Op) -> KvOp:
    extent = Extent(op.offset, op.size, op.serial)
    match op.what:
        case "save":
            return Save(op.slot, extent)
        case "load":
            return Load(op.slot, extent, op.tokens)
        case "copy":
            return Copy(op.slot, op.source, op.tokens)
        case "swap_in":
            return SwapIn(op.slot, Path(op.path), op.tokens)
        case "swap_out":
            return SwapOut(extent, Path(op.path))
        case _:
            return Truncate(op.slot, op.tokens)
