"""Drawing the next token from logits.

The only state is how often each token was generated (for the penalties); the random number of step i is a
pure function of (seed, i). So a sampler is rebuilt anywhere by replaying the generated tokens.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from aios.errors import BadRequest
from aios.syscalls import Sampling

Logits = NDArray[np.float32]
Ids = NDArray[np.intp]

_MASK64 = 2**64 - 1
_GOLDEN = 0x9E3779B97F4A7C15
_BLOCK = 1024
_SORTABLE = 4096
_WINDOW = 8.0


class Drawn(NamedTuple):
    """The token of one step. `logprob` (natural log) and `top`, the likeliest tokens with theirs, are those
    of the model's own distribution: before bias, penalties, mask and temperature. Only when asked for."""

    token: int
    logprob: float | None = None
    top: tuple[tuple[int, float], ...] = ()


def uniform(seed: int, step: int) -> float:
    """A number in [0, 1) that depends on nothing but `seed` and `step`.

    SplitMix64 (Steele, Lea and Flood 2014, "Fast splittable pseudorandom number generators", figure 17) as a
    counter-based generator: its state after n draws is seed + n * gamma, so any draw is directly reachable.
    The seed is mixed first, so that neighbouring seeds (the choices of one call) give unrelated streams."""
    return (_mix64(_mix64(seed & _MASK64) + (step + 1) * _GOLDEN) >> 11) * 2.0**-53


def _mix64(z: int) -> int:
    z &= _MASK64
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & _MASK64
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & _MASK64
    return z ^ (z >> 31)


class Sampler:
    """Bias, penalties, mask, temperature, top-k, top-p, min-p, then a draw: in this order.

    top-p is the nucleus of Holtzman et al. 2020, min-p that of Nguyen et al. 2024, each over what the filter
    before it left, renormalised. Equal probabilities rank by token id. Temperature 0 is greedy: the likeliest
    token, the lowest id among equals. Raises BadRequest for a `logit_bias` outside the vocabulary."""

    def __init__(self, sampling: Sampling, seed: int, n_vocab: int, logprobs: int | None = None) -> None:
        self._sampling = sampling
        self._seed = seed
        self._logprobs = logprobs
        self._counts: Counter[int] = Counter()
        bias = sampling.logit_bias
        for token in bias:
            if not 0 <= token < n_vocab:
                raise BadRequest(
                    f"`logit_bias` names token {token}; the model has {n_vocab} tokens.",
                    f"Use ids in 0…{n_vocab - 1}.",
                    param="logit_bias",
                )
        self._bias_ids = np.fromiter(bias, dtype=np.intp, count=len(bias))
        self._bias = np.fromiter(bias.values(), dtype=np.float32, count=len(bias))
        self._values = np.empty(n_vocab, dtype=np.float32)  # kept, since fresh pages cost more than the
        self._weights = np.empty(n_vocab, dtype=np.float32)  # arithmetic; hold nothing between two steps
        self._penalises = (
            sampling.presence_penalty != 0.0
            or sampling.frequency_penalty != 0.0
            or sampling.repetition_penalty != 1.0
        )

    def accept(self, token: int) -> None:
        """Count a generated token."""
        if self._penalises:
            self._counts[token] += 1

    def replay(self, tokens: Iterable[int]) -> None:
        """Accept the tokens of an earlier stay."""
        for token in tokens:
            self.accept(token)

    def sample(self, logits: Logits, step: int, allowed: NDArray[np.bool_] | None = None) -> Drawn:
        """Draw token number `step` (0 is the first generated one) from `logits`, shape (n_vocab,), which is
        not changed. `allowed`, same shape, must allow at least one token."""
        adjusted = self._adjust(logits)
        if self._sampling.temperature <= 0.0:
            token = _argmax(adjusted, allowed)
        else:
            token = self._draw(adjusted, step, allowed)
        if self._logprobs is None:
            return Drawn(token)
        peak = logits.max()
        weights = np.exp(np.subtract(logits, peak, out=self._weights), out=self._weights)
        norm = float(peak) + float(np.log(weights.sum(dtype=np.float64)))
        top = tuple((int(t), float(logits[t]) - norm) for t in _largest(logits, self._logprobs))
        return Drawn(token, float(logits[token]) - norm, top)

    def _adjust(self, logits: Logits) -> Logits:
        """Logits with bias and penalties; the very array where there are none."""
        if not self._bias_ids.size and not self._counts:
            return logits
        adjusted = self._values
        np.copyto(adjusted, logits)
        adjusted[self._bias_ids] += self._bias
        if self._counts:
            s = self._sampling
            ids = np.fromiter(self._counts, dtype=np.intp, count=len(self._counts))
            counts = np.fromiter(self._counts.values(), dtype=np.float32, count=len(self._counts))
            value = adjusted[ids] - s.presence_penalty - s.frequency_penalty * counts
            rate = np.float32(s.repetition_penalty)
            adjusted[ids] = np.where(value > 0, value / rate, value * rate)
        return adjusted

    def _draw(self, logits: Logits, step: int, allowed: NDArray[np.bool_] | None) -> int:
        ids: Ids | None = None
        scaled, weights = self._values, self._weights
        if allowed is None:
            np.subtract(logits, logits.max(), out=scaled)
        elif np.count_nonzero(allowed) * 8 < len(allowed):
            ids = np.flatnonzero(allowed)
            scaled, weights = scaled[: len(ids)], weights[: len(ids)]
            chosen = logits[ids]
            np.subtract(chosen, chosen.max(), out=scaled)
        else:  # gathering most of the vocabulary costs more than carrying the rest along
            np.copyto(scaled, logits)
            np.copyto(scaled, np.float32(-np.inf), where=~allowed)
            np.subtract(scaled, scaled.max(), out=scaled)
        np.multiply(scaled, np.float32(1.0 / self._sampling.temperature), out=scaled)
        np.exp(scaled, out=weights)
        kept = self._filter(scaled, weights)
        place = _invert(weights if kept is None else weights[kept], uniform(self._seed, step))
        index = place if kept is None else int(kept[place])
        return index if ids is None else int(ids[index])

    def _filter(self, scaled: Logits, weights: Logits) -> Ids | None:
        """Indices that top-k, top-p and min-p keep, ascending; None: all. `scaled` has its maximum at 0,
        `weights` are its exponentials."""
        s = self._sampling
        kept: Ids | None = None
        if 0 < s.top_k < len(scaled):
            kept = np.sort(_largest(scaled, s.top_k))
        if s.top_p < 1.0:
            if kept is None:
                kept = _nucleus(scaled, weights, s.top_p)
            else:
                kept = kept[_nucleus(scaled[kept], weights[kept], s.top_p)]
        if s.min_p > 0.0:
            above = scaled >= np.float32(np.log(min(s.min_p, 1.0)))
            kept = np.flatnonzero(above) if kept is None else kept[above[kept]]
        return kept


