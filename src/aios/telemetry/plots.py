"""Where pictures come from."""

from __future__ import annotations

from typing import Any

from aios.errors import ConfigError


def plotting() -> Any:
    """matplotlib's pyplot, for files. Raises ConfigError when it is not installed."""
    try:
        import matplotlib
    except ModuleNotFoundError as error:
        raise ConfigError("Plots need matplotlib.", "Install it: pip install 'aios[bench]'") from error
    matplotlib.use("Agg")
    from matplotlib import pyplot

    return pyplot
