"""The sampler draws from the distribution that a plain reference computes."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from aios.cores.llama.sampler import Sampler
from aios.syscalls import Sampling


def reference(logits: np.ndarray, s: Sampling, allowed: np.ndarray) -> np.ndarray:
    """Probabilities by the book, in float64 and with full sorts."""
    x = np.where(allowed, logits.astype(np.float64), -np.inf) / s.temperature
    p = np.exp(x - x.max())
    p /= p.sum()
    order = np.lexsort((np.arange(len(p)), -x))
    if s.top_k:
        p[order[s.top_k :]] = 0.0
        p /= p.sum()
    if s.top_p < 1.0:
        mass = np.cumsum(p[order])
        p[order[int(np.argmax(mass >= s.top_p * (1 - 1e-12))) + 1 :]] = 0.0
        p /= p.sum()
    p[p < s.min_p * p.max()] = 0.0
    return p / p.sum()


@st.composite
def cases(draw: st.DrawFn) -> tuple[np.ndarray, Sampling, np.ndarray]:
    size = draw(st.integers(2, 12))
    # Steps of 0.37: far enough apart that no cut falls within a rounding error.
    logits = np.array(draw(st.lists(st.integers(-9, 9), min_size=size, max_size=size)), dtype=np.float32)
    sampling = Sampling(
        temperature=draw(st.sampled_from([0.5, 0.8, 1.0, 1.7])),
        top_k=draw(st.integers(0, size + 1)),
        top_p=draw(st.sampled_from([1.0, 0.93, 0.71, 0.37, 0.011])),
        min_p=draw(st.sampled_from([0.0, 0.013, 0.17, 0.61])),
    )
    allowed = np.array(draw(st.lists(st.booleans(), min_size=size, max_size=size)))
    allowed[draw(st.integers(0, size - 1))] = True
    return logits * np.float32(0.37), sampling, allowed


@given(cases(), st.integers(0, 2**63 - 1))
@settings(max_examples=150, deadline=None)
def test_only_and_all_of_the_reference_set_can_be_drawn(
    case: tuple[np.ndarray, Sampling, np.ndarray], seed: int
) -> None:
    logits, sampling, allowed = case
    expected = reference(logits, sampling, allowed)
    sampler = Sampler(sampling, seed, len(logits))
    drawn = {sampler.sample(logits, step, allowed).token for step in range(100)}
    assert drawn <= set(np.flatnonzero(expected))
    assert set(np.flatnonzero(expected > 0.15)) <= drawn


def test_frequencies_match_the_reference() -> None:
    rng = np.random.default_rng(5)
    logits = rng.standard_normal(40).astype(np.float32) * 2
    allowed = np.ones(40, dtype=np.bool_)
    for sampling in (
        Sampling(temperature=1.0),
        Sampling(temperature=0.7, top_p=0.9),
        Sampling(temperature=1.3, top_k=9, top_p=0.95, min_p=0.02),
    ):
        expected = reference(logits, sampling, allowed)
        sampler = Sampler(sampling, 11, 40)
        draws = 20_000
        seen = np.bincount([sampler.sample(logits, i).token for i in range(draws)], minlength=40)
        kept = expected > 0
        assert not seen[~kept].any()
        chi2 = (((seen - draws * expected) ** 2)[kept] / (draws * expected[kept])).sum()
        degrees = kept.sum() - 1
        assert chi2 < degrees + 5 * np.sqrt(2 * degrees) + 5


def test_a_flat_large_vocabulary_is_cut_where_the_reference_cuts() -> None:
    logits = np.random.default_rng(2).standard_normal(50_000).astype(np.float32)
    sampling = Sampling(temperature=1.0, top_p=0.6)
    kept = set(np.flatnonzero(reference(logits, sampling, np.ones(50_000, dtype=np.bool_))))
    sampler = Sampler(sampling, 0, 50_000)
    drawn = [sampler.sample(logits, step).token for step in range(2_000)]
    assert set(drawn) <= kept
    assert min(logits[drawn]) < np.quantile(logits[list(kept)], 0.02)
