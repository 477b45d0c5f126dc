"""The ABI: one Struct per syscall and per result.

A syscall is one request of a process to the kernel. It is plain data (msgspec), so that the same message is
journalled, sent over HTTP, shown by `strace` and given to a manager. `Syscall` is the tagged union of all.

Units: token counts are tokens of the core's own vocabulary; times are seconds; `logprob` is natural log.
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec

Role = Literal["system", "developer", "user", "assistant", "tool", "function"]
FinishReason = Literal["stop", "length", "tool_calls", "cancelled"]
SchedulingClass = Literal["interactive", "normal", "batch", "idle"]
WindowPolicy = Literal["error", "truncate", "summarize"]
Signal = Literal["kill", "pause", "resume"]


class Record(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Base of all messages: immutable, keyword-only, unset fields left out on the wire."""


# -- llm: what goes in ------------------------------------------------------------------------------


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


class Generate(Record, frozen=True, tag="llm.generate", tag_field="call"):
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
    window: WindowPolicy | None = None
    """What happens when `messages` outgrow the model's window; None: as the kernel is configured."""
    step: str = ""
    """Which step of the program's declared plan it is; "": the next one."""
    deadline_s: float | None = None
    """Seconds from arrival after which the call fails with `DeadlineExceeded`."""
    idempotency_key: str | None = None
    extra: dict[str, Any] = {}
    """Parameters that this kernel does not know, passed on to endpoint cores as they are."""


class Embed(Record, frozen=True, tag="llm.embed", tag_field="call"):
    """Embed texts (or token id lists) with a core that serves `model`. Answered by `Embeddings`."""

    inputs: tuple[str | tuple[int, ...], ...]
    model: str = ""
    dimensions: int | None = None


# -- llm: what comes out ----------------------------------------------------------------------------


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


# -- process ----------------------------------------------------------------------------------------


class Limits(Record, frozen=True):
    """What one process may use; None: no limit. `concurrency` calls wait; the others are refused."""

    calls: int | None = None
    tokens: int | None = None
    """Prompt and completion tokens together, over the life of the process."""
    concurrency: int | None = None


class Spawn(Record, frozen=True, tag="process.spawn", tag_field="call"):
    """Make a process. A child can only lose rights: its group is its parent's or below, its limits are
    within its parent's. Answered by `ProcessInfo`."""

    name: str
    group: str = ""
    """Privilege group; "" is the parent's (or `default`)."""
    scheduling_class: SchedulingClass = "normal"
    nice: int = 0
    limits: Limits = Limits()
    program: str | None = None
    """Program the calls of this process belong to; None: the parent's, else its own."""
    idempotency_key: str | None = None


class SendSignal(Record, frozen=True, tag="process.signal", tag_field="call"):
    """Kill, pause or resume a process (and, for kill, its children). Answered by `ProcessInfo`."""

    pid: int
    signal: Signal
    reason: str = ""
    idempotency_key: str | None = None


class Nice(Record, frozen=True, tag="process.nice", tag_field="call"):
    """Set the nice value (-20 most favoured … 19). Answered by `ProcessInfo`."""

    pid: int
    nice: int
    idempotency_key: str | None = None


class Exit(Record, frozen=True, tag="process.exit", tag_field="call"):
    """The calling process is done. Its contexts are dropped. Answered by `ProcessInfo`."""

    status: int = 0
    idempotency_key: str | None = None


class PlanStep(Record, frozen=True):
    """One step of what a program will do: a call of a model of about `tokens` tokens to compute (prompt that is
    new, and answer), or a tool that takes about `seconds`. It begins when those it `depends_on` are done."""

    name: str
    kind: Literal["llm", "tool"] = "llm"
    tokens: int = 128
    seconds: float = 0.0
    depends_on: tuple[str, ...] = ()


class DeclarePlan(Record, frozen=True, tag="process.plan", tag_field="call"):
    """Say what the program of the calling process will do from now on: the scheduler then knows what is left of
    it and which of its calls hold up others. Only a hint. Answered by `ProcessInfo`."""

    steps: tuple[PlanStep, ...]


