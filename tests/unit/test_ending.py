"""How calls end."""

from __future__ import annotations

import asyncio

import pytest

from aios.errors import AiosError, Cancelled, NotFound
from aios.kernel.ending import Ending


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (NotFound("No such thing."), NotFound.code),
        (asyncio.CancelledError(), Cancelled.code),
        (GeneratorExit(), Cancelled.code),
        (ZeroDivisionError(), AiosError.code),
    ],
)
def test_an_error_is_told_once_by_its_code_and_goes_on(error: BaseException, code: str) -> None:
    told: list[str] = []
    with pytest.raises(type(error)), Ending(told.append):
        raise error
    assert told == [code]


def test_a_result_is_told_as_no_error() -> None:
    told: list[str] = []
    with Ending(told.append):
        pass
    assert told == [""]