def _invert(weights: Logits, u: float) -> int:
    """The index at which the running total of `weights` passes `u` of the whole.

    Totals of blocks first, then within one block: a running total of a whole vocabulary is slow."""
    starts = np.arange(0, len(weights), _BLOCK)
    blocks: NDArray[np.float64] = np.add.reduceat(weights, starts, dtype=np.float64).cumsum()
    total = float(blocks[-1])
    target = min(u * total, math.nextafter(total, 0.0))
    block = int(np.searchsorted(blocks, target, side="right"))
    start = block * _BLOCK
    within: NDArray[np.float64] = np.cumsum(weights[start : start + _BLOCK], dtype=np.float64)
    rest = target - (float(blocks[block - 1]) if block else 0.0)
    # The two ways of adding up may differ in the last bit: stay within the tokens that have any weight.
    last = int(np.searchsorted(within, float(within[-1]), side="left"))
    return start + min(int(np.searchsorted(within, rest, side="right")), last)


def _argmax(logits: Logits, allowed: NDArray[np.bool_] | None) -> int:
    best = int(logits.argmax())
    if allowed is None or allowed[best]:
        return best
    ids: Ids = np.flatnonzero(allowed)
    return int(ids[int(logits[ids].argmax())])


def _falling(values: Logits, ids: Ids) -> Ids:
    """`ids` (ascending) by falling value, equal ones by id."""
    return ids[np.argsort(-values[ids], kind="stable")]


def _largest(values: Logits, k: int) -> Ids:
    """Indices of the k largest values, falling, equal ones by id."""
    if k <= 0:
        return np.empty(0, dtype=np.intp)
    if k >= len(values):
        return _falling(values, np.arange(len(values)))
    # The k-th value of a sample bounds the true one from below, which spares selecting among them all.
    stride = max(1, len(values) // (64 * k))
    sample = values[::stride]
    bound = np.partition(sample, len(sample) - k)[len(sample) - k] if len(sample) > k else -np.inf
    return _falling(values, np.flatnonzero(values >= bound))[:k]


def _nucleus(scaled: Logits, weights: Logits, top_p: float) -> Ids:
    """The smallest set of likeliest tokens with probability `top_p` in all, ascending.

    A selection, not a sort: each round splits the tokens that may be the last one at a pivot, and goes on
    with the side that holds it (Hoare's quickselect, by mass instead of rank)."""
    missing = top_p * float(weights.sum(dtype=np.float64))
    kept = np.zeros(len(scaled), dtype=np.bool_)
    open_ids = np.flatnonzero(scaled >= -_WINDOW)
    if weights[open_ids].sum(dtype=np.float64) < missing:
        open_ids = np.arange(len(scaled))
    while len(open_ids) > _SORTABLE:
        values = scaled[open_ids]
        high = values > np.median(values[:: len(values) // 256])
        upper = open_ids[high]
        mass = float(weights[upper].sum(dtype=np.float64))
        if mass >= missing:
            if len(upper) == len(open_ids):
                break
            open_ids = upper
        elif len(upper) == 0:
            break  # all equal from here on
        else:
            kept[upper] = True
            missing -= mass
            open_ids = open_ids[~high]
    open_ids = _falling(scaled, open_ids)
    mass = weights[open_ids].cumsum(dtype=np.float64)
    kept[open_ids[: int(np.searchsorted(mass, missing, side="left")) + 1]] = True
    return np.flatnonzero(kept)
