"""Interrupt and restore on a real engine with a tiny random model: exactly the same, bit for bit."""

from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from aios.bench.lab import Lab
from aios.cores.core import Copy, Extent, Load, Save
from aios.cores.llama.messages import Seated
from aios.syscalls import Sampling

MB = 2**20
SAMPLING = Sampling(temperature=1.2, top_p=0.9, frequency_penalty=0.5)
prompts = st.lists(st.integers(5, 370), min_size=1, max_size=90)
quiet = settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


@pytest.fixture(scope="module")
def lab(tiny_model) -> Iterator[Lab]:
    lab = Lab(tiny_model, slots=4, context=512, prefill_chunk=32, arena_mb=16, threads=1)
    yield lab
    lab.close()


@pytest.fixture(scope="module")
def deterministic(tiny_model) -> Iterator[Lab]:
    lab = Lab(tiny_model, slots=4, context=512, prefill_chunk=32, arena_mb=16, threads=1, deterministic=True)
    yield lab
    lab.close()


@quiet
@given(prompts, st.integers(1, 19), st.integers(0, 3), st.lists(prompts, max_size=3), st.booleans())
def test_after_a_restore_every_logit_has_the_bits_it_would_have_had(lab, prompt, at, slot, others, crash):
    reference = lab.start(0, prompt, count=20, sampling=SAMPLING, seed=3)
    lab.finish()

    first = lab.start(0, prompt, count=20, sampling=SAMPLING, seed=3)
    lab.until(first, at)
    lab.engine.stop(first.id)
    extent = Extent(0, 8 * MB, 1)
    lab.engine.slots.apply(Save(0, extent))
    for i, other in enumerate(others):  # somebody else uses the slot, and others run on
        lab.start(i, other, count=12)
    for _ in range(5):
        lab.engine.step()
    lab.finish()
    if crash:
        lab.restart()
    second = lab.start(
        slot, prompt, generated=first.generated, ops=[Load(slot, extent, 10**6)], count=20, sampling=SAMPLING,
        seed=3,
    )  # fmt: skip
    lab.finish()

    assert second.context == reference.context
    assert second.logits == reference.logits[at:]


@quiet
@given(st.data(), prompts)
def test_in_deterministic_mode_an_answer_does_not_depend_on_what_else_happens(deterministic, data, prompt):
    lab = deterministic
    alone = lab.start(0, prompt, count=16, sampling=SAMPLING, seed=5)
    lab.finish()

    generated: list[int] = []
    saved: Extent | None = None
    for stay in range(data.draw(st.integers(0, 3))):
        slot = data.draw(st.integers(0, 3))
        for other in sorted({0, 1, 2, 3} - {slot})[: data.draw(st.integers(0, 3))]:
            lab.start(other, data.draw(prompts), count=10)
        for _ in range(data.draw(st.integers(0, 3))):
            lab.engine.step()
        ops = [Load(slot, saved, 10**6)] if saved else []
        run = lab.start(slot, prompt, generated=generated, ops=ops, count=16, sampling=SAMPLING, seed=5)
        for _ in range(data.draw(st.integers(0, 20))):
            lab.engine.step()
        lab.engine.stop(run.id)
        generated = run.generated
        saved = Extent(0, 8 * MB, 10 + stay)
        lab.engine.slots.apply(Save(slot, saved))
        lab.finish()
        if data.draw(st.booleans()):
            lab.restart()
        if data.draw(st.booleans()):
            saved = None  # the parked KV is lost as well: all is computed again
        if len(generated) == 16:
            break
    if len(generated) == 16:
        assert prompt + generated == alone.context
        return
    ops = [Load(0, saved, 10**6)] if saved else []
    last = lab.start(0, prompt, generated=generated, ops=ops, count=16, sampling=SAMPLING, seed=5)
    lab.finish()
    assert last.context == alone.context


def test_a_prefix_that_is_still_being_computed_is_waited_for_and_copied(deterministic):
    lab = deterministic
    system = list(range(5, 105))
    first = lab.start(0, [*system, 200], count=3)
    second = lab.start(1, [*system, 201], ops=[Copy(1, 0, 100)], count=3)
    seated = []
    while not lab.engine.idle:
        seated += [message for message in lab.engine.step() if isinstance(message, Seated)]
    alone = lab.start(2, [*system, 201], count=3)
    lab.finish()
    # three whole chunks of 32 tokens could be taken over; what was taken over is exactly right
    assert [(s.id, s.cached) for s in seated] == [(first.id, 0), (second.id, 96)]
    assert second.logits == alone.logits


def test_what_an_extent_does_not_hold_is_computed_not_guessed(lab):
    extent = Extent(0, 8 * MB, 77)
    lab.start(0, [10, 11, 12, 13], count=2)
    lab.finish()
    lab.engine.slots.apply(Save(0, extent))
    alone = lab.start(1, [20, 21, 22], count=4)
    lab.finish()
    for wrong in (extent, Extent(0, 8 * MB, 78), Extent(64, 64, 77), Extent(15 * MB, 8 * MB, 77)):
        again = lab.start(2, [20, 21, 22], ops=[Load(2, wrong, 10**6)], count=4)
        lab.finish()
        assert again.logits == alone.logits


def test_an_extent_that_is_too_small_is_left_empty(lab):
    lab.start(0, list(range(5, 200)), count=2)
    lab.finish()
    small = Extent(0, 1024, 5)
    lab.engine.slots.apply(Save(0, small))
    lab.engine.slots.apply(Load(1, small, 10**6))
    assert lab.engine.slots.length(1) == 0
