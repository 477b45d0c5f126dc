from pathlib import Path

import hypothesis
import pytest

from aios.bench.tiny import write_tiny_gguf


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--record", action="store_true", help="Record the answers of services (recordings.py).")


def pytest_configure() -> None:
    # How long an example takes says nothing about it: on a busy machine any takes longer now and then.
    hypothesis.settings.register_profile("untimed", deadline=None, report_multiple_bugs=False)
    hypothesis.settings.load_profile("untimed")


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny random GGUF: a real engine for tests."""
    return write_tiny_gguf(tmp_path_factory.mktemp("model") / "tiny.gguf")
