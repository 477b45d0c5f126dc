"""The model that tests stand on must itself be fit for it."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from aios.bench.lab import Lab
from aios.bench.tiny import write_tiny_gguf
from aios.cores.llama.ffi import Library
from aios.cores.llama.model import Model

TEXTS = ["hello", "two  words\n", "żółć 😀 漢字", "{}[]\"'\\ \t\x00\x7f", "<|im_start|> is text here"]


@pytest.fixture
def model(tiny_model: Path) -> Iterator[Model]:
    model = Model(Library(), tiny_model)
    yield model
    model.close()


@pytest.mark.parametrize("text", TEXTS)
def test_any_text_survives_its_tokens(model, text):
    tokens = model.tokenize(text, special=False, bos=False)
    pieces = b"".join(model.vocabulary.pieces[token] for token in tokens)
    assert pieces.decode().removeprefix(" ") == text  # the vocabulary puts a space before the first word


def test_control_tokens_are_known_where_they_are_meant(model):
    tokens = model.tokenize("<|im_start|>user<|im_end|>", special=True, bos=True)
    assert [model.vocabulary.raw[t] for t in (tokens[0], tokens[1], tokens[-1])] == [
        b"<s>",
        b"<|im_start|>",
        b"<|im_end|>",
    ]
    assert tokens[-1] in model.vocabulary.eog
    assert "im_start" in model.info().chat_template


def test_what_it_generates_depends_on_the_prompt(tiny_model):
    lab = Lab(tiny_model, slots=1, context=256, prefill_chunk=32, arena_mb=1, threads=1)
    try:
        answers = []
        for last in range(300, 310):
            seated = lab.start(0, [1, 280, 290, last], count=8)
            lab.finish()
            answers.append(tuple(seated.generated))
    finally:
        lab.close()
    assert len(set(answers)) == len(answers)
    assert all(len(set(answer)) > 1 for answer in answers)


def test_the_same_seed_gives_the_same_file_and_it_is_small(tmp_path):
    first = write_tiny_gguf(tmp_path / "a.gguf").read_bytes()
    assert first == write_tiny_gguf(tmp_path / "b.gguf").read_bytes()
    assert first != write_tiny_gguf(tmp_path / "c.gguf", seed=1).read_bytes()
    assert len(first) < 600_000
