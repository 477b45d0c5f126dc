"""How something grows with a number: as a line, and as a power."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise
from math import log
from typing import Any

import numpy as np
from numpy.typing import NDArray


def growth(points: Iterable[tuple[float, float]]) -> dict[str, Any]:
    """Of positive points (x, y) with two values of x at least: the least squares line (`slope`, `intercept`,
    `r2`), the `exponent` p of the least squares power y ~ x**p (1: linear), and slope and exponent between each
    two neighbouring values of x (`local`), of the medians there."""
    x, y = np.array(sorted(points), dtype=np.float64).T
    slope, intercept, r2 = _line(x, y)
    medians = [(float(at), float(np.median(y[x == at]))) for at in np.unique(x)]
    local = [
        {
            "from": low[0], "to": high[0], "slope": (high[1] - low[1]) / (high[0] - low[0]),
            "exponent": log(high[1] / low[1]) / log(high[0] / low[0]),
        }
        for low, high in pairwise(medians)
    ]  # fmt: skip
    exponent, _, _ = _line(np.log(x), np.log(y))
    return {"slope": slope, "intercept": intercept, "r2": r2, "exponent": exponent, "local": local}


def _line(x: NDArray[np.float64], y: NDArray[np.float64]) -> tuple[float, float, float]:
    """Slope, intercept, and the share of the spread of y that the line explains."""
    slope, intercept = np.polyfit(x, y, 1)
    left = float(((y - (slope * x + intercept)) ** 2).sum())
    spread = float(((y - y.mean()) ** 2).sum())
    return float(slope), float(intercept), 1.0 - left / spread if spread else 1.0
