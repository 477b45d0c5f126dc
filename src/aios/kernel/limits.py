"""What a process may use, has used, and holds for the calls it is making.

A call is charged before it runs, for the most it can cost, so that calls made at once can't spend the same
tokens; at its end the charge becomes what it really used. A child spends its parent's budget too: spawning does
not make tokens.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

from aios.errors import LimitExceeded
from aios.syscalls import Limits


class Budget:
    """The account of process `pid`, which has limits. `parent`: the account above it that has some.

    `calls` and `tokens` are used up for good, by the process and its descendants; `held_*` are charged to
    calls under way. At all times `calls + held_calls <= limits.calls`; the same holds for tokens, but for
    cores that hide how long a prompt is: what those used more is only known at the end."""

    def __init__(
        self, pid: int, limits: Limits, parent: Budget | None, *, calls: int = 0, tokens: int = 0
    ) -> None:
        self.pid, self.limits, self.parent = pid, limits, parent
        self.calls, self.tokens = calls, tokens
        self.held_calls = self.held_tokens = 0
        self.gate = None if limits.concurrency is None else asyncio.Semaphore(limits.concurrency)

    def chain(self) -> Iterator[Budget]:
        """This account and all above it."""
        budget: Budget | None = self
        while budget is not None:
            yield budget
            budget = budget.parent

    def check_call(self) -> None:
        most = self.limits.calls
        if most is not None and self.calls + self.held_calls >= most:
            raise LimitExceeded(
                f"Process {self.pid} has used its {most} calls.",
                "Raise `calls` of its limits, or go on in a process that has some left.",
            )

    def check_tokens(self, tokens: int, prompt: int) -> None:
        most = self.limits.tokens
        if most is None:
            return
        left = most - self.tokens - self.held_tokens
        if tokens > left or left <= 0:
            fits = max(0, left - prompt)
            mend = f"Set max_tokens to at most {fits}" if fits else "Shorten the prompt"
            raise LimitExceeded(
                f"The call may take {tokens} tokens ({prompt} of them prompt), and process {self.pid} has "
                f"{max(0, left)} of its {most} left.",
                f"{mend}, or raise `tokens` of its limits.",
            )


class Charge:
    """What one call holds of `budget` and of those above it, from when it is accepted until `settle`.

    `admitted`: it was accepted before a crash, so nothing is checked again. Raises LimitExceeded."""

    def __init__(self, budget: Budget | None, *, admitted: bool = False) -> None:
        self._budgets = () if budget is None else tuple(budget.chain())
        self._admitted = admitted
        self._tokens = 0
        self._inside = 0
        self._settled = False
        if not admitted:
            for account in self._budgets:
                account.check_call()
        for account in self._budgets:
            account.held_calls += 1

    async def enter(self) -> None:
        """Wait, first come first served, until fewer than `concurrency` calls of each account run."""
        # From the caller's account upwards, in every call: waiting for each other in a ring can't happen.
        for account in self._budgets[self._inside :]:
            if account.gate is not None:
                await account.gate.acquire()
            self._inside += 1

    def hold(self, prompt: int, completion: int) -> None:
        """Set aside the tokens it can use at most. Raises LimitExceeded, holding none."""
        tokens = prompt + completion
        if not self._admitted:
            for account in self._budgets:
                account.check_tokens(tokens, prompt)
        for account in self._budgets:
            account.held_tokens += tokens
        self._tokens += tokens

    def settle(self, *, calls: int, tokens: int) -> None:
        """The call is over and used so much; the rest is given back. Only the first time counts."""
        if self._settled:
            return
        self._settled = True
        for account in self._budgets:
            account.held_calls -= 1
            account.held_tokens -= self._tokens
            account.calls += calls
            account.tokens += tokens
        for account in self._budgets[: self._inside]:
            if account.gate is not None:
                account.gate.release()
