"""A beam search inside the worker: one lane, and so one slot, for each beam."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from aios.cores.core import Copy
from aios.cores.llama.beam import BeamSearch, Hypothesis
from aios.cores.llama.messages import BeamDone, BeamRow, BeamStep, Op, StartBeams, Written
from aios.cores.llama.model import Vocabulary
from aios.cores.llama.slots import Slots
from aios.cores.llama.swapfile import Image
from aios.cores.llama.text import TextStream


class Lane:
    """One beam as the engine sees it. It takes no token by itself: its logits wait until all beams have
    theirs."""

    reason: str | None = None

    def __init__(
        self,
        id: int,
        slot: int,
        context: list[int],
        prompt: int,
        *,
        reuse: int = 0,
        ops: list[Op] | None = None,
        images: Mapping[Path, Image] | None = None,
    ) -> None:
        self.id, self.slot, self.context, self.prompt_length = id, slot, context, prompt
        self.reuse, self.ops, self.images = reuse, ops or [], images or {}
        self.logits: NDArray[np.float32] | None = None

    @property
    def waiting(self) -> bool:
        return self.logits is not None

    def advance(self, logits: NDArray[np.float32]) -> None:
        self.logits = logits.copy()


class BeamRun:
    """A beam search and its lanes, in the slots that the kernel gave it."""

    def __init__(self, start: StartBeams, vocabulary: Vocabulary, images: Mapping[Path, Image]) -> None:
        self.id = start.id
        self._start, self._vocabulary = start, vocabulary
        self._search = BeamSearch(
            len(start.seats), max_tokens=start.max_tokens, penalty=start.length_penalty, eog=vocabulary.eog,
            bias=start.bias, stopped=self._stopped, beams=start.beams, scores=start.scores, ended=start.ended,
        )  # fmt: skip
        self.lanes = [
            Lane(
                start.id, seat.slot, start.tokens + beam, len(start.tokens),
                reuse=seat.reuse, ops=seat.ops, images=images,
            )
            for seat, beam in zip(start.seats, start.beams, strict=False)
        ]  # fmt: skip
        for seat in start.seats[len(self.lanes) :]:
            self.lanes[-1].ops += seat.ops  # what was in the slots that are not needed yet is saved

    @property
    def ready(self) -> bool:
        """All beams have their logits."""
        return all(lane.waiting for lane in self.lanes)

    def step(self, slots: Slots) -> BeamStep | BeamDone:
        """Choose the next beams and give each a slot with its KV."""
        parents = self._search.expand([lane.logits for lane in self.lanes if lane.logits is not None])
        if self._search.done:
            return self._over(slots)
        slot_of = self._place(parents, slots)
        prompt = len(self._start.tokens)
        self.lanes = [
            Lane(self.id, slot, self._start.tokens + beam, prompt)
            for slot, beam in zip(slot_of, self._search.beams, strict=True)
        ]
        rows = [
            BeamRow(parent, beam[-1], score, slot)
            for parent, beam, score, slot in zip(
                parents, self._search.beams, self._search.scores, slot_of, strict=True
            )
        ]
        return BeamStep(id=self.id, rows=rows, ended=self._search.ended)

    def _place(self, parents: list[int], slots: Slots) -> list[int]:
        """The slot of each new beam: the first that goes on from a beam stays in its slot, the others get
        copies of it in slots that nothing goes on from."""
        heirs = {parent: i for i, parent in reversed(list(enumerate(parents)))}
        kept = {self.lanes[parent].slot for parent in heirs}
        free = [seat.slot for seat in self._start.seats if seat.slot not in kept]
        placed: list[int] = []
        for i, parent in enumerate(parents):
            source = self.lanes[parent]
            slot = source.slot if heirs[parent] == i else free.pop()
            if slot != source.slot:
                slots.apply(Copy(slot, source.slot, len(source.context)))
            placed.append(slot)
        return placed

    def _over(self, slots: Slots) -> BeamDone:
        best = [self._written(each) for each in self._search.best(self._start.best)]
        return BeamDone(id=self.id, best=best, kv_tokens=self.kv_tokens(slots))

    def kv_tokens(self, slots: Slots) -> int:
        """How many tokens of each beam have their KV in its slot, at least."""
        return min(slots.length(lane.slot) for lane in self.lanes)

    def _written(self, hypothesis: Hypothesis) -> Written:
        text = TextStream(tuple(self._start.stop))
        shown = "".join([text.push(self._vocabulary.pieces[token]) for token in hypothesis.tokens])
        return Written(shown + text.flush(), hypothesis.tokens, hypothesis.score, hypothesis.reason)

    def _stopped(self, tokens: list[int]) -> bool:
        """A stop string was completed by the last token."""
        stops = [stop.encode() for stop in self._start.stop]
        if not stops:
            return False
        pieces = self._vocabulary.pieces
        last, tail = pieces[tokens[-1]], b""
        need = max(map(len, stops)) - 1
        for token in reversed(tokens[:-1]):
            if len(tail) >= need:
                break
            tail = pieces[token] + tail
        return any(stop in tail[-need:] + last if need else stop in last for stop in stops)