class Ps(Record, frozen=True, tag="process.list", tag_field="call"):
    """List processes. Answered by `ProcessList`."""

    all: bool = False
    """With exited ones."""


class ProcessUsage(Record, frozen=True):
    calls: int = 0
    failed_calls: int = 0
    prompt_tokens: int = 0
    cached_tokens: int = 0
    completion_tokens: int = 0
    queue_s: float = 0.0
    run_s: float = 0.0
    interrupts: int = 0

    @property
    def work(self) -> int:
        """Tokens that were computed: uncached prompt and generated."""
        return self.prompt_tokens - self.cached_tokens + self.completion_tokens


ProcessState = Literal["idle", "ready", "running", "paused", "exited", "killed"]


class ProcessInfo(Record, frozen=True, tag="process"):
    """One line of `aios ps`. `kv` is where the KV of its newest context is, `kv_tokens` how long it is."""

    pid: int
    name: str
    parent: int
    group: str
    state: ProcessState
    scheduling_class: SchedulingClass = "normal"
    nice: int = 0
    program: str = ""
    limits: Limits = Limits()
    usage: ProcessUsage = ProcessUsage()
    active_calls: int = 0
    waiting_s: float = 0.0
    """How long its oldest waiting call has waited by now."""
    attained: int = 0
    """Tokens that were computed for it: uncached prompt and generated."""
    level: int | None = None
    """The worst level of the scheduling policy on which a call of its stands; 0 is served first."""
    kv: Literal["", "resident", "parked", "swapped", "dropped"] = ""
    kv_tokens: int = 0
    created: float = 0.0
    last_active: float = 0.0
    exit_status: int | None = None
    reason: str = ""


class ProcessList(Record, frozen=True, tag="processes"):
    processes: tuple[ProcessInfo, ...]


class ContextStats(Record, frozen=True):
    """What became of the contexts of a process. Tokens of prompts, over all calls: `computed`, and found
    `from_slot`, `from_ram`, `from_disk`. Now: how many `contexts` there are, of so many `bytes`; `mean_gap_s`:
    seconds between its calls, as expected."""

    computed: int = 0
    from_slot: int = 0
    from_ram: int = 0
    from_disk: int = 0
    contexts: int = 0
    bytes: int = 0
    mean_gap_s: float = 0.0


class ContextInfo(Record, frozen=True):
    """What is in the window of a process's last call, in tokens: `system` (the leading system messages and
    what the template adds), descriptions of `tools`, `history`; `free` is left for the answer. `messages`: how
    many. `stats`: what became of the KV of all its contexts."""

    pid: int
    window: int
    system: int
    tools: int
    history: int
    free: int
    messages: int
    stats: ContextStats = ContextStats()


class GroupInfo(Record, frozen=True):
    """One group of agents: its limits (None: none) and what is used of them. `calls`: under way; `*_left`: of
    the rate, now (below 0: used in advance); `spent`: in this period, which ends in `refills_in_s`."""

    name: str
    weight: float = 1.0
    calls: int = 0
    concurrency: int | None = None
    max_queue: int | None = None
    max_context: int | None = None
    requests_per_min: float | None = None
    requests_left: float | None = None
    tokens_per_min: float | None = None
    tokens_left: float | None = None
    spend: float | None = None
    spent: float = 0.0
    refills_in_s: float | None = None


Syscall = Generate | Embed | Spawn | SendSignal | Nice | Exit | DeclarePlan | Ps
Result = Completion | Embeddings | ProcessInfo | ProcessList

READ_ONLY: tuple[type, ...] = (Ps,)
"""Calls without any effect: neither charged nor journalled."""


def kind(call: Syscall) -> str:
    """The syscall's kind, `llm.generate` for a Generate: the tag it has on the wire."""
    return str(type(call).__struct_config__.tag)
