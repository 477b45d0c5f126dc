"""The `llm.*` calls: conversations and texts go in, completions and vectors come out.

Token counts are tokens of the core's own vocabulary; times are seconds; `logprob` is natural log.
"""

from __future__ import annotations

from typing import Any, Literal

from aios.syscalls.base import Call, Record, SchedulingClass

Role = Literal["system", "developer", "user", "assistant", "tool", "function"]
FinishReason = Literal["stop", "length", "tool_calls", "cancelled"]
WindowPolicy = Literal["error", "truncate", "summarize"]


# -- what goes in ------------------------------------------------------------------------------------


class FunctionCall(Record, frozen=True):
    name: str
    arguments: str = "{}"
    """A JSON text, as in the OpenAI API."""


class ToolCall(Record, frozen=True):
    id: str
    function: FunctionCall
    type: Literal["function"] = "function"


class Message(Record, frozen=True):
    """One message of a conversation. `content` is text; parts of other kinds are refused upstream."""

    role: Role
    content: str | None = None
    name: str | None = None
    tool_calls: tuple[ToolCall, ...] = ()
    tool_call_id: str | None = None


class FunctionSpec(Record, frozen=True):
    name: str
    description: str = ""
    parameters: dict[str, Any] = {}
    """JSON Schema of the arguments (an object); empty means no arguments are described."""


class ToolSpec(Record, frozen=True):
    function: FunctionSpec
    type: Literal["function"] = "function"


class ResponseFormat(Record, frozen=True):
    """What form the text of the answer must have.

    `json_object`: any JSON object. `json_schema`: `schema` holds the JSON Schema. `grammar`: `grammar` holds
    GBNF or Lark text. `regex`: `grammar` holds a regular expression.
    """

    type: Literal["text", "json_object", "json_schema", "grammar", "regex"] = "text"
    schema: dict[str, Any] | None = None
    grammar: str | None = None


class Sampling(Record, frozen=True):
    """How the next token is drawn. `temperature` 0 is greedy. Penalties as in the OpenAI API, and
    `repetition_penalty` as in CTRL (Keskar et al. 2019, section 4.1). `seed` None: drawn by the kernel.

    With `num_beams` > 1 nothing is drawn: the likeliest answers are searched for, by the sum of their log
    probabilities over length to the power of `length_penalty`."""

    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0
    min_p: float = 0.0
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    repetition_penalty: float = 1.0
    seed: int | None = None
    logit_bias: dict[int, float] = {}
    num_beams: int = 1
    length_penalty: float = 1.0


# -- what comes out ----------------------------------------------------------------------------------


class TokenLogprob(Record, frozen=True):
    token: str
    logprob: float
    bytes: tuple[int, ...] = ()
    top: tuple[TokenLogprob, ...] = ()


class ToolCallDelta(Record, frozen=True):
    """A piece of a tool call: `id` and `name` come with its first piece, `arguments` in pieces."""

    index: int
    id: str | None = None
    name: str | None = None
    arguments: str = ""


class Delta(Record, frozen=True):
    """What one step added to one choice. One Delta a token where the core shows tokens."""

    choice: int = 0
    content: str = ""
    tool_calls: tuple[ToolCallDelta, ...] = ()
    tokens: int = 1
    logprobs: tuple[TokenLogprob, ...] = ()


class Usage(Record, frozen=True):
    """Token counts of a call. `cached_tokens` of `prompt_tokens` were not prefilled: their KV was there."""

    prompt_tokens: int = 0
    completion_tokens: int = 0
    cached_tokens: int = 0


class Timings(Record, frozen=True):
    """Where the time of a call went (seconds). `queue_s`: ready but without a slot, over all waits;
    `run_s`: holding a slot; `first_token_s`: arrival to first token; `interrupts`: times it was preempted."""

    queue_s: float = 0.0
    run_s: float = 0.0
    first_token_s: float = 0.0
    total_s: float = 0.0
    interrupts: int = 0


class Choice(Record, frozen=True):
    index: int = 0
    content: str | None = None
    tool_calls: tuple[ToolCall, ...] = ()
    finish_reason: FinishReason = "stop"
    logprobs: tuple[TokenLogprob, ...] = ()


class Completion(Record, frozen=True, tag="completion"):
    """The whole answer of a `Generate`."""

    id: str
    model: str
    created: int
    """Unix time, seconds."""
    choices: tuple[Choice, ...]
    usage: Usage = Usage()
    timings: Timings = Timings()


class Embeddings(Record, frozen=True, tag="embeddings"):
    model: str
    vectors: tuple[tuple[float, ...], ...]
    """One vector an input, each of the model's width, of length 1."""
    usage: Usage = Usage()


# -- calls ------------------------------------------------------------------------------------------


class Generate(Call[Completion], frozen=True, tag="llm.generate"):
    """Go on with a conversation (`messages`) or a text (`prompt`: text or token ids), on a core that serves
    `model` ("" is the default core's). Answered by a stream of `Delta` and one `Completion`."""

    model: str = ""
    messages: tuple[Message, ...] = ()
    prompt: str | tuple[int, ...] | None = None
    tools: tuple[ToolSpec, ...] = ()
    tool_choice: str = "auto"
    """`auto`, `none`, `required`, or `=NAME` for the one function NAME."""
    parallel_tool_calls: bool = True
    response_format: ResponseFormat = ResponseFormat()
    sampling: Sampling = Sampling()
    max_tokens: int | None = None
    """At most so many generated tokens; None: as many as the window holds."""
    stop: tuple[str, ...] = ()
    n: int = 1
    logprobs: int | None = None
    """None: none; k >= 0: of each chosen token and its k likeliest rivals (k <= 20)."""
    echo: bool = False
    continues: bool = False
    """The last message is the assistant's and not finished: the answer goes on with it."""
    stream: bool = True
    """The caller reads deltas as they come. False lets a core answer in one piece, where that is cheaper."""
    priority: int = 0
    scheduling_class: SchedulingClass | None = None
    """None: the class of the process."""
    policy: str = ""
    """Scheduling policy that orders it, of those its group may choose; "": that of the core."""
    window: WindowPolicy | None = None
    """What happens when `messages` outgrow the model's window; None: as the kernel is configured."""
    blocks: bool = False
    """Put the caller's memory blocks into the window, behind the system message."""
    facts: int = 0
    """Personal memory: at most so many tokens of what earlier conversations told are put before this one, and
    what it tells is learned; 0: neither."""
    step: str = ""
    """Which step of the program's declared plan it is; "": the next one at which no other call is."""
    deadline_s: float | None = None
    """Seconds from arrival after which the call fails with `DeadlineExceeded`."""
    idempotency_key: str | None = None
    extra: dict[str, Any] = {}
    """Parameters that this kernel does not know, passed on to endpoint cores as they are."""


class Embed(Call[Embeddings], frozen=True, tag="llm.embed"):
    """Embed texts (or token id lists) with a core that serves `model`. Answered by `Embeddings`."""

    inputs: tuple[str | tuple[int, ...], ...]
    model: str = ""
    dimensions: int | None = None
