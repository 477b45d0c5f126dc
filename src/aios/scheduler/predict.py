"""How many tokens a call will generate."""

from __future__ import annotations


class LengthPredictor:
    """Predicts from a process's own history: an exponentially weighted mean of what its calls generated, which
    for the steps of an agent is about as good as one can do without reading the prompt; a new process starts
    from the mean of its kind, a new kind from `default`. At most `keep` processes and kinds are remembered."""

    def __init__(self, *, default: float = 128.0, gain: float = 0.3, keep: int = 20_000) -> None:
        self._default, self._gain, self._keep = default, gain, keep
        self._mean: dict[int | str, float] = {}

    def predict(self, pid: int, kind: str, limit: int | None = None) -> float:
        """Expected tokens of the next call of process `pid`, which asks for at most `limit`."""
        mean = self._mean.get(pid, self._mean.get(kind, self._default))
        return mean if limit is None else min(mean, limit)

    def learn(self, pid: int, kind: str, tokens: int) -> None:
        """A call of the process generated `tokens` tokens."""
        for who, gain in ((pid, self._gain), (kind, self._gain / 4)):
            before = self._mean.pop(who, None)
            self._mean[who] = float(tokens) if before is None else before + gain * (tokens - before)
        while len(self._mean) > self._keep:
            del self._mean[next(iter(self._mean))]  # whoever was silent longest
