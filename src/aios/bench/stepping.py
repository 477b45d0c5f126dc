"""What one step of the real engine takes, and the costs that follow from it."""

from __future__ import annotations

import random
import statistics
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from aios.bench.lab import Lab
from aios.bench.switch import text_tokens
from aios.cores.core import Extent, Load, Save
from aios.scheduler.costs import Costs

STREAMS = (1, 2, 4, 8)
PROMPTS = (8, 24, 64)
CONTEXTS = (32, 512, 1024, 1900)
STEPS = 16


@dataclass(frozen=True, slots=True)
class Sample:
    """A step that took `seconds`: `decoding` sequences of `context` tokens each got one token, and `prompt`
    tokens of a prompt were computed from position `at` on."""

    seconds: float
    decoding: int = 0
    context: int = 0
    prompt: int = 0
    at: int = 0

    def row(self) -> list[float]:
        """By what the costs of a step are multiplied."""
        mean = self.at + self.prompt / 2
        looked = self.decoding * self.context
        return [1.0, self.decoding, looked, float(self.prompt > 0), self.prompt, self.prompt * mean]

    def predicted(self, costs: Costs) -> float:
        decoding = self.decoding * (costs.decode_s + costs.look_s * self.context)
        chunk = costs.chunk_s if self.prompt else 0.0
        return costs.step_s + decoding + chunk + costs.prefill(self.prompt, self.at)


@dataclass(frozen=True, slots=True)
class Move:
    """A context of `tokens` tokens was saved or loaded in `seconds`."""

    tokens: int
    seconds: float


def fitted(steps: Sequence[Sample], moves: Sequence[Move]) -> Costs:
    """The costs with the least squares of relative errors."""
    step = _fit([sample.row() for sample in steps], [sample.seconds for sample in steps])
    move = _fit([[1.0, move.tokens] for move in moves], [move.seconds for move in moves])
    names = ("step_s", "decode_s", "look_s", "chunk_s", "prefill_s", "attend_s", "move_s", "token_move_s")
    return Costs(**{name: max(0.0, value) for name, value in zip(names, step + move, strict=True)})


def report(steps: Sequence[Sample], costs: Costs) -> dict[str, Any]:
    """The costs, and how far they are from what was measured."""
    errors = [abs(sample.predicted(costs) / sample.seconds - 1) for sample in steps]
    return {
        "costs": {name: float(f"{value:.4g}") for name, value in asdict(costs).items()},
        "samples": len(steps),
        "relative_error_mean": round(statistics.mean(errors), 4),
        "relative_error_max": round(max(errors), 4),
    }


def measure(lab: Lab, *, repeats: int = 3) -> tuple[list[Sample], list[Move]]:
    """Medians over the repetitions of each kind of step and move."""
    steps: dict[tuple[int, ...], list[float]] = {}
    moves: dict[int, list[float]] = {}
    for repeat in range(repeats):
        for context in CONTEXTS:
            prompt = text_tokens(lab, context, random.Random(repeat))
            extent = Extent(0, 128 * 2**20, 1 + repeat * len(CONTEXTS) + CONTEXTS.index(context))
            for seconds, count, at in _prefill(lab, prompt):
                steps.setdefault((0, 0, count, at), []).append(seconds)
            saved = _timed(lambda: lab.engine.slots.apply(Save(0, extent)))  # noqa: B023
            loaded = _timed(lambda: lab.engine.slots.apply(Load(1, extent, context)))  # noqa: B023
            moves.setdefault(context, []).extend([saved, loaded])
            for streams in STREAMS:
                steps.setdefault((streams, context, 0, 0), []).append(_decode(lab, prompt, extent, streams))
            for count in PROMPTS:
                fresh = text_tokens(lab, count, random.Random(count))
                shape, seconds = (0, 0, count, context - 1), _prompt(lab, prompt[:-1] + fresh, extent, context)
                steps.setdefault(shape, []).append(seconds)
    return (
        [Sample(statistics.median_low(seconds), *shape) for shape, seconds in steps.items()],
        [Move(tokens, statistics.median_low(seconds)) for tokens, seconds in moves.items()],
    )


def _prefill(lab: Lab, prompt: list[int]) -> list[tuple[float, int, int]]:
    """Of each step: seconds, tokens, position."""
    found: list[tuple[float, int, int]] = []
    generation = lab.start(0, prompt, count=1)
    while generation.reason is None:
        before = lab.engine.slots.length(0) if found else 0
        seconds = _timed(lab.engine.step)
        found.append((seconds, lab.engine.slots.length(0) - before, before))
    lab.finish()
    return found


def _prompt(lab: Lab, prompt: list[int], extent: Extent, context: int) -> float:
    """Seconds of the one step that computes what comes after the first `context` - 1 tokens."""
    lab.start(0, prompt, ops=[Load(0, extent, context - 1)], count=1)
    seconds = _timed(lab.engine.step)
    lab.finish()
    return seconds


def _decode(lab: Lab, prompt: list[int], extent: Extent, streams: int) -> float:
    """Seconds of a step with so many streams."""
    runs = [
        lab.start(slot, prompt, ops=[Load(slot, extent, len(prompt) - 1)], count=STEPS + 2)
        for slot in range(streams)
    ]
    for run in runs:
        lab.until(run, 1)
    taken: list[float] = []
    while not lab.engine.idle:
        taken.append(_timed(lab.engine.step))
    return statistics.median(taken[:STEPS])


def _timed(work: Any) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def _fit(rows: list[list[float]], seconds: list[float]) -> list[float]:
    weights = 1.0 / np.array(seconds)
    return np.linalg.lstsq(np.array(rows) * weights[:, None], np.ones(len(rows)), rcond=None)[0].tolist()
