"""What goes out at `/v1`: the OpenAI response bodies, and how results become them."""

from __future__ import annotations

import base64
import secrets
import struct
import time
from collections.abc import Iterable, Sequence
from typing import Literal

import msgspec
from msgspec import UNSET, UnsetType

from aios.syscalls import Choice, Completion, Delta, Embeddings, Timings, TokenLogprob, ToolCall, ToolCallDelta
from aios.syscalls import Usage as Counts


class CachedTokens(msgspec.Struct, frozen=True):
    cached_tokens: int


class Usage(msgspec.Struct, frozen=True):
    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    prompt_tokens_details: CachedTokens

    @classmethod
    def of(cls, counts: Iterable[Counts]) -> Usage:
        """The sum of `counts`."""
        prompt = completion = cached = 0
        for c in counts:
            prompt, completion = prompt + c.prompt_tokens, completion + c.completion_tokens
            cached += c.cached_tokens
        return cls(prompt, completion, prompt + completion, CachedTokens(cached))


class Function(msgspec.Struct, frozen=True):
    arguments: str
    name: str | UnsetType = UNSET


class Call(msgspec.Struct, frozen=True, kw_only=True):
    """A tool call, or in a stream a piece of one (with `index`; `id` and `name` in its first piece)."""

    index: int | UnsetType = UNSET
    id: str | UnsetType = UNSET
    type: Literal["function"] | UnsetType = UNSET
    function: Function


class ChatMessage(msgspec.Struct, kw_only=True):
    """A message, or in a stream what is new of one."""

    role: Literal["assistant"] | UnsetType = UNSET
    content: str | UnsetType | None = UNSET
    tool_calls: list[Call] | UnsetType = UNSET
    function_call: Function | UnsetType = UNSET


class Rival(msgspec.Struct, frozen=True):
    token: str
    logprob: float
    bytes: tuple[int, ...]


class Token(msgspec.Struct, frozen=True):
    token: str
    logprob: float
    bytes: tuple[int, ...]
    top_logprobs: list[Rival]


class ChatLogprobs(msgspec.Struct, frozen=True):
    content: list[Token]


class ChatChoice(msgspec.Struct, frozen=True):
    index: int
    message: ChatMessage
    finish_reason: str
    logprobs: ChatLogprobs | None = None


class ChatCompletion(msgspec.Struct, frozen=True, kw_only=True):
    id: str
    object: Literal["chat.completion"] = "chat.completion"
    created: int
    model: str
    choices: list[ChatChoice]
    usage: Usage
    timings: Timings
    """AIOS: where the time went, seconds."""


class ChunkChoice(msgspec.Struct, frozen=True):
    index: int
    delta: ChatMessage
    finish_reason: str | None = None
    logprobs: ChatLogprobs | None = None


class ChatChunk(msgspec.Struct, frozen=True, kw_only=True):
    """One `data:` of a streamed chat completion."""

    id: str
    object: Literal["chat.completion.chunk"] = "chat.completion.chunk"
    created: int
    model: str
    choices: Sequence[ChunkChoice]
    usage: Usage | UnsetType = UNSET
    timings: Timings | UnsetType = UNSET


class TextLogprobs(msgspec.Struct, frozen=True):
    tokens: list[str]
    token_logprobs: list[float]
    top_logprobs: list[dict[str, float]]
    text_offset: list[int]


class TextChoice(msgspec.Struct, frozen=True):
    index: int
    text: str
    finish_reason: str | None = None
    logprobs: TextLogprobs | None = None


class TextCompletion(msgspec.Struct, frozen=True, kw_only=True):
    """A text completion, or one `data:` of a streamed one."""

    id: str
    object: Literal["text_completion"] = "text_completion"
    created: int
    model: str
    choices: Sequence[TextChoice]
    usage: Usage | UnsetType = UNSET
    timings: Timings | UnsetType = UNSET


class Embedding(msgspec.Struct, frozen=True):
    index: int
    embedding: Sequence[float] | str
    """Numbers, or base64 of float32 little-endian."""
    object: Literal["embedding"] = "embedding"


