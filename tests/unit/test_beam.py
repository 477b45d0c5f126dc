"""Beam search as a pure object, against a search through all continuations."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aios.cores.llama.beam import BeamSearch

EOG = 0


def model(seed: int, vocabulary: int):
    """Logits after a text, drawn once for each text."""

    def logits(tokens: tuple[int, ...]) -> np.ndarray:
        return np.random.default_rng([seed, *tokens, 99]).normal(0, 2, vocabulary).astype(np.float32)

    return logits


def logprobs(row: np.ndarray) -> np.ndarray:
    row = row.astype(np.float64)
    return row - row.max() - math.log(np.exp(row - row.max()).sum())


def search(width: int, most: int, penalty: float, **more) -> BeamSearch:
    given = {"eog": {EOG}, "bias": {}, "stopped": lambda tokens: False, **more}
    return BeamSearch(width, max_tokens=most, penalty=penalty, **given)


def run(beams: BeamSearch, logits) -> BeamSearch:
    while not beams.done:
        beams.expand([logits(tuple(beam)) for beam in beams.beams])
    return beams


def every_text(logits, vocabulary: int, most: int, penalty: float) -> list[tuple[float, tuple[int, ...], str]]:
    """All texts that end, or are as long as they may be, by rank."""
    found = []
    for length in range(most + 1):
        for text in itertools.product(range(1, vocabulary), repeat=length):
            score = sum(logprobs(logits(text[:i]))[token] for i, token in enumerate(text))
            if length == most:
                found.append((score / max(1, length) ** penalty, text, "length"))
            else:
                score += logprobs(logits(text))[EOG]
                found.append((score / (length + 1) ** penalty, text, "stop"))
    return sorted(found, key=lambda each: -each[0])


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**6), st.integers(2, 4), st.integers(1, 4))
def test_with_room_for_all_it_finds_the_likeliest_text(seed, vocabulary, most):
    logits = model(seed, vocabulary)
    best = run(search(vocabulary**most, most, 0.0), logits).best(1)[0]
    score, text, reason = every_text(logits, vocabulary, most, 0.0)[0]
    assert tuple(best.tokens) == text
    assert best.reason == reason
    assert best.score == pytest.approx(score)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 5), st.sampled_from([0.0, 0.5, 1.0, 2.0]))
def test_what_it_returns_is_in_order_and_scored_truly(seed, width, penalty):
    logits = model(seed, 6)
    best = run(search(width, 5, penalty), logits).best(width)
    ranks = [each.rank(penalty) for each in best]
    assert ranks == sorted(ranks, reverse=True)
    assert len({tuple(each.tokens) for each in best}) == len(best) == width
    for each in best:
        steps = [*each.tokens, EOG] if each.reason == "stop" else each.tokens
        assert each.length == len(steps)
        told = sum(logprobs(logits(tuple(steps[:i])))[token] for i, token in enumerate(steps))
        assert each.score == pytest.approx(told)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 5), st.integers(1, 8))
def test_it_goes_on_from_its_state_exactly(seed, width, at):
    logits = model(seed, 8)
    whole = run(search(width, 9, 1.0), logits)
    first = search(width, 9, 1.0)
    for _ in range(at):
        if not first.done:
            first.expand([logits(tuple(beam)) for beam in first.beams])
    again = search(width, 9, 1.0, beams=first.beams, scores=first.scores, ended=first.ended)
    assert run(again, logits).best(width) == whole.best(width)


def test_one_beam_is_greedy_and_a_biased_token_is_never_taken():
    logits = model(7, 10)
    text: list[int] = []
    while len(text) < 6:
        row = logits(tuple(text)).copy()
        row[EOG] = row[3] = -np.inf
        text.append(int(row.argmax()))
    never = {EOG: float("-inf"), 3: float("-inf")}
    assert run(search(1, 6, 1.0, bias=never), logits).best(1)[0].tokens == text


def test_a_stop_string_ends_a_beam():
    logits = model(3, 10)
    found = run(search(2, 8, 1.0, bias={EOG: float("-inf")}, stopped=lambda tokens: tokens[-1] == 5), logits)
    for each in found.best(2):
        assert 5 not in each.tokens[:-1]
        assert each.reason == ("stop" if each.tokens[-1] == 5 else "length")
