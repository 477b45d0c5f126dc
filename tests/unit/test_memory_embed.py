"""The embedder that is installed, and the batching in front of any."""

import asyncio

import numpy as np
import pytest
from tests.embedders import WordSums

from aios.errors import ModelCorrupt
from aios.memory.embed import BATCH, Batched
from aios.memory.minilm import MiniLm

pytestmark = pytest.mark.anyio


async def test_minilm_puts_the_same_meaning_close():
    async with MiniLm() as model:
        vectors = await model.embed(
            ["A cat sits on the mat.", "A kitten rests on a rug.", "Interest rates rose."]
        )
    assert vectors.shape == (3, model.width)
    assert vectors.dtype == np.float32
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    near, far = vectors[0] @ vectors[1], vectors[0] @ vectors[2]
    assert near > 0.5 > 0.2 > far


async def test_minilm_takes_only_the_file_it_was_made_for(tmp_path):
    (tmp_path / "model.onnx").write_bytes(b"another model")
    with pytest.raises(ModelCorrupt):
        await MiniLm(tmp_path / "model.onnx").__aenter__()


async def test_callers_that_come_together_share_a_batch_and_get_their_own():
    inner = WordSums()
    batched = Batched(inner)
    texts = [[f"text {i}", "x" * (i % 7)] for i in range(10)]
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(batched.embed(pair)) for pair in texts]
    expected = [await WordSums().embed(pair) for pair in texts]
    assert all(np.array_equal(task.result(), vectors) for task, vectors in zip(tasks, expected, strict=True))
    assert len(inner.batches) == 2  # the first caller's, and while it runs all the others'
    await batched.embed([f"text {i}" for i in range(BATCH + 1)])
    assert [len(batch) for batch in inner.batches[2:]] == [BATCH, 1]


class Slow(WordSums):
    def __init__(self):
        super().__init__()
        self.may_go = asyncio.Event()

    async def embed(self, texts):
        await self.may_go.wait()
        return await super().embed(texts)


async def test_a_caller_that_goes_away_loses_nothing_of_the_others():
    inner = Slow()
    batched = Batched(inner)
    async with asyncio.TaskGroup() as group:
        going = group.create_task(batched.embed(["first"]))
        staying = group.create_task(batched.embed(["second"]))
        await asyncio.sleep(0)
        going.cancel()
        await asyncio.sleep(0)
        inner.may_go.set()
    assert np.array_equal(staying.result(), await WordSums().embed(["second"]))


class Failing(WordSums):
    async def embed(self, texts):
        if "bad" in texts:
            raise ValueError("bad text")
        return await super().embed(texts)


async def test_an_embedder_that_fails_fails_its_callers_and_goes_on():
    batched = Batched(Failing())
    with pytest.raises(ValueError, match="bad text"):
        await batched.embed(["bad"])
    assert (await batched.embed(["good"])).shape == (1, 32)
