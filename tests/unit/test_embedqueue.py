"""Whose text is embedded next."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from aios.cores.llama.embedqueue import EmbedQueue
from aios.cores.llama.messages import EmbedTexts, Failed, Vectors
from aios.errors import CoreRefused


class Desk:
    """A queue whose clock goes on by a second for each token; `done` are the texts in their order."""

    def __init__(self) -> None:
        self.now, self.done = 100.0, list[list[int]]()
        self.queue = EmbedQueue(self._embed, lambda text: [len(text)], 4, lambda: self.now)

    def _embed(self, tokens: Sequence[int]) -> list[float]:
        if list(tokens) == [13]:
            raise CoreRefused("There is no memory.", "Split it.")
        self.done.append(list(tokens))
        self.now += len(tokens)
        return [float(sum(tokens))]

    def put(self, request: int, *inputs: str | list[int]) -> None:
        self.queue.put(EmbedTexts(request=request, inputs=list(inputs)))

    def all(self) -> list[Vectors | Failed]:
        found = list[Vectors | Failed]()
        while not self.queue.idle:
            if answer := self.queue.step(busy=False):
                found.append(answer)
        return found


def test_requests_take_turns_text_by_text() -> None:
    desk = Desk()
    desk.put(1, [1], [2], [3])
    desk.put(2, "four")
    desk.put(3, [5], [6])
    answers = desk.all()
    assert desk.done == [[1], [4], [5], [2], [6], [3]]
    assert answers == [
        Vectors(request=2, vectors=[[4.0]], tokens=1),
        Vectors(request=3, vectors=[[5.0], [6.0]], tokens=2),
        Vectors(request=1, vectors=[[1.0], [2.0], [3.0]], tokens=3),
    ]


def test_beside_running_sequences_a_text_waits_as_long_as_the_last_one_took() -> None:
    desk = Desk()
    desk.put(1, [1, 1, 1], [2], [3])
    assert desk.queue.step(busy=True) is None
    assert (desk.done, desk.now) == ([[1, 1, 1]], 103.0)
    for desk.now in (103.0, 104.5, 105.9):
        assert desk.queue.step(busy=True) is None
        assert len(desk.done) == 1
    desk.now = 106.0
    desk.queue.step(busy=True)
    assert desk.done == [[1, 1, 1], [2]]
    assert desk.queue.step(busy=False) == Vectors(request=1, vectors=[[3.0], [2.0], [3.0]], tokens=5)


def test_one_that_fails_is_answered_and_the_others_go_on() -> None:
    desk = Desk()
    desk.put(1, [1], [9, 9, 9, 9, 9], [1])
    desk.put(2, [13])
    desk.put(3, [2])
    desk.put(4)
    first, second, third, fourth = desk.all()
    assert isinstance(first, Failed)
    assert (first.id, first.code) == (2, "core_refused")
    assert second == Vectors(request=3, vectors=[[2.0]], tokens=1)
    assert third == Vectors(request=4, vectors=[], tokens=0)
    assert isinstance(fourth, Failed)
    assert (fourth.id, fourth.code) == (1, "context_length_exceeded")


@pytest.mark.parametrize("request_", [1, 2, 7])
def test_what_nobody_wants_any_more_is_left_out(request_: int) -> None:
    desk = Desk()
    desk.put(1, [1], [2])
    desk.put(2, [3])
    desk.queue.step(busy=False)
    desk.queue.drop(request_)
    desk.queue.drop(request_)
    assert desk.done == [[1]]
    left = {1: [[3]], 2: [[2]], 7: [[3], [2]]}[request_]
    desk.all()
    assert desk.done == [[1], *left]
