"""What becomes of a conversation that has outgrown the model's window, and what is in the window."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from typing import TypeVar

import msgspec

from aios.context.window import Conversation
from aios.cores.core import Core, Sequence
from aios.errors import ContextOverflow, NotFound
from aios.events import EventBus, WindowChanged
from aios.kernel.pcb import Process
from aios.kernel.personal import BLOCK, Personal
from aios.syscalls import Completion, ContextInfo, Generate, Message, Sampling, WindowPolicy

K = TypeVar("K")
V = TypeVar("V")

SUMMARIES = 2_000
"""Summaries that are remembered."""
REMEMBERED = 1_000
"""Processes of which the last conversation is remembered, for `composition`."""

ASK = """Summarise the conversation below in a few short sentences, for somebody who goes on with it. Keep
names, numbers, decisions and open tasks. Write nothing else.

{before}{text}"""
TOLD = "Summary of the conversation so far: {summary}"


class Windows:
    """Fits conversations into windows. `default`: the policy of calls that name none. `ask(pid, call)` makes
    an llm call for a process, aside: summaries are paid for and scheduled like any other call."""

    def __init__(
        self,
        default: WindowPolicy,
        bus: EventBus,
        ask: Callable[[int, Generate], Awaitable[Completion]],
        personal: Personal,
    ) -> None:
        self._default: WindowPolicy = default
        self.personal = personal
        self._bus, self._ask = bus, ask
        self._summaries: OrderedDict[bytes, str] = OrderedDict()
        self._last: OrderedDict[int, tuple[Core, Generate]] = OrderedDict()

    async def fitted(self, process: Process, core: Core, call: Generate, id: int) -> Generate:
        """`call`, number `id`, with what memory puts in, and messages that leave room for an answer: a quarter
        of the window, or `max_tokens` if that is less. Raises ContextOverflow where even the newest message
        does not fit."""
        call = await self.personal.informed(process, core, call)
        policy = call.window or self._default
        _remember(self._last, process.pid, (core, call), REMEMBERED)
        if policy == "error" or not (call.messages and core.capabilities.window):
            return call
        try:
            return await self._cut(process, core, call, policy, id)
        except ContextOverflow as error:
            self._refused(process, core, call, id, error)
            raise

    async def prepared(self, process: Process, core: Core, call: Generate, id: int) -> list[Sequence]:
        """What `core` makes of `call`, which is fitted as far as its policy says. Raises what that raises, and
        tells of a conversation that is too long."""
        try:
            return await core.prepare(call, process.pid, process.group)
        except ContextOverflow as error:
            self._refused(process, core, call, id, error)
            raise

    async def _cut(
        self, process: Process, core: Core, call: Generate, policy: WindowPolicy, id: int
    ) -> Generate:
        window = core.capabilities.window
        reserve = min(call.max_tokens or window, window // 4)
        if await self._length(process, core, call) <= window - reserve:
            return call
        talk = Conversation.of(call.messages)
        room = window - reserve - (window // 8 if policy == "summarize" else 0)
        cuts = talk.cuts(stride=window // 2)  # characters: an eighth of a window or so
        index = await self._first_that_fits(process, core, call, talk, cuts, room)
        summary = ""
        if policy == "summarize":
            summary = await self._summary(process, core, call, talk, cuts[: index + 1])
        fitted = _shortened(call, talk, cuts[index], summary)
        while summary and await self._length(process, core, fitted) > window - reserve:
            summary = summary[: len(summary) // 2]  # more tokens than it took to write it
            fitted = _shortened(call, talk, cuts[index], summary)
        _remember(self._last, process.pid, (core, fitted), REMEMBERED)
        left_out, tokens = len(talk.between(0, cuts[index])), await self._length(process, core, fitted)
        self._tell(process, core, fitted, policy, id, left_out=left_out, tokens=tokens)
        return fitted

    def _refused(self, process: Process, core: Core, call: Generate, id: int, error: ContextOverflow) -> None:
        self._tell(process, core, call, call.window or self._default, id, tokens=error.tokens, refused=True)

    def _tell(
        self, process: Process, core: Core, call: Generate, policy: WindowPolicy, id: int, *, tokens: int,
        left_out: int = 0, refused: bool = False,
    ) -> None:  # fmt: skip
        self._bus.publish(
            WindowChanged(
                pid=process.pid, call=id, policy=policy, left_out=left_out, kept=len(call.messages),
                tokens=tokens, window=core.capabilities.window, refused=refused,
            )
        )  # fmt: skip

    async def composition(self, process: Process) -> ContextInfo:
        """What the window of the last call of a process holds. Raises NotFound if it is not known (any
        more)."""
        if process.pid not in self._last:
            raise NotFound(f"No conversation of process {process.pid} is known.", "Ask after its next call.")
        core, call = self._last[process.pid]
        talk = Conversation.of(call.messages)
        start = talk.head or (Message(role="user", content=""),)
        system = await self._length(process, core, msgspec.structs.replace(call, messages=start, tools=()))
        others = tuple([m for m in start if not (m.content or "").startswith(BLOCK)]) or start
        alone = msgspec.structs.replace(call, messages=others, tools=())
        blocks = system - await self._length(process, core, alone)
        tools = await self._length(process, core, msgspec.structs.replace(call, messages=start)) - system
        total = await self._length(process, core, call)
        window = core.capabilities.window
        return ContextInfo(
            pid=process.pid, window=window, system=system - blocks, blocks=blocks, tools=tools,
            history=total - system - tools, free=max(0, window - total), messages=len(call.messages),
        )  # fmt: skip

    def forget(self, pid: int) -> None:
        """The process is gone."""
        self._last.pop(pid, None)

    async def _length(self, process: Process, core: Core, call: Generate) -> int:
        """Tokens of the prompt; more than any window if it is longer than that."""
        try:
            sequences = await core.prepare(msgspec.structs.replace(call, n=1), process.pid, process.group)
        except ContextOverflow:
            return 2 * core.capabilities.window
        return max(len(sequence.tokens) for sequence in sequences)

    async def _first_that_fits(
        self, process: Process, core: Core, call: Generate, talk: Conversation, cuts: list[int], room: int
    ) -> int:
        """Index of the first of `cuts` after which no more than `room` tokens are left."""
        low, high = 0, len(cuts)
        while low < high:
            middle = (low + high) // 2
            tried = msgspec.structs.replace(call, messages=talk.after(cuts[middle]))
            if await self._length(process, core, tried) <= room:
                high = middle
            else:
                low = middle + 1
        if low == len(cuts):
            raise ContextOverflow(
                "Even the newest message, with the instructions and tools, leaves no room for an answer.",
                "Shorten it, or raise `context` of the core.",
                param="messages",
            )
        return low

    async def _summary(
        self, process: Process, core: Core, call: Generate, talk: Conversation, cuts: list[int]
    ) -> str:
        """Of what the last of `cuts` leaves out: made step by step, each from the one before, so that a
        conversation that has grown needs one more step only."""
        summary, start = "", 0
        key = hashlib.sha256(f"{process.group}\0{call.model}".encode())
        for cut in cuts:
            text = "\n".join(map(_line, talk.between(start, cut)))
            start = cut
            key.update(text.encode("utf-8", "replace") + b"\0")
            known = self._summaries.get(key.digest())
            summary = known or await self._summarised(process, core, call.model, summary, text)
            _remember(self._summaries, key.digest(), summary, SUMMARIES)
        return summary

    async def _summarised(self, process: Process, core: Core, model: str, before: str, text: str) -> str:
        """A summary of `text`, which came after what `before` tells. Of a text that is itself too long for the
        window the middle is left out."""
        window = core.capabilities.window
        most = max(16, window // 8)
        told = f"What happened before: {before}\n\n" if before else ""
        while True:
            asked = Generate(
                model=model,
                messages=(Message(role="user", content=ASK.format(before=told, text=text)),),
                sampling=Sampling(temperature=0.0),
                max_tokens=most,
                window="error",
                stream=False,
            )
            if len(text) < 100 or await self._length(process, core, asked) + most <= window:
                break
            text = f"{text[: 3 * len(text) // 8]}\n[…]\n{text[-3 * len(text) // 8 :]}"
        done = await self._ask(process.pid, asked)
        return (done.choices[0].content or "").strip()


def _shortened(call: Generate, talk: Conversation, cut: int, summary: str) -> Generate:
    """`call` without the first `cut` units of its conversation, and with their summary if there is one."""
    instead = Message(role="user", content=TOLD.format(summary=summary)) if summary else None
    return msgspec.structs.replace(call, messages=talk.after(cut, instead=instead))


def _remember(known: OrderedDict[K, V], key: K, value: V, most: int) -> None:
    """Keep the most recently used."""
    known[key] = value
    known.move_to_end(key)
    if len(known) > most:
        known.popitem(last=False)


def _line(message: Message) -> str:
    calls = [f"{call.function.name}({call.function.arguments})" for call in message.tool_calls]
    return f"{message.role}: {' '.join([message.content or '', *calls]).strip()}"
