"""The tool manager: one way in for every call of a tool, whoever provides it.

`call`: find the tool -> check the arguments -> wait for its turn -> run it within its time -> check and cut the
result. Nothing is locked while a tool runs; cancelling a call, wherever it is, gives back all that it had.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from typing import Any, Self

import msgspec

from aios.errors import AiosError, Draining, ToolError, ToolTimeout, ToolUnavailable, sentence
from aios.syscalls import ToolCall
from aios.syscalls.tools import Profile, Tool, ToolResult
from aios.tools.folder import put_result
from aios.tools.order import Item, Order, RoundRobin
from aios.tools.registry import Known, Provider, Registry
from aios.tools.running import Running
from aios.tools.sandbox.box import Sandbox
from aios.tools.sandbox.boxes import Boxes
from aios.tools.sandbox.chain import find
from aios.tools.sandbox.profile import Outcome, Run
from aios.tools.tool import Bound, Caller, Context

log = logging.getLogger(__name__)
LEARNING = 0.3
FAULTS = (ValueError, LookupError, ArithmeticError, TypeError, OSError)
"""What a tool raises for arguments that it can't work with."""


class ToolManager:
    """Use it as a context manager (`async with ToolManager() as tools`), or `start` and `close` it.

    `sandbox`: finds the way to isolate, when something is first run in a box. `order`: makes the queue of one
    tool. `most_waiting`: calls that may wait for their turn; `most_boxes`: boxes at once; `result_chars`: of
    a result, the text that is given to the model at most. `clean`: takes out of a text what must not be told or
    kept, before it is cut."""

    def __init__(
        self,
        *,
        sandbox: Callable[[], Awaitable[Sandbox]] = find,
        order: Callable[[], Order] = RoundRobin,
        most_waiting: int = 10_000,
        most_boxes: int = 32,
        result_chars: int = 20_000,
        clean: Callable[[str], str] = str,
    ) -> None:
        self._registry = Registry()
        self._boxes = Boxes(sandbox, most=most_boxes)
        self._running = Running(order, most_waiting, self._start)
        self._turns: dict[Item, asyncio.Future[None]] = {}
        self._timers: dict[str, asyncio.TimerHandle] = {}
        self._seconds: dict[str, float] = {}
        self._result_chars, self._clean = result_chars, clean
        self._numbers = 0
        self._closing = False
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        self.start(await self._stack.enter_async_context(asyncio.TaskGroup()))
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()
        await self._stack.aclose()

    def start(self, tasks: asyncio.TaskGroup) -> None:
        """Take calls from now on; `tasks` owns what runs beside them."""
        self._clock, self._tasks = asyncio.get_running_loop().time, tasks
        self._registry.start(tasks)
        self._boxes.start(tasks)

    async def close(self) -> None:
        """Refuse who waits, stop providers and boxes. Calls that run go on to their end."""
        self._closing = True
        for turn in self._turns.values():
            if not turn.done():
                turn.set_exception(Draining("The tools are being stopped.", "Try again later."))
        for timer in self._timers.values():
            timer.cancel()
        await self._registry.close()
        await self._boxes.close_all()

    # -- what there is -----------------------------------------------------------------------------

    async def list(self) -> tuple[Tool, ...]:
        """All tools, by name. Starts providers that have not told theirs; of those that can't, none."""
        return await self._registry.list()

    async def show(self, name: str) -> Tool:
        """One tool. Raises NotFound naming the nearest, ToolUnavailable."""
        return (await self._registry.get(name)).bound.tool

    def add(self, what: Bound | Provider) -> None:
        """Offer a tool, or all of a provider's. Raises Conflict if the name is taken."""
        self._registry.add(what)

    async def remove(self, name: str) -> None:
        """Take away a tool or a provider, which is stopped. What runs of it goes on. Raises NotFound."""
        for gone in await self._registry.remove(name):
            self._running.forget(gone)
            self._seconds.pop(gone, None)

    @property
    def running(self) -> Running:
        """The table of running calls, to look at."""
        return self._running

    def holds(self, agent: str) -> bool:
        """Whether something is kept for it between its calls: boxes, pages."""
        return self._boxes.has(agent) or bool(self._registry.keepers(agent))

    def release(self, agent: str) -> None:
        """The agent is gone: end what is kept for it, soon."""
        if self._closing:
            return
        self._tasks.create_task(self._boxes.close(agent), name=f"end of the boxes of {agent}")
        for keeper in self._registry.keepers(agent):
            self._tasks.create_task(keeper.release(agent), name=f"end of what {agent} had")

    def retire(self, program: str) -> None:
        """A program is over."""
        self._running.retire(program)

    # -- a call ------------------------------------------------------------------------------------

    async def call(self, call: ToolCall, caller: Caller) -> ToolResult:
        """Run one call of a tool and return its result.

        Raises NotFound, ToolError (which a model can mend), ToolTimeout, ToolBusy, ToolUnavailable, and
        Draining."""
        if self._closing:
            raise Draining("The tools are being stopped.", "Try again later.")
        known = await self._registry.get(call.function.name)
        tool = known.bound.tool
        arguments = known.checker.arguments(tool.name, call.function.arguments)
        arrival = self._clock()
        self._numbers += 1
        keys = _keys(known, caller, arguments)
        item = Item(self._numbers, caller, tool.name, keys, arrival)
        self._running.admit(tool, arrival)
        await self._turn(item)
        try:
            began = self._clock()
            value = await self._run(known, caller, arguments)
            ended = self._clock()
            self._learn(tool.name, ended - arrival)
        finally:
            self._leave(item)
        text, file = await self._cut(value, caller)
        return ToolResult(
            id=call.id, tool=tool.name, text=text, value=None if file else value, file=file,
            waited_s=began - arrival, run_s=ended - began,
        )  # fmt: skip

    def expected_s(self, name: str) -> float | None:
        """How long a call of a tool takes, its wait counted, as seen so far; None: not known."""
        return self._seconds.get(name)

    def _learn(self, name: str, seconds: float) -> None:
        before = self._seconds.get(name, seconds)
        self._seconds[name] = before + LEARNING * (seconds - before)

    async def _turn(self, item: Item) -> None:
        """Return when it may run; then it is in the table."""
        turn = self._turns[item] = asyncio.get_running_loop().create_future()
        try:
            self._running.submit(item, item.arrival)
            if not turn.done():
                self._set_timer(item.tool)
                await turn
        except ToolError:
            del self._turns[item]
            raise
        except BaseException:
            self._leave(item)
            raise

    def _start(self, item: Item) -> None:
        turn = self._turns[item]
        if not turn.done():
            turn.set_result(None)

    def _leave(self, item: Item) -> None:
        del self._turns[item]
        self._running.leave(item, self._clock())
        self._set_timer(item.tool)

    def _set_timer(self, tool: str) -> None:
        """See to it that calls that wait for the rate of their tool start."""
        at = self._running.wakes_at(tool, self._clock())
        if at is not None and tool not in self._timers and not self._closing:
            self._timers[tool] = asyncio.get_running_loop().call_at(at, self._wake, tool)

    def _wake(self, tool: str) -> None:
        del self._timers[tool]
        self._running.wake(tool, self._clock())
        self._set_timer(tool)

    async def _run(self, known: Known, caller: Caller, arguments: dict[str, Any]) -> Any:
        tool = known.bound.tool
        limit = asyncio.timeout(tool.timeout_s)
        try:
            async with limit:
                value = await known.bound.body(Context(caller, self._boxed), arguments)
        except AiosError:
            raise
        except FAULTS as error:
            if limit.expired() and isinstance(error, TimeoutError):
                what = f"{tool.name} did not finish in {tool.timeout_s:g} s and was stopped."
                raise ToolTimeout(what, "Ask for less at once.") from error
            what = sentence(f"{tool.name} failed: {type(error).__name__}: {error}")
            raise ToolError(what, "Try other arguments.") from error
        except Exception as error:
            # The supervisor of foreign code: whatever is wrong in a tool, the kernel goes on.
            log.exception("tool %s is broken", tool.name)
            raise ToolError(f"{tool.name} is broken: {error!r}.", "Do without it.") from error
        if known.result is not None:
            known.result.result(tool.name, value)
        return value

    async def _boxed(self, caller: Caller, run: Run, profile: Profile) -> Outcome:
        return await self._boxes.run(caller.agent, caller.work, run, profile)

    async def _cut(self, value: Any, caller: Caller) -> tuple[str, str]:
        try:
            text = value if isinstance(value, str) else msgspec.json.encode(value).decode()
        except (TypeError, ValueError) as error:  # no JSON, or text that is no Unicode
            what = f"The result can't be written as JSON: {error}."
            raise ToolError(what, "The tool's author must mend it.") from error
        text = self._clean(text)
        if len(text) <= self._result_chars:
            return text, ""
        name = f"{time.strftime('%Y%m%d-%H%M%S')}-{secrets.token_hex(4)}.txt"
        try:
            data = text.encode("utf-8", "replace")
            file = await asyncio.to_thread(put_result, caller.work, name, data)
        except OSError as error:
            what = f"The result of {len(text)} characters can't be stored: {error.strerror}."
            raise ToolUnavailable(what, "Ask for less.") from error
        end = self._result_chars
        note = f"\n[cut after {end} of {len(text)} characters; all of it is in the file {file}, from which"
        return f"{text[:end]}{note} read_result reads on with start={end}]", file


def _keys(known: Known, caller: Caller, arguments: dict[str, Any]) -> frozenset[str]:
    """What a call must have for itself. Raises ToolError."""
    name = known.bound.tool.name
    try:
        return frozenset(known.bound.keys(caller, arguments))
    except Exception as error:
        # The supervisor of foreign code: an argument that was left out is not in `arguments`.
        log.exception("the keys of tool %s are broken", name)
        raise ToolError(f"{name} is broken: its keys: {error!r}.", "Give every argument.") from error
