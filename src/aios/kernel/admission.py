"""What lets one llm call in: the limits of its process, and those of its groups."""

from __future__ import annotations

from collections.abc import Iterable

from aios.errors import AiosError
from aios.kernel.groups import GroupTable, Pass
from aios.kernel.limits import Budget, Charge
from aios.kernel.pool import Member
from aios.syscalls import Usage

CHARS_PER_TOKEN = 3
"""Of a text where nobody tells its tokens (yet): a cautious guess."""


class Admission:
    """What one call holds of its process's account (`charge`) and of its groups (`group`, None where none has
    limits), until `settle`. Over rates and concurrency it waits; over budgets it raises LimitExceeded."""

    def __init__(self, charge: Charge, group: Pass | None) -> None:
        self._charge, self._group = charge, group
        self._member: Member | None = None
        self._cost = 0.0

    @classmethod
    def of(cls, budget: Budget | None, groups: GroupTable, group: str) -> Admission:
        """What a call of a process with that account, in that group, is let in with. Raises LimitExceeded, and
        holds nothing then."""
        charge = Charge(budget)
        try:
            return cls(charge, groups.enter(group))
        except AiosError:
            charge.settle(calls=0, tokens=0)
            raise

    async def enter(self) -> None:
        """Wait for its turn."""
        await self._charge.enter()
        if self._group is not None:
            await self._group.enter()

    async def hold(self, member: Member, prompt: int, most: int) -> None:
        """Set aside what it can use on `member`: `prompt` tokens are read, at most `most` generated. Raises
        LimitExceeded, ContextOverflow."""
        await self._hold(member, prompt, most, prompt + most)

    async def hold_texts(self, member: Member, texts: Iterable[str | tuple[int, ...]]) -> None:
        """Set aside what embedding `texts` can use on `member`. Each is a context of its own. Of
        those that are no token ids the length is guessed; `settle` books what it was. Raises LimitExceeded,
        ContextOverflow."""
        sizes = [len(text) if isinstance(text, tuple) else -(-len(text) // CHARS_PER_TOKEN) for text in texts]
        await self._hold(member, sum(sizes), 0, max(sizes, default=0))

    async def _hold(self, member: Member, prompt: int, most: int, longest: int) -> None:
        self._member = member
        self._charge.hold(prompt, most)
        if self._group is not None:
            await self._group.hold(prompt, longest, member.cost(prompt, most))

    def moved(self, member: Member) -> None:
        """Another core, `member`, goes on with it. All of it costs what it costs there; that is not checked
        again, so a dearer one may pass the budget."""
        self._member = member

    async def hold_cost(self, cost: float) -> None:
        """Set aside what a call costs that takes no tokens. Raises LimitExceeded."""
        self._cost = cost
        if self._group is not None:
            await self._group.hold(0, 0, cost)

    def settle(self, usage: Usage, *, began: bool) -> None:
        """It is over. One that was refused before it `began` costs nothing; one that was cut off, what it used
        so far. Only the first time counts."""
        used = usage if began else Usage()
        tokens = used.prompt_tokens + used.completion_tokens
        self._charge.settle(calls=int(began), tokens=tokens)
        if self._group is not None:
            cost = self._cost if began else 0.0
            if self._member is not None:
                cost = self._member.cost(used.prompt_tokens, used.completion_tokens)
            self._group.settle(tokens, cost, began=began)
