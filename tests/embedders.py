"""Embedders for tests: deterministic, without a model."""

import asyncio
import hashlib

import numpy as np


class WordSums:
    """A text is the sum of its words' random directions; words of one group of `synonyms` share a direction."""

    name = "word-sums"
    width = 32

    def __init__(self, *synonyms: set[str]) -> None:
        self.meaning = {word: min(group) for group in synonyms for word in group}
        self.batches: list[list[str]] = []

    async def embed(self, texts):
        self.batches.append(texts)
        await asyncio.sleep(0)  # as one that works in a thread
        return np.stack([self._one(text) for text in texts])

    def _one(self, text):
        words = [self.meaning.get(word, word) for word in text.lower().split()]
        total = sum((self._direction(word) for word in words), np.zeros(self.width))
        return (total / (np.linalg.norm(total) or 1.0)).astype(np.float32)

    def _direction(self, word):
        seed = int.from_bytes(hashlib.sha256(word.encode()).digest()[:4])
        return np.random.default_rng(seed).standard_normal(self.width)
