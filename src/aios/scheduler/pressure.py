"""Whether contexts outgrow memory."""

from __future__ import annotations

from aios.scheduler.policy import Item


class Pressure:
    """Memory pressure: high from when a call comes whose context was computed and then dropped for want of room
    until as much work was done as `span` times all contexts have tokens, without another such call.

    That long, because whoever serves many contexts in turn meets each of them only once in such a time; and an
    order that forgets sooner falls back into the same (thrashing, and load control by working sets: Denning
    1968). `slack`: dropped tokens that count for nothing."""

    def __init__(self, *, span: float = 2.0, slack: int = 64) -> None:
        self._span, self._slack = span, slack
        self._contexts: dict[str, int] = {}
        self._total = 0
        self._left = 0.0

    @property
    def high(self) -> bool:
        return self._left > 0

    def came(self, item: Item) -> bool:
        """`item` is ready. Whether that made the pressure high."""
        if item.dropped_tokens <= self._slack:
            return False
        before, self._left = self._left, self._span * max(self._total, item.context_tokens)
        return before <= 0

    def worked(self, tokens: int) -> bool:
        """So many tokens of work were done, for anybody. Whether that ended the pressure."""
        if self._left <= 0:
            return False
        self._left -= tokens
        return self._left <= 0

    def keeps(self, program: str, tokens: int) -> None:
        """The newest context of `program` has so many tokens."""
        self._total += tokens - self._contexts.get(program, 0)
        self._contexts[program] = tokens

    def forget(self, program: str) -> None:
        """It is over."""
        self._total -= self._contexts.pop(program, 0)
