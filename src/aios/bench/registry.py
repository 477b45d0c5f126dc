"""The benchmarks by name."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Any

from aios.errors import NotFound

BENCHMARKS = {
    "demo": "aios.bench.demo:run",
    "switch": "aios.bench.switch:run",
    "engine": "aios.bench.engine:run",
    "overhead": "aios.bench.overhead:run",
}


def names() -> list[str]:
    return sorted(BENCHMARKS)


def load(name: str) -> Callable[..., None]:
    """The function `run(out, **options)` of a benchmark. Raises NotFound naming the known ones."""
    if name not in BENCHMARKS:
        raise NotFound(f"There is no benchmark {name!r}.", f"Known: {', '.join(names())}.")
    module, _, function = BENCHMARKS[name].partition(":")
    found: Callable[..., Any] = getattr(import_module(module), function)
    return found