class EmbeddingList(msgspec.Struct, frozen=True, kw_only=True):
    object: Literal["list"] = "list"
    data: list[Embedding]
    model: str
    usage: Usage


class Model(msgspec.Struct, frozen=True, kw_only=True):
    id: str
    object: Literal["model"] = "model"
    created: int
    owned_by: str
    """The core that serves it."""
    kind: str
    """AIOS: the core's kind."""
    max_model_len: int
    """AIOS: window, tokens; 0 unknown."""
    embeddings: bool
    """AIOS: whether `/v1/embeddings` takes it."""


class ModelList(msgspec.Struct, frozen=True, kw_only=True):
    object: Literal["list"] = "list"
    data: list[Model]


def chat(done: Completion, legacy: bool) -> ChatCompletion:
    """`legacy`: tools were given as `functions`, so a call is answered as `function_call`."""
    return ChatCompletion(
        id=f"chatcmpl-{done.id}",
        created=done.created,
        model=done.model,
        choices=[
            ChatChoice(c.index, _whole(c, legacy), finish_reason(c, legacy), chat_logprobs(c.logprobs))
            for c in done.choices
        ],
        usage=Usage.of((done.usage,)),
        timings=done.timings,
    )


def text(done: Sequence[Completion], echoes: Sequence[str]) -> TextCompletion:
    """One completion and one echo a prompt, their choices numbered through."""
    choices: list[TextChoice] = []
    for one, echo in zip(done, echoes, strict=True):
        for c in one.choices:
            logprobs = text_logprobs(c.logprobs, 0)
            choices.append(TextChoice(len(choices), echo + (c.content or ""), c.finish_reason, logprobs))
    return TextCompletion(
        id=f"cmpl-{done[0].id}",
        created=done[0].created,
        model=done[0].model,
        choices=choices,
        usage=Usage.of(one.usage for one in done),
        timings=done[0].timings if len(done) == 1 else UNSET,
    )


def embeddings(result: Embeddings, as_base64: bool) -> EmbeddingList:
    data = [Embedding(i, _base64(v) if as_base64 else v) for i, v in enumerate(result.vectors)]
    return EmbeddingList(data=data, model=result.model, usage=Usage.of((result.usage,)))


class ChatStream:
    """The chunks of one streamed chat completion: one a `Delta`, one a finished choice, one for usage."""

    def __init__(self, model: str, *, legacy: bool, usage: bool) -> None:
        self._id = f"chatcmpl-{secrets.token_hex(12)}"
        self._created = int(time.time())
        self._model = model
        self._legacy = legacy
        self._usage = usage
        self._begun: set[int] = set()

    def delta(self, delta: Delta) -> ChatChunk:
        message = ChatMessage()
        if delta.choice not in self._begun:
            self._begun.add(delta.choice)
            message.role = "assistant"
        if delta.content or not delta.tool_calls:
            message.content = delta.content
        if delta.tool_calls and self._legacy:
            message.function_call = _function(delta.tool_calls[0])
        elif delta.tool_calls:
            message.tool_calls = [_piece(piece) for piece in delta.tool_calls]
        return self._chunk((ChunkChoice(delta.choice, message, None, chat_logprobs(delta.logprobs)),))

    def end(self, done: Completion) -> Iterable[ChatChunk]:
        for c in done.choices:
            if c.index not in self._begun:
                yield self.delta(_all_at_once(c))
            yield self._chunk((ChunkChoice(c.index, ChatMessage(), finish_reason(c, self._legacy)),))
        if self._usage:
            chunk = self._chunk(())
            yield msgspec.structs.replace(chunk, usage=Usage.of((done.usage,)), timings=done.timings)

    def _chunk(self, choices: Sequence[ChunkChoice]) -> ChatChunk:
        return ChatChunk(id=self._id, created=self._created, model=self._model, choices=choices)


