"""What can be set, and its defaults. Frozen once made.

Every field's docstring is its documentation: `docs/reference/config.md` is written from here.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Literal

import msgspec

from aios.syscalls import Limits, SchedulingClass, WindowPolicy
from aios.syscalls.tools import Profile, ToolSource

Eviction = Literal["waste", "lru"]


class Section(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Base of a table of the file."""


class ServerSettings(Section, frozen=True):
    host: str = "127.0.0.1"
    """Address to listen on. Off loopback, keys are required whatever `keys_required` says."""
    port: int = 8420
    """TCP port; 0 picks a free one."""
    keys_required: bool = False
    """Refuse callers without a known key, on loopback too."""
    allowed_hosts: tuple[str, ...] = ()
    """Host names accepted in the Host header besides loopback names and `host` (against DNS rebinding)."""
    allowed_origins: tuple[str, ...] = ()
    """Web origins (`https://…`) that may call the kernel from a browser; by default none may."""
    max_body_mb: float = 32.0
    """Largest request body, MB."""
    drain_s: float = 30.0
    """On SIGTERM: how long running calls may go on before they are cancelled, seconds."""


class StateSettings(Section, frozen=True):
    dir: str = ""
    """Folder of the journal, the keys and the daemon file; "" is `$XDG_STATE_HOME/aios`."""
    trace_events: int = 20_000
    """Newest events that are kept in memory for `aios trace`; 0: none."""
    idempotency_ttl_s: float = 86_400.0
    """How long a stored answer is kept for its idempotency key, seconds."""


class SchedulerSettings(Section, frozen=True):
    policy: str = "composed"
    """Scheduling policy: a name registered under `aios.policies` (`aios scheduler show` lists them)."""
    quantum_tokens: int = 64
    """Generated tokens after which a running call may be preempted for a waiting one."""
    patience_s: float = 30.0
    """A call that has waited so long for a slot is raised, as its policy has it (docs/explain/scheduling.md),
    and under most policies again after each such time; seconds."""
    max_queue: int = 10_000
    """Most calls that may wait for one core; further callers wait at the door, they are not refused."""
    options: dict[str, dict[str, Any]] = {}
    """Parameters of policies, by the policy's name: `[scheduler.options.composed]`, `relief = 5.0`.
    docs/explain/scheduling.md says which there are."""


class ContextSettings(Section, frozen=True):
    window: WindowPolicy = "error"
    """What happens when a conversation outgrows the model's window: `error` refuses the call; `truncate` leaves
    out the oldest messages, never the system's nor half of a tool call; `summarize` puts a summary of them in
    their place, made by the model at low priority. A call may choose for itself."""
    swap_mb: float = 2048.0
    """Disk for contexts that find no place in RAM, and for those that wait for the next start of the kernel, MB
    for each core; 0: none."""
    eviction: Eviction = "waste"
    """Which context loses its place first: `waste` is what costs least to lose for the memory and the time it
    would take to keep; `lru` the least recently used."""
    share_prefixes: bool = True
    """Processes of a privilege group start from what any of them has computed, a common system prompt above
    all. `false`: each from its own alone, so that nobody can tell by the time a prompt takes what others
    asked."""


class MemorySettings(Section, frozen=True):
    ram_mb: float = 256.0
    """RAM for the bodies of entries, of all agents, MB; from 80 % on, those least needed go to disk."""
    ram_agent_mb: float = 64.0
    """RAM for those of one agent, MB."""
    k: int = 2
    """K of LRU-K, which says what is least needed."""
    agent_mb: float = 1024.0
    """What one agent may keep at all, MB."""
    agent_entries: int = 1_000_000
    """How many entries one agent may keep."""
    embedder: str = "minilm"
    """What turns texts into vectors, for recall and search by meaning: a name registered under
    `aios.embedders`; `none`: words alone."""
    thinking: Literal["model", "extract"] = "model"
    """What describes and links notes: the default model, at low priority and under a grammar, or `extract`:
    keywords and likeness alone."""
    thinking_s: float = 60.0
    """How long a note waits for the model, seconds; then it is described by extraction."""
    concurrency: int = 64
    """Calls at once; over it, agents take turns."""


class SharedRoot(Section, frozen=True):
    """One `[[storage.roots]]` table: a tree of files that agents may mount in their own."""

    name: str
    """Unique name."""
    folder: str = ""
    """A folder of this machine that it follows: changes there become versions here, and it may only be read.
    "": a root of its own."""
    groups: tuple[str, ...] = ()
    """Privilege groups that may mount it; none: all."""
    writable: bool = False
    """Whether it may be mounted to be written."""


