"""How calls end."""

from __future__ import annotations

import asyncio

import pytest

from aios.errors import AiosError, Cancelled, NotFound
from aios.kernel.ending import Ending


def told(error: BaseException | None) -> list[str]:
    codes: list[str] = []
    try:
        with Ending(codes.append):
            if error is not None:
                raise error
    except BaseException as raised:
        assert raised is error
    return codes


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (None, ""),
        (NotFound("No such thing."), NotFound.code),
        (asyncio.CancelledError(), Cancelled.code),
        (GeneratorExit(), Cancelled.code),
        (ZeroDivisionError(), AiosError.code),
    ],
)
def test_how_it_ended_is_told_once_and_the_error_goes_on(error: BaseException | None, code: str) -> None:
    assert told(error) == [code]
