"""The ABI of tools: syscalls of kind `tool`, what describes a tool, and what a call of one gives."""

from __future__ import annotations

from typing import Any, Literal

from aios.syscalls.base import Call, Record

ToolEffect = Literal["pure", "local", "idempotent", "opaque"]
"""What a second run of the same call would do: nothing at all; change what the kernel keeps; nothing more than
the first; who knows."""


KERNEL = "kernel"
"""`provider` of tools whose whole work is syscalls of the caller."""


class Mount(Record, frozen=True):
    """A host folder that the box may read, at `inside`."""

    host: str
    inside: str


class Profile(Record, frozen=True):
    """Limits of one run in a box."""

    cpu_s: float = 10.0
    """Processor time of all its processes together, seconds."""
    wall_s: float = 30.0
    """Time by the clock, seconds."""
    memory_mb: int = 512
    """Memory of one process (address space), and of all processes together (resident), MiB."""
    processes: int = 32
    """Processes at once."""
    open_files: int = 128
    """Open files of one process."""
    disk_mb: int = 256
    """One file, and the whole work folder, MiB."""
    files: int = 20_000
    """Files and folders in the work folder."""
    tmp_mb: int = 64
    """Each of /tmp and /dev/shm, MiB; they are gone with the box."""
    output_bytes: int = 1 << 20
    """Standard output and standard error, each."""
    hosts: tuple[str, ...] = ()
    """Host names that may be reached (`*.example.org`), through a proxy and nothing else; none: no network."""
    readable: tuple[Mount, ...] = ()
    """Folders besides its own that it may read."""
    env: dict[str, str] = {}
    """Variables besides PATH, HOME, LANG and TMPDIR; nothing of the host's environment is seen."""


class Flags(Record, frozen=True):
    """What access rules ask about a tool."""

    reads_private: bool = False
    returns_untrusted: bool = False
    sends_out: bool = False
    irreversible: bool = False


class Tool(Record, frozen=True):
    """All that is known of a tool before it is called."""

    name: str
    description: str = ""
    parameters: dict[str, Any] = {}
    """JSON Schema of the arguments (an object)."""
    result: dict[str, Any] | None = None
    """JSON Schema of the result; None: anything."""
    effect: ToolEffect = "opaque"
    flags: Flags = Flags()
    concurrency: int | None = None
    """Calls of it that run at once; None: no limit."""
    calls_per_min: float | None = None
    """Calls of it that may start in a minute, by all agents."""
    timeout_s: float = 60.0
    """Seconds from its start, waiting not counted, after which it is cancelled."""
    profile: Profile | None = None
    """Limits of its box, for what runs in one."""
    cost: float = 0.0
    """Of one call, in the unit of the groups' `spend`."""
    version: str = ""
    digest: str = ""
    """SHA-256 of its source, as far as it has one; else of what describes it."""
    provider: str = ""
    """Where it comes from: `kernel`, `python`, `package:NAME`, `mcp:NAME`, `openapi:NAME`."""


class ToolSource(Record, frozen=True):
    """Where tools come from, of which each is named `name__tool`. A value `$NAME` of `env` and `headers` is the
    variable NAME of the kernel's environment, so that no key is written down here."""

    name: str
    kind: Literal["package", "mcp", "openapi"]
    path: str = ""
    """package: its folder (""; the installed package of that name). openapi: the file with the description."""
    command: str = ""
    """mcp: the program of a server over stdio, with `args` and `env`, in `cwd`."""
    args: tuple[str, ...] = ()
    env: dict[str, str] = {}
    cwd: str | None = None
    url: str = ""
    """mcp: address of a server over HTTP. openapi: the service, if not the first of its description."""
    headers: dict[str, str] = {}
    """mcp over HTTP, openapi: sent with each request."""
    timeout_s: float = 60.0
    """mcp, openapi: of one call, seconds."""
    concurrency: int | None = None
    """mcp: calls of one of its tools at once."""


class ToolResult(Record, frozen=True, tag="tool_result"):
    """`text` is for the model: a text as it is, other values as JSON. `value`: the same as a value; None if it
    was cut short. `file`: where in the caller's folder the whole text is then. Times in seconds."""

    id: str
    tool: str
    text: str
    value: Any = None
    file: str = ""
    waited_s: float = 0.0
    run_s: float = 0.0


class ToolList(Record, frozen=True, tag="tools"):
    tools: tuple[Tool, ...]


class CallTool(Call[ToolResult], frozen=True, tag="tool.call"):
    """Run a tool."""

    name: str
    arguments: str | dict[str, Any] = "{}"
    """A JSON text, as models write it, or the object itself."""
    id: str = ""
    """Comes back in the result."""
    deadline_s: float | None = None
    """Seconds from arrival, waiting counted, after which it fails with `DeadlineExceeded`."""
    idempotency_key: str | None = None


class ListTools(Call[ToolList], frozen=True, tag="tool.list"):
    """Describe all tools, or the one of that name."""

    name: str = ""


class AddTools(Call[ToolList], frozen=True, tag="tool.add"):
    """Offer the tools of a source from now on, after a restart too. For admins."""

    source: ToolSource


class RemoveTools(Call[ToolList], frozen=True, tag="tool.remove"):
    """Take away a tool or a source. For admins."""

    name: str


ToolSyscall = CallTool | ListTools | AddTools | RemoveTools
