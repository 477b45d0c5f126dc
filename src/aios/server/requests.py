"""What comes in at `/v1`: the OpenAI request bodies, and how they become syscalls.

Tolerant where clients differ and strict where silence would hurt: a parameter that is not known is kept for the
core (`Generate.extra`), never refused; a known one of the wrong type is refused by name.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, TypeVar

import msgspec
from msgspec import Meta

from aios.errors import BadRequest
from aios.server.body import decode
from aios.server.hints import Caller, Hints, Wire
from aios.syscalls import (
    Embed,
    FunctionCall,
    FunctionSpec,
    Generate,
    Message,
    ResponseFormat,
    Role,
    Sampling,
    ToolCall,
    ToolSpec,
)

Tokens = tuple[int, ...]
TextOrTokens = str | list[str | int | list[int]]
Share = Annotated[float, Meta(ge=0, le=1)]
Penalty = Annotated[float, Meta(ge=-2, le=2)]
Count = Annotated[int, Meta(ge=0)]
Rivals = Annotated[int, Meta(ge=0, le=20)]
Name = Annotated[str, Meta(min_length=1)]


class Part(Wire):
    """A part of a message's content. Only text parts can be taken."""

    type: str = "text"
    text: str | None = None
    refusal: str | None = None


class WireFunctionCall(Wire):
    name: str
    arguments: str | dict[str, Any] | None = None

    def call(self) -> FunctionCall:
        given = self.arguments
        if isinstance(given, dict):
            given = msgspec.json.encode(given).decode()
        return FunctionCall(name=self.name, arguments=given or "{}")


class WireToolCall(Wire):
    function: WireFunctionCall
    id: str = ""


class WireMessage(Wire):
    role: Role
    content: str | list[Part] | None = None
    name: str | None = None
    tool_calls: list[WireToolCall] | None = None
    tool_call_id: str | None = None
    function_call: WireFunctionCall | None = None


class WireFunction(Wire):
    name: Name
    description: str | None = None
    parameters: dict[str, Any] | None = None

    def spec(self) -> ToolSpec:
        spec = FunctionSpec(
            name=self.name, description=self.description or "", parameters=self.parameters or {}
        )
        return ToolSpec(function=spec)


class WireTool(Wire):
    function: WireFunction
    type: Literal["function"] = "function"


class NamedFunction(Wire):
    name: Name


class NamedTool(Wire):
    function: NamedFunction
    type: Literal["function"] = "function"


class JsonSchema(Wire):
    schema: dict[str, Any] | None = None
    name: str | None = None


class WireFormat(Wire):
    type: Literal["text", "json_object", "json_schema", "grammar", "regex"]
    json_schema: JsonSchema | None = None
    schema: dict[str, Any] | None = None
    grammar: str | None = None

    def format(self) -> ResponseFormat:
        if self.type in ("grammar", "regex"):
            if self.grammar is None:
                raise _bad("response_format.grammar", f"is missing, and {self.type} needs it.")
            return ResponseFormat(type=self.type, grammar=self.grammar)
        schema = self.json_schema.schema if self.json_schema else self.schema
        if schema is not None and self.type != "text":
            return ResponseFormat(type="json_schema", schema=schema)
        if self.type == "json_schema":
            raise _bad("response_format.json_schema.schema", "is missing.", "Give a JSON Schema.")
        return ResponseFormat(type=self.type)


class StreamOptions(Wire):
    include_usage: bool | None = None


