"""The ABI: one Struct per syscall and per result.

A syscall is one request of a process to the kernel. It is plain data (msgspec), so that the same message is
journalled, sent over HTTP, shown by `strace` and given to a manager. `Syscall` is the tagged union of all; a
`Call[R]` is answered by an `R`.
"""

from __future__ import annotations

from aios.syscalls import memory, storage, tools
from aios.syscalls.base import Call, Record, SchedulingClass, Trap, answer_of, kind
from aios.syscalls.llm import (
    Choice,
    Completion,
    Delta,
    Embed,
    Embeddings,
    FinishReason,
    FunctionCall,
    FunctionSpec,
    Generate,
    Message,
    ResponseFormat,
    Role,
    Sampling,
    Timings,
    TokenLogprob,
    ToolCall,
    ToolCallDelta,
    ToolSpec,
    Usage,
    WindowPolicy,
)
from aios.syscalls.memory import MemoryCall
from aios.syscalls.process import (
    ContextInfo,
    ContextState,
    ContextStats,
    DeclarePlan,
    Exit,
    GroupInfo,
    Limits,
    Nice,
    PlanStep,
    ProcessInfo,
    ProcessList,
    ProcessState,
    ProcessUsage,
    Ps,
    SendSignal,
    Signal,
    Spawn,
)
from aios.syscalls.storage import StorageCall
from aios.syscalls.tools import ToolResult, ToolSyscall

Syscall = (
    Generate
    | Embed
    | Spawn
    | SendSignal
    | Nice
    | Exit
    | DeclarePlan
    | Ps
    | MemoryCall
    | StorageCall
    | ToolSyscall
)
Result = Completion | Embeddings | ProcessInfo | ProcessList | ToolResult
"""What the journal keeps of calls with an idempotency key; memory and storage keep their own."""

READ_ONLY: tuple[type, ...] = (Ps, tools.ListTools, *memory.READS, *storage.READS)
"""Calls without any effect: neither charged nor journalled."""

__all__ = [
    "READ_ONLY",
    "Call",
    "Choice",
    "Completion",
    "ContextInfo",
    "ContextState",
    "ContextStats",
    "DeclarePlan",
    "Delta",
    "Embed",
    "Embeddings",
    "Exit",
    "FinishReason",
    "FunctionCall",
    "FunctionSpec",
    "Generate",
    "GroupInfo",
    "Limits",
    "MemoryCall",
    "Message",
    "Nice",
    "PlanStep",
    "ProcessInfo",
    "ProcessList",
    "ProcessState",
    "ProcessUsage",
    "Ps",
    "Record",
    "ResponseFormat",
    "Result",
    "Role",
    "Sampling",
    "SchedulingClass",
    "SendSignal",
    "Signal",
    "Spawn",
    "StorageCall",
    "Syscall",
    "Timings",
    "TokenLogprob",
    "ToolCall",
    "ToolCallDelta",
    "ToolResult",
    "ToolSpec",
    "ToolSyscall",
    "Trap",
    "Usage",
    "WindowPolicy",
    "answer_of",
    "kind",
    "memory",
    "storage",
    "tools",
]
