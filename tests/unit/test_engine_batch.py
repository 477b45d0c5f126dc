"""What one step of the engine computes, and in which order: the library is fast for one order only."""

import os

import pytest

from aios.cores.llama.arena import Arena
from aios.cores.llama.engine import Engine
from aios.cores.llama.ffi import Library
from aios.cores.llama.generation import Generation
from aios.cores.llama.grammar import GrammarFactory
from aios.cores.llama.lanes import BeamRun
from aios.cores.llama.messages import BeamDone, LaneSeat, Options, Start, StartBeams
from aios.cores.llama.model import Model
from aios.syscalls import Sampling


@pytest.fixture
def model(tiny_model):
    return Model(Library(), tiny_model, gpu_layers=0)


@pytest.fixture
def engine(model, tiny_model):
    options = Options(
        model=str(tiny_model), slots=4, context=256, threads=1, gpu_layers=0, exact=True, deterministic=False,
        prefill_chunk=64, arena_fd=os.memfd_create("arena"), arena_bytes=0,
    )  # fmt: skip
    engine = Engine(model, options, Arena(options.arena_fd, options.arena_bytes))
    yield engine
    engine.close()


def generation(model: Model, slot: int, prompt: int) -> Generation:
    vocabulary = model.vocabulary
    grammars = GrammarFactory(
        vocabulary.raw, eos=vocabulary.eos, eog=vocabulary.eog, special=vocabulary.control,
        tokenize=lambda data: model.tokenize(data.decode(), special=False, bos=False),
    )  # fmt: skip
    start = Start(
        id=slot, slot=slot, reuse=0, tokens=[5] * prompt, generated=[], ops=[],
        sampling=Sampling(temperature=0.0),
        seed=1, max_tokens=50, stop=[],
    )  # fmt: skip
    return Generation(start, vocabulary, grammars)


def search(model: Model, width: int, prompt: int, steps: int) -> BeamRun:
    start = StartBeams(
        id=9, seats=[LaneSeat(slot, 0, []) for slot in range(width)], tokens=list(range(5, 5 + prompt)),
        beams=[[]], scores=[0.0], ended=[], best=width, length_penalty=1.0, max_tokens=steps, stop=[],
        bias=dict.fromkeys(model.vocabulary.eog, -1e9),
    )  # fmt: skip
    return BeamRun(start, model.vocabulary, {})


def slots_of(engine: Engine) -> list[int]:
    """The slot of each token of the last batch."""
    data = engine._batch.data
    return [data.seq_id[i][0] for i in range(data.n_tokens)]


def test_slots_stand_in_the_batch_by_their_numbers_whoever_came_first(model, engine):
    """A batch in another order is cut into a pass through the model for each slot."""
    for slot in (3, 1, 0):
        engine.start(generation(model, slot, prompt=8))
    engine.step()
    engine.step()
    assert slots_of(engine) == [0, 1, 3]
    engine.start(generation(model, 2, prompt=8))
    engine.step()
    assert slots_of(engine) == [0, 1, *[2] * 8, 3]
    engine.step()
    assert slots_of(engine) == [0, 1, 2, 3]
    assert [len(engine.slots.held[slot].tokens) for slot in range(4)] == [8 + 3, 8 + 3, 8 + 1, 8 + 3]


def test_prompts_are_still_taken_in_the_order_of_their_starts(model, engine):
    """Only the place in the batch follows the slot: who came first has its chunk first."""
    engine.start(generation(model, 3, prompt=100))
    engine.start(generation(model, 0, prompt=100))
    engine.step()
    assert slots_of(engine) == [3] * 64
    engine.step()
    assert slots_of(engine) == [0] * 28 + [3] * 36


def test_the_beams_of_a_search_go_on_from_one_prompt(model, engine):
    """Whoever needs a beam's KV gets a copy: nothing is computed twice, neither the prompt nor a beam."""
    width, prompt, steps = 3, 100, 20
    run = search(model, width, prompt, steps)
    engine.search(run)
    computed: list[int] = []
    happened = []
    while not engine.idle:
        happened += engine.step()
        computed += [engine._batch.data.pos[i] for i in range(engine._batch.data.n_tokens)]
    assert isinstance(happened[-1], BeamDone)
    of_the_prompt = [position for position in computed if position < prompt]
    assert of_the_prompt == list(range(prompt))
    assert len(computed) == prompt + width * (steps - 1)
