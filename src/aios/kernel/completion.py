"""From steps to the whole answer, and back. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import msgspec

from aios.cores.core import Ended, Step
from aios.scheduler.ticket import Ticket
from aios.syscalls import (
    Choice,
    Completion,
    Delta,
    FinishReason,
    FunctionCall,
    Timings,
    TokenLogprob,
    ToolCall,
    ToolCallDelta,
    Usage,
)


class _Tool(msgspec.Struct):
    id: str = ""
    name: str = ""
    arguments: list[str] = []


class _Choice(msgspec.Struct):
    content: list[str] = []
    tools: dict[int, _Tool] = {}
    logprobs: list[TokenLogprob] = []
    reason: FinishReason | None = None


class Answer:
    """Collects what the sequences of one `Generate` say. `sequences`: how many there are; each says `Ended`."""

    def __init__(self, sequences: int = 1) -> None:
        self._open = sequences
        self._choices: dict[int, _Choice] = {}
        self._ended: Usage | None = None
        self._tokens = 0

    @property
    def complete(self) -> bool:
        return self._open <= 0

    def take(self, step: Step) -> None:
        """What a sequence says next."""
        if isinstance(step, Delta):
            self.add(step)
        elif isinstance(step, Ended):
            self.end(step)

    def add(self, delta: Delta) -> None:
        choice = self._choices.get(delta.choice)
        if choice is None:
            choice = self._choices[delta.choice] = _Choice()
        self._tokens += delta.tokens
        if delta.content:
            choice.content.append(delta.content)
        if delta.logprobs:
            choice.logprobs.extend(delta.logprobs)
        for piece in delta.tool_calls:
            tool = choice.tools.setdefault(piece.index, _Tool())
            tool.id = piece.id or tool.id
            tool.name = piece.name or tool.name
            tool.arguments.append(piece.arguments)

    def end(self, ended: Ended) -> None:
        self._open -= 1
        prompt, made, cached = ended.prompt_tokens, ended.completion_tokens, ended.cached_tokens
        if before := self._ended:
            prompt, cached = max(prompt, before.prompt_tokens), min(cached, before.cached_tokens)
            made += before.completion_tokens
        self._ended = Usage(prompt_tokens=prompt, completion_tokens=made, cached_tokens=cached)
        for index, reason in ended.reasons.items():
            self._choices.setdefault(index, _Choice()).reason = reason

    def usage(self, prompt_tokens: int = 0) -> Usage:
        """The choices share one prompt, which is counted once; of it, `cached` is what even the choice that
        found least did not have to compute. Before the end: what was generated so far, and `prompt_tokens`
        once anything was."""
        if self._ended is None or not self.complete:
            prompt_tokens = prompt_tokens if self._tokens else 0
            return Usage(prompt_tokens=prompt_tokens, completion_tokens=self._tokens)
        return self._ended

    def completion(self, *, id: str, model: str, created: int, timings: Timings) -> Completion:
        """The whole answer. `created`: Unix time, seconds."""
        return Completion(
            id=id,
            model=model,
            created=created,
            choices=tuple([_choice(i, choice) for i, choice in sorted(self._choices.items())]),
            usage=self.usage(),
            timings=timings,
        )


def timings(ticket: Ticket, now: float) -> Timings:
    """Of a call with `ticket`; `now` is of the monotonic clock. The waits of several choices add up."""
    first = ticket.first_token
    return Timings(
        queue_s=ticket.queue_s,
        run_s=ticket.run_s,
        first_token_s=0.0 if first is None else first - ticket.arrival,
        total_s=now - ticket.arrival,
        interrupts=ticket.interrupts,
    )


def replay(completion: Completion) -> Iterator[Delta | Completion]:
    """A stored answer as a stream: one Delta a choice, then itself."""
    tokens = completion.usage.completion_tokens
    for choice in completion.choices:
        yield Delta(
            choice=choice.index,
            content=choice.content or "",
            tool_calls=tuple(_pieces(choice.tool_calls)),
            tokens=tokens,  # how they fall to the choices is not stored: the first has them all
            logprobs=choice.logprobs,
        )
        tokens = 0
    yield completion


def _choice(index: int, choice: _Choice) -> Choice:
    calls = [
        ToolCall(id=tool.id, function=FunctionCall(name=tool.name, arguments="".join(tool.arguments)))
        for _, tool in sorted(choice.tools.items())
    ]
    content = "".join(choice.content)
    return Choice(
        index=index,
        content=None if calls and not content else content,
        tool_calls=tuple(calls),
        finish_reason=choice.reason or "stop",
        logprobs=tuple(choice.logprobs),
    )


def _pieces(calls: Iterable[ToolCall]) -> Iterator[ToolCallDelta]:
    for i, call in enumerate(calls):
        function = call.function
        yield ToolCallDelta(index=i, id=call.id, name=function.name, arguments=function.arguments)