class Sampled(Hints):
    """Parameters that chat and text completions share."""

    temperature: Annotated[float, Meta(ge=0)] | None = None
    top_p: Share | None = None
    top_k: int | None = None
    min_p: Share | None = None
    presence_penalty: Penalty | None = None
    frequency_penalty: Penalty | None = None
    repetition_penalty: Annotated[float, Meta(gt=0)] | None = None
    seed: int | None = None
    logit_bias: dict[int, float] | None = None
    num_beams: Annotated[int, Meta(ge=1, le=128)] | None = None
    """AIOS: search with so many beams instead of sampling."""
    length_penalty: float | None = None
    response_format: WireFormat | None = None
    n: Annotated[int, Meta(ge=1, le=128)] | None = None
    stop: str | list[str] | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    grammar: str | None = None
    """AIOS: GBNF or Lark text that the answer must match."""

    def wants_usage(self) -> bool:
        """Whether a stream ends with a chunk of token counts."""
        return bool(self.stream_options and self.stream_options.include_usage)

    def sampling(self) -> Sampling:
        names = Sampling.__struct_fields__
        given = {name: value for name in names if (value := getattr(self, name)) is not None}
        if given.get("top_k", 0) < 0:
            del given["top_k"]  # -1 is how some clients say "off"
        return Sampling(**given)

    def hinted(self, hints: Hints) -> dict[str, Any]:
        """What both kinds of call take from the headers, else from the body."""
        names = ("priority", "scheduling_class", "policy", "deadline_s", "window", "blocks", "facts", "step")
        said = {name: (getattr(hints, name), getattr(self, name)) for name in names}
        given = {name: body if header is None else header for name, (header, body) in said.items()}
        return {name: value for name, value in given.items() if value is not None}

    def format(self) -> ResponseFormat:
        if self.grammar is not None:
            return ResponseFormat(type="grammar", grammar=self.grammar)
        return self.response_format.format() if self.response_format else ResponseFormat()

    def stops(self) -> tuple[str, ...]:
        stop = [self.stop] if isinstance(self.stop, str) else self.stop or ()
        return tuple(text for text in stop if text)


class ChatRequest(Sampled, kw_only=True):
    """Body of `POST /v1/chat/completions`."""

    messages: Annotated[list[WireMessage], Meta(min_length=1)]
    max_tokens: Annotated[int, Meta(ge=1)] | None = None
    max_completion_tokens: Annotated[int, Meta(ge=1)] | None = None
    tools: list[WireTool] | None = None
    tool_choice: Literal["auto", "none", "required"] | NamedTool | None = None
    parallel_tool_calls: bool | None = None
    functions: list[WireFunction] | None = None
    """Older form of `tools`; the answer then has `function_call`."""
    function_call: Literal["auto", "none"] | NamedFunction | None = None
    logprobs: bool | None = None
    top_logprobs: Rivals | None = None
    continue_final_message: bool | None = None
    """Go on with the last message, which is the assistant's, instead of a new one."""

    def legacy_functions(self) -> bool:
        return self.functions is not None and not self.tools

    def generate(self, extra: dict[str, Any], hints: Hints) -> Generate:
        """The syscall. Raises BadRequest."""
        functions = [tool.function for tool in self.tools] if self.tools else self.functions or ()
        tools = tuple([function.spec() for function in functions])
        return Generate(
            model=self.model or "",
            messages=tuple([_message(i, message) for i, message in enumerate(self.messages)]),
            tools=tools,
            tool_choice=self._tool_choice(tools),
            parallel_tool_calls=self.parallel_tool_calls is not False,
            response_format=self.format(),
            sampling=self.sampling(),
            max_tokens=self.max_completion_tokens or self.max_tokens,
            stop=self.stops(),
            n=self.n or 1,
            stream=bool(self.stream),
            logprobs=(self.top_logprobs or 0) if self.logprobs else None,
            continues=bool(self.continue_final_message),
            idempotency_key=hints.idempotency_key or self.idempotency_key,
            extra=extra,
            **self.hinted(hints),
        )

    def _tool_choice(self, tools: tuple[ToolSpec, ...]) -> str:
        choice = self.tool_choice if self.tool_choice is not None else self.function_call
        if isinstance(choice, NamedTool):
            choice = choice.function
        if isinstance(choice, NamedFunction):
            if all(tool.function.name != choice.name for tool in tools):
                raise _bad("tool_choice", f"names {choice.name!r}, which is not among the tools.")
            return f"={choice.name}"
        if choice == "required" and not tools:
            raise _bad("tool_choice", "is 'required', and there are no tools.", "Give tools.")
        return choice or "auto"