class StorageSettings(Section, frozen=True):
    quota_mb: float = 10_240.0
    """What one agent's root may hold, with old versions and bin, MB before compression."""
    file_mb: float = 256.0
    """Largest file, MB."""
    versions: int = 1_000
    """Newest versions of a file that are kept, besides those in snapshots."""
    concurrency: int = 64
    """Calls at once; over it, agents take turns."""
    roots: tuple[SharedRoot, ...] = ()
    """Shared roots."""


class ProcessSettings(Section, frozen=True):
    """Defaults of a process made for an unknown caller."""

    idle_ttl_s: float = 900.0
    """A process that a caller's name made exits after so long without a call, seconds; 0: never."""
    max_processes: int = 10_000
    """Most live processes."""
    limits: Limits = Limits()
    """`calls`, `tokens`, `concurrency` of each such process; unset is unlimited."""


class GroupSettings(Section, frozen=True):
    """One `[[groups]]` table: limits of a group of agents and of all groups below it."""

    name: str
    """Name of the group; `research/web` is below `research`."""
    weight: float = 1.0
    """Share of the cores against sibling groups, for the policies that know shares (`fair`, `locality`,
    `composed`)."""
    tokens_per_min: float | None = None
    """Prompt and completion tokens a minute; over it, calls wait."""
    requests_per_min: float | None = None
    """Calls a minute; over it, calls wait."""
    concurrency: int | None = None
    """Calls that run at once; over it, calls wait."""
    max_queue: int | None = None
    """Calls under way at once, waiting and running together; over it, calls are refused."""
    max_context: int | None = None
    """Tokens of prompt and answer together; a call that may need more is refused."""
    classes: tuple[SchedulingClass, ...] = ("interactive", "normal", "batch", "idle")
    """Scheduling classes that its calls may choose."""
    policies: tuple[str, ...] | None = None
    """Scheduling policies that its calls may choose instead of the core's; unset: those of the group above, at
    the top none."""
    spend: float | None = None
    """What calls may cost in a period, at the prices of the cores; a call that may cost more than what is left
    is refused, and told when the budget refills."""
    spend_period_s: float = 86_400.0
    """Length of that period, seconds."""


class AccessSettings(Section, frozen=True):
    policy: str = "rules"
    """Who decides: a name registered under `aios.access`; `rules` are files of rules, `cedar` of Cedar
    policies."""
    rules: tuple[str, ...] = ()
    """Files of rules, besides the built-in ones; a later rule takes the place of an earlier one with its id."""
    ask: tuple[Literal["delete", "overwrite", "irreversible"], ...] = ("delete", "overwrite", "irreversible")
    """What agents (but those of the group `admin`) ask a person for by default: to delete (files, memory), to
    put other content in the place of what is there, to do what nothing brings back. A word left out: they
    don't."""
    unattended: bool = False
    """Nobody is there to be asked: what would be asked is denied, unless `yes_to` has it."""
    yes_to: tuple[str, ...] = ()
    """What is allowed where it would be asked: words of `ask`, ids of rules, or globs of actions
    (`storage.purge`) and of rules (`rule:*`)."""
    approval_ttl_s: float = 3600.0
    """How long a call waits for an answer, and how long an answer can be used, seconds."""


class BrowserSettings(Section, frozen=True):
    """The tools `browser__open` and others; they take the extra `aios[browser]` and an installed Chromium."""

    enabled: bool = False
    """Offer them. What pages may load from is `hosts` of [tools] and `local_hosts`."""
    path: str = ""
    """The Chromium program; "": the first of chromium, chromium-browser, google-chrome, chrome in PATH."""
    local_hosts: tuple[str, ...] = ()
    """Hosts that may be reached although they are on this machine or its network (`localhost:3000`)."""
    agents: int = 16
    """Agents that have pages open at once; over it, those of the one idle for longest are closed."""
    pages: int = 4
    """Open pages of one agent; what opens more of itself is closed."""
    idle_s: float = 300.0
    """An agent's pages are closed after so long without a call, and the browser when none has any, seconds."""
    timeout_s: float = 30.0
    """How long a page may take for one step, seconds."""
    page_chars: int = 6_000
    """Characters of a page that a model is shown at once."""
    memory_mb: int = 4096
    """Memory of all the browser's processes (resident, shared pages counted in each; some 1,300 with two
    agents), MiB; over it, the largest page is ended."""


