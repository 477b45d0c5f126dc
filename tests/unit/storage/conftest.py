from collections.abc import AsyncGenerator
from pathlib import Path

import pytest

from aios.storage.manager import StorageManager


class Clock:
    """Time that a test moves."""

    def __init__(self) -> None:
        self.now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def storage(tmp_path: Path, clock: Clock) -> AsyncGenerator[StorageManager]:
    async with StorageManager(tmp_path / "storage", clock=clock) as manager:
        yield manager
