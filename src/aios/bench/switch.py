"""`aios bench switch`: what a context switch costs, and whether it is exact.

Timing: save and restore of a context's KV against computing it again, at several lengths, in one run.
Exactness: real generations are interrupted at random tokens while others run beside them, and go on in the
same slot, another slot, or a new engine over the same parking memory (what a worker's death leaves). Then every
logit after the restore must have the bits it has in a run without interrupt. In deterministic mode whole
generations are compared, with restarts that lose all KV too.
"""

from __future__ import annotations

import random
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from aios.bench.lab import Lab, Recorded
from aios.bench.report import machine, save_bars, write_result
from aios.cores.core import Extent, Load, Save
from aios.models.store import ModelStore
from aios.syscalls import Sampling

LENGTHS = (256, 1024, 2048)
WORDS = "the cat sat on a mat while seven engineers wrote kernels for agents that never sleep and".split()  # noqa: SIM905
SAMPLING = Sampling(temperature=0.8, top_p=0.95)


def run(out: Path, *, model: str | None = None, quick: bool = False, seeds: int = 3, **_: Any) -> None:
    """Measure and write `result.json` and `plot.png` to `out`."""
    path = ModelStore().resolve(model or "smollm2-135m-instruct")
    lab = Lab(path, slots=4)
    print(f"switch: {path.name}")
    timings = [_time_switch(lab, length, repeats=3 if quick else seeds) for length in LENGTHS]
    trials = 20 if quick else 200
    exact = _exactness(lab, trials, random.Random(1))
    whole = _whole_answers(lab, trials // 4, random.Random(2))
    cost = _cost_of_determinism(lab, repeats=3 if quick else seeds)
    lab.close()
    result = {"bench": "switch", "model": path.stem, "timings": timings, "exactness": exact,
              "deterministic": {**whole, **cost}, **machine()}  # fmt: skip
    write_result(out, result)
    save_bars(
        out / "plot.png",
        title="Context switch against computing the context again",
        labels=[f"{t['tokens']} tokens" for t in timings],
        series={
            "save + restore": [t["save_ms"] + t["restore_ms"] for t in timings],
            "re-prefill": [t["prefill_ms"] for t in timings],
        },
        unit="ms",
        log=True,
    )


def text_tokens(lab: Lab, length: int, random: random.Random) -> list[int]:
    """A prompt of exactly `length` tokens of words."""
    tokens: list[int] = []
    while len(tokens) < length:
        tokens += lab.tokens(" ".join(random.choices(WORDS, k=64)) + "\n")
    return tokens[:length]


def _time_switch(lab: Lab, length: int, *, repeats: int) -> dict[str, float]:
    """Medians in ms. The first repetition, which touches new memory, is left out and reported as such."""
    rows: list[tuple[float, float, float]] = []
    extent = Extent(0, 256 * 2**20, 1)
    for i in range(repeats + 1):
        prompt = text_tokens(lab, length, random.Random(i))
        generation = lab.start(0, prompt, count=1)
        prefill = _ms(lab.finish)
        extent = Extent(0, extent.size, i + 1)
        save = _ms(lambda: lab.engine.slots.apply(Save(0, extent)))  # noqa: B023
        restore = _ms(lambda: lab.engine.slots.apply(Load(1, extent, length)))  # noqa: B023
        if lab.engine.slots.length(1) != len(generation.context) - 1:
            raise RuntimeError("the restored slot does not hold the context")
        rows.append((save, restore, prefill))
    first, rest = rows[0], rows[1:]
    save, restore, prefill = (statistics.median(column) for column in zip(*rest, strict=True))
    row = {
        "tokens": length, "save_ms": save, "restore_ms": restore, "prefill_ms": prefill,
        "ratio": (save + restore) / prefill, "first_save_ms": first[0],
        "ratio_max": max((r[0] + r[1]) / r[2] for r in rest),
    }  # fmt: skip
    print(f"  {length:5} tokens: save {save:7.2f}  restore {restore:6.2f}  prefill {prefill:8.1f} ms"
          f"  -> 1/{1 / row['ratio']:.0f}")  # fmt: skip
    return row


def _ms(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return (time.perf_counter() - began) * 1000


def _exactness(lab: Lab, trials: int, random: random.Random) -> dict[str, Any]:
    """Random interrupts; all logits after the restore against the undisturbed run's."""
    equal: dict[str, list[bool]] = {"same slot": [], "other slot": [], "worker restart": []}
    for trial in range(trials):
        kind = list(equal)[trial % len(equal)]
        prompt = text_tokens(lab, random.randint(8, 96), random)
        count, at = 12, random.randint(1, 10)
        reference = lab.start(0, prompt, count=count, sampling=SAMPLING, seed=trial)
        lab.finish()
        again = _interrupted_run(lab, kind, prompt, count, at, trial, random)
        after = len(again.logits)
        equal[kind].append(again.logits == reference.logits[-after:] and again.context == reference.context)
    total = sum(map(len, equal.values()))
    good = sum(map(sum, equal.values()))
    print(f"  interrupts: {good}/{total} bit-equal")
    kinds = {k: {"trials": len(v), "bit_equal": sum(v)} for k, v in equal.items()}
    return {"trials": total, "bit_equal": good, "kinds": kinds}


def _interrupted_run(
    lab: Lab, kind: str, prompt: list[int], count: int, at: int, seed: int, random: random.Random
) -> Recorded:
    """Run to token `at` beside others, leave, let others use the slot, come back; the second stay."""
    first = lab.start(0, prompt, count=count, sampling=SAMPLING, seed=seed)
    lab.until(first, 1)
    for slot in range(1, random.randint(1, 4)):
        lab.start(slot, text_tokens(lab, random.randint(8, 48), random), count=16)
    lab.until(first, at)
    lab.engine.stop(first.id)
    extent = Extent(0, 64 * 2**20, 1000 + seed)
    lab.start(0, text_tokens(lab, 16, random), ops=[Save(0, extent)], count=3)
    if kind == "worker restart":
        for _ in range(2):
            lab.engine.step()
        lab.restart()
    else:
        lab.finish()
    slot = 0 if kind == "same slot" else random.randint(1, 3)
    for other in {1, 2, 3} - {slot}:
        lab.start(other, text_tokens(lab, random.randint(8, 48), random), count=10)
    for _ in range(8):
        lab.engine.step()
    ops = [Load(slot, extent, 10**6)]
    second = lab.start(
        slot, prompt, generated=first.generated, ops=ops, count=count, sampling=SAMPLING, seed=seed
    )
    lab.finish()
    return second


def _whole_answers(lab: Lab, trials: int, random: random.Random) -> dict[str, Any]:
    """Deterministic mode: each answer alone against the same under load, interrupts and restarts."""
    lab.restart(deterministic=True)
    same = 0
    for trial in range(trials):
        prompt, count = text_tokens(lab, random.randint(8, 160), random), 12
        alone = lab.start(0, prompt, count=count, sampling=SAMPLING, seed=trial)
        lab.finish()
        loaded = _loaded_run(lab, prompt, count, trial, random)
        same += loaded.context == alone.context
    print(f"  deterministic: {same}/{trials} whole answers identical under load, interrupts and restarts")
    return {"trials": trials, "identical": same}


def _loaded_run(lab: Lab, prompt: list[int], count: int, seed: int, random: random.Random) -> Recorded:
    generated: list[int] = []
    saved: Extent | None = None
    for stay in range(random.randint(1, 4)):
        slot = random.randint(0, 3)
        for other in random.sample(sorted({0, 1, 2, 3} - {slot}), random.randint(0, 3)):
            lab.start(other, text_tokens(lab, random.randint(8, 48), random), count=6)
        for _ in range(random.randint(0, 4)):
            lab.engine.step()
        ops = [Load(slot, saved, 10**6)] if saved else []
        run = lab.start(slot, prompt, generated=generated, ops=ops, count=count, sampling=SAMPLING, seed=seed)
        lab.until(run, random.randint(1, count - 1))
        lab.engine.stop(run.id)
        generated, saved = run.generated, Extent(0, 64 * 2**20, 10_000 + 10 * seed + stay)
        lab.engine.slots.apply(Save(slot, saved))
        lab.finish()
        if random.random() < 0.3:
            lab.restart()
            saved = random.choice([saved, None])  # sometimes the parked KV is lost as well
    ops = [Load(0, saved, 10**6)] if saved else []
    last = lab.start(0, prompt, generated=generated, ops=ops, count=count, sampling=SAMPLING, seed=seed)
    lab.finish()
    return last


def _cost_of_determinism(lab: Lab, *, repeats: int) -> dict[str, Any]:
    """Decoding four streams, deterministic time over batched time: median and range, alternating."""
    ratios: list[float] = []
    for _ in range(repeats):
        seconds: dict[bool, float] = {}
        for deterministic in (False, True):
            lab.restart(deterministic=deterministic)
            runs = [lab.start(s, text_tokens(lab, 32, random.Random(s)), count=48) for s in range(4)]
            for generation in runs:
                lab.until(generation, 1)
            seconds[deterministic] = _ms(lab.finish)
        ratios.append(seconds[True] / seconds[False])
    print(f"  deterministic decoding of 4 streams costs {statistics.median(ratios):.2f}x the time")
    return {"cost": statistics.median(ratios), "cost_range": [min(ratios), max(ratios)]}
