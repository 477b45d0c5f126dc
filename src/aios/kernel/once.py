"""Idempotency: of all calls an agent makes under one key, one runs and all get its answer.

A keyed call runs in a task of the kernel's own, not in its caller's: a caller who loses the connection and asks
again must find the same run going on. It ends when nobody is left who wants its answer.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import time
from collections.abc import AsyncGenerator, Callable, Iterable
from contextlib import aclosing, suppress
from dataclasses import dataclass, field
from typing import Any, TypeVar

import msgspec

from aios.errors import AiosError, Cancelled, Conflict, JournalUnavailable
from aios.kernel.completion import replay
from aios.kernel.journal import Journal
from aios.kernel.records import encode
from aios.syscalls import Call, Completion, Delta, Generate, ProcessInfo, Result, Syscall, ToolResult

log = logging.getLogger(__name__)

Output = Delta | Result
"""What a call gives: deltas (of an llm call), and last its result."""

T = TypeVar("T", Completion, ProcessInfo, ToolResult)

RERUNS = 64
"""Calls of before a crash that run again at once."""
UNSTORED = 10_000
"""So many runs are kept here while the journal can't be written."""
RETRY_S = 1.0


@dataclass(frozen=True, slots=True)
class Claim:
    """An idempotency key, and what was asked under it."""

    agent: str
    key: str
    digest: str
    request: msgspec.Raw


def claim(agent: str, key: str, call: Syscall | Call[Any]) -> Claim:
    """Raises BadRequest (text that can't be written down)."""
    # How the answer is read is no part of what was asked.
    request = encode(msgspec.structs.replace(call, stream=True) if isinstance(call, Generate) else call)
    return Claim(agent, key, hashlib.blake2b(bytes(request), digest_size=16).hexdigest(), request)


@dataclass(slots=True, eq=False)
class Run:
    """One run, and what came of it so far. `over` with or without an `error`."""

    digest: str
    outputs: list[Output] = field(default_factory=list[Output])
    over: bool = False
    error: AiosError | None = None
    readers: int = 0
    task: asyncio.Task[None] | None = None
    more: asyncio.Event = field(default_factory=asyncio.Event)

    def add(self, output: Output) -> None:
        self.outputs.append(output)
        self._wake()

    def end(self, error: AiosError | None = None) -> None:
        if not self.over:
            self.over, self.error = True, error
            self._wake()

    def _wake(self) -> None:
        # An event each: a reader that is slow to wake up must not miss what comes meanwhile.
        self.more.set()
        self.more = asyncio.Event()

    async def read(self) -> AsyncGenerator[Output, None]:
        """All outputs from the first on."""
        at = 0
        while True:
            while at < len(self.outputs):
                yield self.outputs[at]
                at += 1
            if self.error is not None:
                raise self.error
            if self.over:
                return
            await self.more.wait()


class Once:
    """The keyed calls that run, and by way of the journal those that are done."""

    def __init__(self, journal: Journal, tasks: asyncio.TaskGroup, *, ttl_s: float) -> None:
        self._journal, self._tasks, self._ttl_s = journal, tasks, ttl_s
        self._runs: dict[tuple[str, str], Run] = {}
        self._reruns = asyncio.Semaphore(RERUNS)

    async def outputs(
        self, wanted: Claim, work: Callable[[], AsyncGenerator[Output, None]], *, cancellable: bool
    ) -> AsyncGenerator[Output, None]:
        """What the one call under this key gives: from `work` if it is the first. `cancellable`: it ends when
        nobody reads any more; what has an effect must not, or a resubmission would not find it going on.

        Raises Conflict if another request had the key, JournalUnavailable, and what the work raises."""
        name = (wanted.agent, wanted.key)
        run = self._runs.get(name)
        if run is None:
            run = self._runs[name] = Run(wanted.digest, readers=0 if cancellable else 1)
            run.task = self._tasks.create_task(self._drive(run, wanted, work), name=f"call {wanted.key}")
        elif run.digest != wanted.digest:
            raise conflict(wanted.key)
        run.readers += 1
        try:
            async with aclosing(run.read()) as outputs:
                async for output in outputs:
                    yield output
        finally:
            run.readers -= 1
            if not run.readers and not run.over and run.task is not None:
                self._forget(name, run)  # whoever asks now must not join one that is dying
                run.task.cancel()

    def rerun(self, wanted: Claim, work: Callable[[], AsyncGenerator[Output, None]]) -> None:
        """Run a call of before a crash again, in the background, though nobody reads it."""
        run = self._runs[wanted.agent, wanted.key] = Run(wanted.digest, readers=1)

        async def in_turn() -> AsyncGenerator[Output, None]:
            async with self._reruns, aclosing(work()) as outputs:
                async for output in outputs:
                    yield output

        drive = self._drive(run, wanted, in_turn, known=True)
        run.task = self._tasks.create_task(drive, name=f"call {wanted.key} again")

    async def _drive(
        self, run: Run, wanted: Claim, work: Callable[[], AsyncGenerator[Output, None]], known: bool = False
    ) -> None:
        """Fill `run`. `known`: the journal has no answer."""
        try:
            if known or not await self._repeat(run, wanted):
                async with aclosing(work()) as outputs:
                    async for output in outputs:
                        run.add(output)
            run.end()
            await self._until_stored()
        except AiosError as error:
            run.end(error)
        except Exception as error:
            # Nobody awaits this task: a defect that one call met must reach its callers, and not the kernel.
            log.exception("a call under key %r failed", wanted.key)
            run.end(AiosError(f"The kernel has a defect that this call met: {error!r}.", "Please report it."))
        finally:
            run.end(Cancelled("The call was cancelled.", "Send it again."))
            self._forget((wanted.agent, wanted.key), run)

    async def _until_stored(self) -> None:
        """Until its result can be found in the journal a run must be found here."""
        while len(self._runs) < UNSTORED:
            with suppress(JournalUnavailable):
                await self._journal.settled()
                return
            await asyncio.sleep(RETRY_S)

    async def _repeat(self, run: Run, wanted: Claim) -> bool:
        """Give the stored answer, if there is one."""
        stored = await self._journal.find(wanted.agent, wanted.key, time.time() - self._ttl_s)
        if stored is None:
            return False
        if stored.digest != wanted.digest:
            raise conflict(wanted.key)
        result = stored.result
        if result is None:
            raise Conflict(
                f"Whether the call under {wanted.key!r} took effect is in doubt: the kernel died while it ran.",
                "Look at what it should have done; to do it again, send it under a new key.",
                param="idempotency_key",
            )
        outputs: Iterable[Output] = replay(result) if isinstance(result, Completion) else (result,)
        for output in outputs:
            run.add(output)
        return True

    def _forget(self, name: tuple[str, str], run: Run) -> None:
        if self._runs.get(name) is run:
            del self._runs[name]


def conflict(key: str) -> Conflict:
    return Conflict(
        f"The idempotency key {key!r} was used for another request.",
        "Use a new key for each request, and the same one only to repeat it.",
        param="idempotency_key",
    )


async def last(outputs: AsyncGenerator[Output, None], kind: type[T]) -> T:
    """The result, which comes last."""
    found: Output | None = None
    async with aclosing(outputs):
        async for output in outputs:
            found = output
    assert isinstance(found, kind)
    return found
