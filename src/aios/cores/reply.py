"""What an OpenAI-compatible endpoint answers, and how it becomes steps.

Only the fields that are used are declared; all may be missing, since endpoints differ.
"""

from __future__ import annotations

from typing import Any

import msgspec

from aios.cores.core import Ended
from aios.syscalls import Delta, FinishReason, TokenLogprob, ToolCallDelta

REASONS: dict[str, FinishReason] = {
    "length": "length", "max_tokens": "length", "tool_calls": "tool_calls", "function_call": "tool_calls",
}  # fmt: skip
"""Every other reason (stop, eos, content_filter, …) is `stop`."""


class WireLogprob(msgspec.Struct):
    token: str
    logprob: float
    bytes: list[int] | None = None
    top_logprobs: list[WireLogprob] | None = None

    def record(self) -> TokenLogprob:
        raw = self.token.encode() if self.bytes is None else self.bytes
        top = tuple([rival.record() for rival in self.top_logprobs or ()])
        return TokenLogprob(token=self.token, logprob=self.logprob, bytes=tuple(raw), top=top)


class WireLogprobs(msgspec.Struct):
    """Of chat (`content`), or of text completions (the others, in parallel)."""

    content: list[WireLogprob] | None = None
    tokens: list[str] | None = None
    token_logprobs: list[float | None] | None = None
    top_logprobs: list[dict[str, float] | None] | None = None

    def records(self) -> tuple[TokenLogprob, ...]:
        if self.content is not None:
            return tuple([logprob.record() for logprob in self.content])
        tokens = self.tokens or []
        tops = self.top_logprobs or [None] * len(tokens)
        rows = zip(tokens, self.token_logprobs or [], tops, strict=False)
        return tuple([_record(token, value, top) for token, value, top in rows])


class WireFunction(msgspec.Struct):
    name: str | None = None
    arguments: str | None = None


class WireToolCall(msgspec.Struct):
    index: int | None = None
    id: str | None = None
    function: WireFunction | None = None


class WireText(msgspec.Struct):
    """A message or a piece of one."""

    content: str | None = None
    tool_calls: list[WireToolCall] | None = None
    reasoning_content: str | None = None
    """Thoughts that some endpoints show apart: an answer has no place for them, but they are tokens."""


class WireChoice(msgspec.Struct):
    index: int = 0
    delta: WireText | None = None
    message: WireText | None = None
    text: str | None = None
    finish_reason: str | None = None
    logprobs: WireLogprobs | None = None


class WireCached(msgspec.Struct):
    cached_tokens: int | None = None


class WireUsage(msgspec.Struct):
    prompt_tokens: int = 0
    completion_tokens: int | None = None
    prompt_tokens_details: WireCached | None = None


class Reply(msgspec.Struct):
    """A whole answer, or one event of a streamed one."""

    choices: list[WireChoice] | None = None
    usage: WireUsage | None = None
    error: Any = None


class Listed(msgspec.Struct):
    id: str


class ModelList(msgspec.Struct):
    data: list[Listed]


class WireEmbedding(msgspec.Struct):
    embedding: list[float]
    index: int = 0


class EmbeddingReply(msgspec.Struct):
    data: list[WireEmbedding]
    usage: WireUsage | None = None


class Reader:
    """Turns the replies to one call into deltas and, at the end, `Ended`."""

    def __init__(self, choices: int) -> None:
        self._reasons: dict[int, FinishReason] = {}
        self._called: set[int] = set()
        self._choices = choices
        self._usage = WireUsage()
        self._tokens = 0

    @property
    def complete(self) -> bool:
        """Every choice has said why it ended."""
        return len(self._reasons) >= self._choices

    def read(self, reply: Reply, *, whole: bool = False) -> list[Delta]:
        """The deltas of `reply`: one a choice in it that says something. `whole`: it was not streamed and
        has all tokens of the call."""
        if reply.usage is not None:
            self._usage = reply.usage
        deltas: list[Delta] = []
        for choice in reply.choices or ():
            delta = _delta(choice)
            if delta is not None:
                if whole:
                    tokens = (self._usage.completion_tokens or 1) if not deltas else 0
                    delta = msgspec.structs.replace(delta, tokens=tokens)
                deltas.append(delta)
                self._tokens += delta.tokens
                if delta.tool_calls:
                    self._called.add(choice.index)
            if choice.finish_reason:
                reason = REASONS.get(choice.finish_reason, "stop")
                # Some endpoints say `stop` after a tool call, all do when the tool was named in the request.
                calls = reason == "stop" and choice.index in self._called
                self._reasons[choice.index] = "tool_calls" if calls else reason
        return deltas

    @property
    def counted(self) -> int | None:
        """Generated tokens, if the endpoint counted them."""
        return self._usage.completion_tokens

    def end(self) -> Ended:
        """Once the answer is complete."""
        usage = self._usage
        details = usage.prompt_tokens_details
        return Ended(
            reasons=self._reasons,
            prompt_tokens=usage.prompt_tokens,
            completion_tokens=self._tokens if usage.completion_tokens is None else usage.completion_tokens,
            cached_tokens=(details.cached_tokens or 0) if details else 0,
        )


def _delta(choice: WireChoice) -> Delta | None:
    """None for a choice that says nothing: the role at the start, the reason at the end."""
    piece = choice.delta or choice.message or WireText()
    content = choice.text or piece.content or ""
    calls = tuple([_call(i, call) for i, call in enumerate(piece.tool_calls or ())])
    logprobs = choice.logprobs.records() if choice.logprobs else ()
    if not (content or calls or logprobs or piece.reasoning_content):
        return None
    return Delta(choice=choice.index, content=content, tool_calls=calls, logprobs=logprobs)


def _call(position: int, call: WireToolCall) -> ToolCallDelta:
    function = call.function or WireFunction()
    return ToolCallDelta(
        index=position if call.index is None else call.index,
        id=call.id or None,
        name=function.name or None,
        arguments=function.arguments or "",
    )


def _record(token: str, logprob: float | None, top: dict[str, float] | None) -> TokenLogprob:
    """Without a logprob (the first token of an echoed prompt) nothing was improbable about it."""
    rivals = tuple([TokenLogprob(token=t, logprob=p, bytes=tuple(t.encode())) for t, p in (top or {}).items()])
    return TokenLogprob(token=token, logprob=logprob or 0.0, bytes=tuple(token.encode()), top=rivals)
