"""Drawing tokens: what each parameter does, and that a sampler can be rebuilt anywhere."""

import numpy as np
import pytest

from aios.cores.llama.sampler import Sampler, uniform
from aios.errors import BadRequest
from aios.syscalls import Sampling

LOGITS = np.array([1.0, 3.0, 3.0, -2.0, 0.5], dtype=np.float32)


def greedy(seed: int = 0, **changes: object) -> Sampler:
    return Sampler(Sampling(temperature=0.0, **changes), seed, len(LOGITS))  # type: ignore[arg-type]


def test_greedy_takes_the_lowest_of_equal_tokens() -> None:
    assert greedy().sample(LOGITS, 0).token == 1


def test_greedy_respects_the_mask() -> None:
    allowed = np.array([True, False, False, True, True])
    assert greedy().sample(LOGITS, 0, allowed).token == 0


def test_bias_moves_a_token() -> None:
    assert greedy(logit_bias={4: 100.0}).sample(LOGITS, 0).token == 4
    assert greedy(logit_bias={1: -100.0}).sample(LOGITS, 0).token == 2


def test_bias_outside_the_vocabulary_names_the_range() -> None:
    with pytest.raises(BadRequest, match="0…4"):
        greedy(logit_bias={5: 1.0})


@pytest.mark.parametrize(
    "penalty", [{"presence_penalty": 1.0}, {"frequency_penalty": 1.0}, {"repetition_penalty": 1.5}]
)
def test_penalties_hold_down_what_was_generated(penalty: dict[str, float]) -> None:
    sampler = greedy(**penalty)
    sampler.accept(1)
    assert sampler.sample(LOGITS, 1).token == 2


def test_frequency_counts_and_presence_does_not() -> None:
    logits = np.array([2.0, 0.5, 0.0], dtype=np.float32)
    for name, expected in (("frequency_penalty", 1), ("presence_penalty", 0)):
        sampler = Sampler(Sampling(temperature=0.0, **{name: 1.0}), 0, 3)  # type: ignore[arg-type]
        sampler.replay([0, 0])
        assert sampler.sample(logits, 2).token == expected


def test_repetition_penalty_lowers_negative_logits_too() -> None:
    logits = np.array([-1.0, -1.5], dtype=np.float32)
    sampler = Sampler(Sampling(temperature=0.0, repetition_penalty=2.0), 0, 2)
    sampler.accept(0)
    assert sampler.sample(logits, 1).token == 1


def test_logprobs_are_those_of_the_model_before_everything_else() -> None:
    sampling = Sampling(temperature=0.3, top_k=1, logit_bias={4: 100.0})
    drawn = Sampler(sampling, 0, len(LOGITS), logprobs=2).sample(LOGITS, 0)
    expected = LOGITS - np.log(np.exp(LOGITS.astype(np.float64)).sum())
    assert drawn.token == 4
    assert drawn.logprob == pytest.approx(expected[4])
    assert [token for token, _ in drawn.top] == [1, 2]
    assert drawn.top[0][1] == pytest.approx(expected[1])


def test_logprobs_are_not_computed_unasked() -> None:
    assert greedy().sample(LOGITS, 0).logprob is None


@pytest.mark.parametrize("mask", [None, np.ones(5, dtype=np.bool_), np.arange(5) < 2])
def test_logits_are_left_alone(mask: np.ndarray | None) -> None:
    logits = LOGITS.copy()
    logits.flags.writeable = False
    sampling = Sampling(temperature=0.7, top_p=0.9, min_p=0.01, presence_penalty=0.5, logit_bias={0: 1.0})
    sampler = Sampler(sampling, 1, 5, logprobs=3)
    for step in range(20):
        sampler.accept(sampler.sample(logits, step, mask).token)
    assert np.array_equal(logits, LOGITS)


def test_a_rebuilt_sampler_goes_on_with_the_same_tokens() -> None:
    rng = np.random.default_rng(0)
    rows = rng.standard_normal((60, 300)).astype(np.float32)
    sampling = Sampling(temperature=0.9, top_p=0.95, frequency_penalty=0.4, repetition_penalty=1.1)

    def run(sampler: Sampler, first: int, last: int) -> list[int]:
        tokens: list[int] = []
        for step in range(first, last):
            tokens.append(sampler.sample(rows[step], step).token)
            sampler.accept(tokens[-1])
        return tokens

    whole = run(Sampler(sampling, 7, 300), 0, 60)
    later = Sampler(sampling, 7, 300)
    later.replay(whole[:25])
    assert run(later, 25, 60) == whole[25:]


def test_uniform_depends_on_seed_and_step_only() -> None:
    assert uniform(5, 3) == uniform(5, 3)
    values = [uniform(seed, step) for seed in range(40) for step in range(250)]
    assert len(set(values)) == len(values)
    assert min(values) >= 0.0
    assert max(values) < 1.0
    assert np.mean(values) == pytest.approx(0.5, abs=0.02)
    streams = np.array(values).reshape(40, 250)
    assert abs(np.corrcoef(streams[0], streams[1])[0, 1]) < 0.2


def test_nothing_outside_a_mask_is_ever_drawn_from_a_large_vocabulary() -> None:
    rng = np.random.default_rng(1)
    logits = rng.standard_normal(20_000).astype(np.float32)
    allowed = rng.random(20_000) < 0.9
    sampler = Sampler(Sampling(temperature=5.0), 3, 20_000)
    assert all(allowed[sampler.sample(logits, step, allowed).token] for step in range(300))
