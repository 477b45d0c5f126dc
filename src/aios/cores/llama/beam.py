"""Beam search: which continuations to follow. Pure: logits in, the next beams out."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence, Set

import msgspec
import numpy as np
from numpy.typing import NDArray


class Hypothesis(msgspec.Struct, frozen=True, array_like=True):
    """A continuation that ended: its tokens, the sum of their log probabilities (and that of the end, if the
    model ended it), and why it ended: `stop` or `length`. `length`: tokens with the end."""

    tokens: list[int]
    score: float
    reason: str
    length: int

    def rank(self, penalty: float) -> float:
        """Greater is better: the score over length to the power of `penalty`."""
        return self.score / max(1, self.length) ** penalty


class BeamSearch:
    """Keeps the `width` likeliest continuations (Graves 2012, section 2; lengths are evened out as in Wu et al.
    2016, "Google's Neural Machine Translation System", section 7, in the form score / length**penalty).

    All of its state is `beams` (token lists of equal length), `scores` and `ended`: with them it goes on
    exactly. `eog`: tokens that end a text; `stopped(tokens)`: whether a stop string does."""

    def __init__(
        self,
        width: int,
        *,
        max_tokens: int,
        penalty: float,
        eog: Set[int],
        bias: Mapping[int, float],
        stopped: Callable[[list[int]], bool],
        beams: Sequence[list[int]] = ((),),  # pyright: ignore[reportArgumentType]
        scores: Sequence[float] = (0.0,),
        ended: Sequence[Hypothesis] = (),
    ) -> None:
        self.beams = [list(beam) for beam in beams]
        self.scores = list(scores)
        self.ended = list(ended)
        self._width, self._max_tokens, self._penalty = width, max_tokens, penalty
        self._eog, self._bias, self._stopped = eog, bias, stopped

    def expand(self, rows: Sequence[NDArray[np.float32]]) -> list[int]:
        """One step: `rows[i]` are the logits (n_vocab,) after beam i. Returns which beam each new one goes on
        from."""
        parents: list[int] = []
        beams: list[list[int]] = []
        scores: list[float] = []
        for rank, (score, parent, token) in enumerate(self._candidates(rows)):
            if len(beams) == self._width:
                break
            tokens = self.beams[parent]
            if token not in self._eog:
                parents.append(parent)
                beams.append([*tokens, token])
                scores.append(score)
            elif rank < self._width:
                self.ended.append(Hypothesis(tokens, score, "stop", len(tokens) + 1))
        going = [i for i, beam in enumerate(beams) if not self._end(beam, scores[i])]
        self.beams = [beams[i] for i in going]
        self.scores = [scores[i] for i in going]
        self.ended = self.best(self._width)
        return [parents[i] for i in going]

    @property
    def done(self) -> bool:
        """Nothing that goes on can become better than what ended."""
        if not self.beams:
            return True
        hope = max(self.scores) / len(self.beams[0]) ** self._penalty if self.beams[0] else 0.0
        return len(self.ended) == self._width and hope <= self.ended[-1].rank(self._penalty)

    def best(self, count: int) -> list[Hypothesis]:
        """The best that ended, best first; of equals the earlier."""
        return sorted(self.ended, key=lambda each: -each.rank(self._penalty))[:count]

    def _candidates(self, rows: Sequence[NDArray[np.float32]]) -> list[tuple[float, int, int]]:
        """(score, beam, token) of the likeliest steps, best first; equals by beam, then token."""
        found: list[tuple[float, int, int]] = []
        for beam, row in enumerate(rows):
            logits = row.astype(np.float64)
            for token, bias in self._bias.items():
                logits[token] += bias
            top = float(logits.max())
            logits -= top + float(np.log(np.exp(logits - top).sum()))
            count = min(len(logits), self._width + len(self._eog))
            tokens = np.argpartition(-logits, count - 1)[:count]
            found += [(self.scores[beam] + float(logits[token]), beam, int(token)) for token in tokens]
        return sorted(found, key=lambda each: (-each[0], each[1], each[2]))

    def _end(self, tokens: list[int], score: float) -> bool:
        if self._stopped(tokens):
            self.ended.append(Hypothesis(tokens, score, "stop", len(tokens)))
        elif len(tokens) >= self._max_tokens:
            self.ended.append(Hypothesis(tokens, score, "length", len(tokens)))
        else:
            return False
        return True
