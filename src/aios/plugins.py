"""The only entry-point loader. Built-ins register the same way as anybody's plug-in (pyproject.toml)."""

from __future__ import annotations

from importlib.metadata import entry_points
from typing import Any

from aios.errors import ConfigError

POLICIES = "aios.policies"
CORES = "aios.cores"
"""Called with its `CoreSettings`, the `EventBus`, and the `Ram` that the cores of one kernel share."""
ACCESS = "aios.access"
EMBEDDERS = "aios.embedders"
BENCHMARKS = "aios.benchmarks"
TOOLS = "aios.tools"


def load(group: str, name: str) -> Any:
    """The object registered as `name` in `group`. Raises ConfigError naming what is registered."""
    found = entry_points(group=group)
    for entry in found:
        if entry.name == name:
            return entry.load()
    known = ", ".join(sorted({e.name for e in found})) or "none; is the package installed?"
    raise ConfigError(f"Nothing called {name!r} is registered in {group}.", f"Known: {known}.")


def names(group: str) -> list[str]:
    """What is registered in `group`, sorted."""
    return sorted({entry.name for entry in entry_points(group=group)})