class CompletionRequest(Sampled, kw_only=True):
    """Body of `POST /v1/completions`."""

    prompt: TextOrTokens
    max_tokens: Count | None = None
    """16 unless set, as in the OpenAI API."""
    logprobs: Rivals | None = None
    echo: bool | None = None

    def generate(self, extra: dict[str, Any], hints: Hints) -> list[Generate]:
        """One syscall a prompt. Raises BadRequest."""
        prompts = _texts("prompt", self.prompt)
        key = hints.idempotency_key or self.idempotency_key
        one = Generate(
            model=self.model or "",
            response_format=self.format(),
            sampling=self.sampling(),
            max_tokens=16 if self.max_tokens is None else self.max_tokens,
            stop=self.stops(),
            n=self.n or 1,
            stream=bool(self.stream),
            logprobs=self.logprobs,
            extra=extra,
            **self.hinted(hints),
        )
        keys = [key] if len(prompts) == 1 else [key and f"{key}/{i}" for i in range(len(prompts))]
        return [
            msgspec.structs.replace(
                one, prompt=prompt, idempotency_key=k, echo=bool(self.echo) and not self.echoed(prompt)
            )
            for prompt, k in zip(prompts, keys, strict=True)
        ]

    def echoed(self, prompt: str | Tokens | None) -> str:
        """What the server itself puts before the answer to `prompt`, so that `echo` works with any core. Token
        ids and log-probabilities of the prompt are left to the core."""
        return prompt if self.echo and self.logprobs is None and isinstance(prompt, str) else ""


class EmbeddingRequest(Caller, kw_only=True):
    """Body of `POST /v1/embeddings`."""

    input: TextOrTokens
    encoding_format: Literal["float", "base64"] | None = None
    dimensions: Annotated[int, Meta(ge=1)] | None = None

    def embed(self) -> Embed:
        """The syscall. Raises BadRequest."""
        return Embed(inputs=_texts("input", self.input), model=self.model or "", dimensions=self.dimensions)


R = TypeVar("R", bound=Caller)


def parse(body: bytes, type: type[R]) -> tuple[R, dict[str, Any]]:
    """The body as a `type`, and all parameters in it that `type` does not know. Raises BadRequest."""
    request = decode(body, type)
    known = type.__struct_fields__
    fields = decode(body, dict[str, msgspec.Raw])
    unknown = {name: decode(raw, object) for name, raw in fields.items() if name not in known}
    return request, {name: value for name, value in unknown.items() if value is not None}


def _message(index: int, wire: WireMessage) -> Message:
    content = wire.content
    if isinstance(content, list):
        content = _text(index, content)
    calls = tuple([ToolCall(id=call.id, function=call.function.call()) for call in wire.tool_calls or ()])
    match wire.role:
        case "developer":
            return Message(role="system", content=content or "", name=wire.name)
        case "assistant":
            if wire.function_call is not None:
                function = wire.function_call.call()
                calls = (ToolCall(id=_legacy_id(function.name), function=function),)
            return Message(role="assistant", content=content, name=wire.name, tool_calls=calls)
        case "function":
            # The older form knows no call ids: the name is what ties an answer to its call.
            return Message(
                role="tool", content=content or "", name=wire.name, tool_call_id=_legacy_id(wire.name or "")
            )
        case role:
            return Message(role=role, content=content or "", name=wire.name, tool_call_id=wire.tool_call_id)


def _legacy_id(function: str) -> str:
    return f"call_{function}"


def _text(index: int, parts: list[Part]) -> str:
    texts: list[str] = []
    for i, part in enumerate(parts):
        text = part.refusal if part.type == "refusal" else part.text
        if part.type not in ("text", "refusal") or text is None:
            what = f"is a part of type {part.type!r}, and the model takes text only."
            raise _bad(f"messages[{index}].content[{i}]", what, "Send text parts.")
        texts.append(text)
    return "\n".join(texts)


def _texts(param: str, given: TextOrTokens) -> tuple[str | Tokens, ...]:
    """One prompt an entry, out of the four forms: a text, texts, token ids, lists of token ids."""
    if isinstance(given, str):
        return (given,)
    if given and all(isinstance(entry, int) for entry in given):
        return (tuple([entry for entry in given if isinstance(entry, int)]),)
    if not given or any(isinstance(entry, int) or not entry for entry in given if not isinstance(entry, str)):
        raise _bad(param, "must be a text, texts, token ids, or lists of token ids, and no list empty.")
    return tuple([entry if isinstance(entry, str) else _ids(entry) for entry in given])


def _ids(entry: int | list[int]) -> Tokens:
    return (entry,) if isinstance(entry, int) else tuple(entry)


def _bad(param: str, what: str, mend: str = "") -> BadRequest:
    return BadRequest(f"{param} {what}", mend, param=param)