class ToolSettings(Section, frozen=True):
    builtin: bool = True
    """Offer the built-in tools (`aios tools list`)."""
    packages: tuple[str, ...] = ()
    """Installed tool packages to offer, by their names under `aios.tools`."""
    sources: tuple[ToolSource, ...] = ()
    """`[[tools.sources]]`: folders with tool packages, MCP servers, HTTP services (docs/howto/tools.md)."""
    hosts: tuple[str, ...] = ()
    """Hosts that the web tools may fetch from (`*.example.org`); none: there are no web tools."""
    box: Profile = Profile()
    """`[tools.box]`: limits of one run in a box, and the hosts that programs in it may reach
    (docs/explain/sandbox.md)."""
    browser: BrowserSettings = BrowserSettings()
    """`[tools.browser]`: a web browser for agents."""
    policy: str = ""
    """Who goes first of those that wait for one tool: a scheduling policy; "": that of [scheduler]."""
    max_queue: int = 10_000
    """Most calls that may wait for tools; over it, calls are refused."""
    max_boxes: int = 32
    """Most boxes at once; over it, those not in use end."""
    result_chars: int = 20_000
    """Characters of a result that a model is given; the rest goes to a file in the agent's folder."""


class CoreSettings(Section, frozen=True):
    """One `[[cores]]` table. Fields that a kind does not use must not be set for it (an error says so)."""

    name: str
    """Unique name of the core."""
    kind: str = "llama"
    """`llama` (embedded), `openai` (an OpenAI-compatible endpoint), `scripted` (tests and simulation)."""
    price_prompt: float = 0.0
    """Price of a million prompt tokens, in the unit of the groups' `spend`."""
    price_completion: float = 0.0
    """Price of a million generated tokens."""
    # llama
    model: str = ""
    """llama: a catalogue name (`aios models`) or the path of a GGUF file."""
    slots: int = 4
    """llama, scripted: sequences that decode at once."""
    context: int = 0
    """llama: window of one sequence, tokens; 0 is the smaller of the model's own and 4096."""
    threads: int = 0
    """llama: engine threads; 0 is the number of cores this process may use."""
    gpu_layers: int = 0
    """llama: layers to offload to a GPU; -1 is all."""
    kv_ram_mb: float | None = None
    """llama: RAM for parked contexts and shared prefixes, MB; unset: 1024, or half of what is free beside the
    model and its slots if that is less. More than is free is refused."""
    exact: bool = True
    """llama: bit-exact interrupt and restore (separate KV streams, no flash attention). false is faster."""
    deterministic: bool = False
    """llama: an answer does not depend on what else runs: sequences decode one by one, prefill is cut at
    fixed positions. Implies `exact`."""
    prefill_chunk: int = 128
    """llama: most prompt tokens one engine step takes besides the decoding sequences, tokens."""
    max_restarts: int = 5
    """llama: restarts of a crashed worker within a minute before the core gives up."""
    # openai
    base_url: str = ""
    """openai: URL up to and with `/v1`."""
    api_key_env: str = ""
    """openai: environment variable that holds the key; "" sends none."""
    models: tuple[str, ...] = ()
    """openai, scripted: model names this core serves; openai with none asks the endpoint at start."""
    window: int = 64
    """openai: most requests in flight; the kernel keeps the rest, where it can order them."""
    timeout_s: float = 600.0
    """openai: longest silence of the endpoint, seconds; an answer that is not streamed must be whole by
    then."""
    continues: bool = False
    """openai: the endpoint can go on with an unfinished assistant message (vLLM, SGLang, llama.cpp's server),
    so calls may be interrupted: the text is kept and gone on with."""
    piece_tokens: int = 0
    """openai, with `continues`: ask for answers in pieces of so many tokens and interrupt between those only,
    so that an interrupt changes no answer of an endpoint that answers equal requests equally. 0: whole
    answers."""
    retries: int = 4
    """openai: tries after the first for 429, 5xx and broken connections."""
    # scripted
    tokens_per_s: float = 0.0
    """scripted: decoding speed of one slot; 0 is as fast as possible."""


class Settings(Section, frozen=True):
    """The whole configuration."""

    server: ServerSettings = ServerSettings()
    state: StateSettings = StateSettings()
    scheduler: SchedulerSettings = SchedulerSettings()
    context: ContextSettings = ContextSettings()
    processes: ProcessSettings = ProcessSettings()
    memory: MemorySettings = MemorySettings()
    storage: StorageSettings = StorageSettings()
    tools: ToolSettings = ToolSettings()
    groups: tuple[GroupSettings, ...] = ()
    """Limits of groups of agents; a group without a table has none of its own."""
    access: AccessSettings = AccessSettings()
    cores: tuple[CoreSettings, ...] = ()
    """Cores in order; the first is the default. Empty: one llama core with the default catalogue model."""

    def state_dir(self) -> Path:
        """The state folder, from `[state] dir` or the XDG default. Not created here."""
        if self.state.dir:
            return Path(self.state.dir).expanduser().absolute()  # boxes run elsewhere
        base = os.environ.get("XDG_STATE_HOME") or "~/.local/state"
        return Path(base).expanduser() / "aios"
