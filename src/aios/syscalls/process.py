"""The `process.*` calls, and what the kernel tells of processes, contexts and groups."""

from __future__ import annotations

from typing import Literal

from aios.syscalls.base import Call, Record, SchedulingClass, Whole

Signal = Literal["kill", "pause", "resume"]


class Limits(Record, frozen=True):
    """What one process may use; None: no limit. `concurrency` calls wait; the others are refused."""

    calls: int | None = None
    tokens: int | None = None
    """Prompt and completion tokens together, over the life of the process."""
    concurrency: int | None = None


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
    rights: tuple[str, ...] | None = None


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


class ContextState(Record, frozen=True):
    """One context of a process: its number in events, and where its KV is. `copied`: there is a file of it, so
    its RAM can be given up at once. `idle_s`: seconds since it was used.

    The rest is what became of it since its first call, or since the kernel started if that was later: tokens
    that its calls `computed`, and found `from_slot`, `from_ram`, `from_disk`; how often it was brought back
    from RAM or disk (`restores`), and the seconds that took (0 as long as the core has not told)."""

    context: int
    core: str
    place: Literal["resident", "parked", "swapped", "dropped"]
    tokens: int
    bytes: int
    copied: bool = False
    idle_s: float = 0.0
    computed: int = 0
    from_slot: int = 0
    from_ram: int = 0
    from_disk: int = 0
    restores: int = 0
    restore_s: float = 0.0


class ContextInfo(Record, frozen=True):
    """What is in the window of a process's last call, in tokens: `system` (the leading system messages and
    what the template adds), memory `blocks`, descriptions of `tools`, `history`; `free` is left for the
    answer. `messages`: how many. `stats`: what became of the KV of all its contexts; `contexts`: those there
    are now, the newest first."""

    pid: int
    window: int
    system: int
    tools: int
    history: int
    free: int
    messages: int
    blocks: int = 0
    stats: ContextStats = ContextStats()
    contexts: tuple[ContextState, ...] = ()


class GroupInfo(Record, frozen=True):
    """One group of agents: its limits (None: none) and what is used of them. `calls`: under way; `*_left`: of
    the rate, now (below 0: used in advance); `spent`: in this period, which ends in `refills_in_s`. `classes`
    and `policies`: what its calls may choose (None: what those of the group above may)."""

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
    classes: tuple[SchedulingClass, ...] = ("interactive", "normal", "batch", "idle")
    policies: tuple[str, ...] | None = None


class Spawn(Call[ProcessInfo], frozen=True, tag="process.spawn"):
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
    rights: tuple[str, ...] | None = None
    """Globs of the actions it may do (`llm.*`), of those its parent may; None: all of them."""
    idempotency_key: str | None = None


class SendSignal(Call[ProcessInfo], frozen=True, tag="process.signal"):
    """Kill, pause or resume a process (and, for kill, its children). Answered by `ProcessInfo`."""

    pid: int
    signal: Signal
    reason: str = ""
    idempotency_key: str | None = None


class Nice(Call[ProcessInfo], frozen=True, tag="process.nice"):
    """Set the nice value (-20 most favoured … 19). Answered by `ProcessInfo`."""

    pid: int
    nice: int
    idempotency_key: str | None = None


class Exit(Call[ProcessInfo], frozen=True, tag="process.exit"):
    """The calling process is done. Its contexts are dropped. Answered by `ProcessInfo`."""

    status: int = 0
    idempotency_key: str | None = None


class PlanStep(Record, frozen=True):
    """One step of what a program will do: a call of a model of about `tokens` tokens to compute (prompt that is
    new, and answer), or a tool that takes about `seconds`. It begins when those it `depends_on` are done."""

    name: str
    kind: Literal["llm", "tool"] = "llm"
    tokens: Whole = 128
    seconds: float = 0.0
    depends_on: tuple[str, ...] = ()


class DeclarePlan(Call[ProcessInfo], frozen=True, tag="process.plan"):
    """Say what the program of the calling process will do from now on: the scheduler then knows what is left of
    it and which of its calls hold up others. Only a hint. At most 1,000 steps with 10,000 dependencies in all.
    Answered by `ProcessInfo`."""

    steps: tuple[PlanStep, ...]


class Ps(Call[ProcessList], frozen=True, tag="process.list"):
    """List processes. Answered by `ProcessList`."""

    all: bool = False
    """With exited ones."""