class TextStream:
    """The chunks of one streamed text completion, whose prompts are answered one after the other. `echoes`
    are what comes before each answer, in its first chunk."""

    def __init__(self, model: str, *, usage: bool, echoes: Sequence[str]) -> None:
        self._id = f"cmpl-{secrets.token_hex(12)}"
        self._created = int(time.time())
        self._model = model
        self._usage = usage
        self._echoes = echoes
        self._counts: list[Counts] = []
        self._first = 0
        self._offsets: dict[int, int] = {}

    def delta(self, delta: Delta) -> TextCompletion:
        text = delta.content
        if delta.choice not in self._offsets:
            text = self._echoes[len(self._counts)] + text
        offset = self._offsets.get(delta.choice, 0)
        self._offsets[delta.choice] = offset + len(text)
        logprobs = text_logprobs(delta.logprobs, offset)
        return self._chunk((TextChoice(self._first + delta.choice, text, None, logprobs),))

    def end(self, done: Completion) -> Iterable[TextCompletion]:
        """After each prompt."""
        for c in done.choices:
            if c.index not in self._offsets:
                yield self.delta(_all_at_once(c))
            yield self._chunk((TextChoice(self._first + c.index, "", c.finish_reason),))
        self._first += len(done.choices)
        self._offsets.clear()
        self._counts.append(done.usage)
        if self._usage and len(self._counts) == len(self._echoes):
            yield msgspec.structs.replace(self._chunk(()), usage=Usage.of(self._counts))

    def _chunk(self, choices: Sequence[TextChoice]) -> TextCompletion:
        return TextCompletion(id=self._id, created=self._created, model=self._model, choices=choices)


def finish_reason(choice: Choice, legacy: bool) -> str:
    return "function_call" if legacy and choice.finish_reason == "tool_calls" else choice.finish_reason


def chat_logprobs(logprobs: Sequence[TokenLogprob]) -> ChatLogprobs | None:
    if not logprobs:
        return None
    return ChatLogprobs(
        [
            Token(t.token, t.logprob, t.bytes, [Rival(r.token, r.logprob, r.bytes) for r in t.top])
            for t in logprobs
        ]
    )


def text_logprobs(logprobs: Sequence[TokenLogprob], offset: int) -> TextLogprobs | None:
    """The older form. `offset`: characters of the answer before the first of these tokens."""
    if not logprobs:
        return None
    offsets: list[int] = []
    for t in logprobs:
        offsets.append(offset)
        offset += len(t.token)
    return TextLogprobs(
        [t.token for t in logprobs],
        [t.logprob for t in logprobs],
        [{r.token: r.logprob for r in t.top} for t in logprobs],
        offsets,
    )


def _all_at_once(choice: Choice) -> Delta:
    """A choice that came without any Delta, as an empty answer or a stored one may."""
    pieces = [
        ToolCallDelta(index=i, id=call.id, name=call.function.name, arguments=call.function.arguments)
        for i, call in enumerate(choice.tool_calls)
    ]
    return Delta(
        choice=choice.index, content=choice.content or "", tool_calls=tuple(pieces), logprobs=choice.logprobs
    )


def _whole(choice: Choice, legacy: bool) -> ChatMessage:
    message = ChatMessage(role="assistant", content=choice.content)
    if choice.tool_calls and legacy:
        function = choice.tool_calls[0].function
        message.function_call = Function(function.arguments, function.name)
    elif choice.tool_calls:
        message.tool_calls = [_call(call) for call in choice.tool_calls]
    return message


def _call(call: ToolCall) -> Call:
    function = Function(call.function.arguments, call.function.name)
    return Call(id=call.id, type="function", function=function)


def _piece(piece: ToolCallDelta) -> Call:
    first = piece.id is not None
    return Call(
        index=piece.index,
        id=piece.id if piece.id is not None else UNSET,
        type="function" if first else UNSET,
        function=_function(piece),
    )


def _function(piece: ToolCallDelta) -> Function:
    return Function(piece.arguments, piece.name if piece.name is not None else UNSET)


def _base64(vector: Sequence[float]) -> str:
    return base64.b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode()
