"""What the journal keeps: plain data, encoded by its writer as it is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import msgspec

from aios.errors import BadRequest
from aios.syscalls import Call, ProcessInfo, Record, Result, Syscall

Effect = Literal["none", "pure", "idempotent", "local", "opaque"]
"""`none`: an llm call, which may run again, as may what is `pure` or `idempotent`. `local`: in the kernel's own
state. `opaque`: somewhere else, and nobody can tell whether it happened."""
AGAIN: frozenset[Effect] = frozenset({"none", "pure", "idempotent"})
"""Effects of calls that may run again."""
State = Literal["started", "done", "failed", "lost", "in_doubt"]
"""`lost`: it was open in a crash and nobody can ask for its answer. `in_doubt`: it was open in a crash, and its
effect may have happened or not."""


class Entry(Record, frozen=True):
    """One syscall as it is now; a later entry of the same `id` replaces it. Times are Unix time, seconds.

    `agent` and `key` name it for idempotency, `digest` tells whether a resubmission asks for the same.
    `request` and `result` are JSON, and there only where somebody may need them again."""

    id: int
    pid: int
    agent: str
    kind: str
    effect: Effect = "none"
    state: State = "started"
    key: str | None = None
    digest: str = ""
    request: msgspec.Raw | None = None
    result: msgspec.Raw | None = None
    error: str = ""
    started: float = 0.0
    finished: float | None = None


class ProcessRow(Record, frozen=True):
    """One process as it is now. `attached`: a caller's name made it. `charged_*`: what its limits count as
    used, by itself and its descendants."""

    info: ProcessInfo
    attached: bool = False
    charged_calls: int = 0
    charged_tokens: int = 0


class GroupRow(Record, frozen=True):
    """What a group spent in the period that began then (Unix time, seconds)."""

    name: str
    spent: float = 0.0
    began: float = 0.0


class AccessRow(Record, frozen=True):
    """Something that access control keeps, as JSON; None: it is gone."""

    kind: Literal["approval", "standing", "grant", "labels", "audit"]
    name: str
    value: msgspec.Raw | None = None


class Stored(Record, frozen=True):
    """The result of a call that is done; None: it is in doubt."""

    digest: str
    result: Any


@dataclass(frozen=True, slots=True)
class Recovered:
    """What an earlier kernel left: all processes, the calls that were open, what groups had spent, what access
    control keeps, and the first numbers not used."""

    processes: list[ProcessRow]
    open_calls: list[Entry]
    groups: list[GroupRow]
    access: list[AccessRow]
    next_id: int
    next_pid: int


def encode(value: Syscall | Result | Call[Any]) -> msgspec.Raw:
    """Raises BadRequest for text that can't be written down."""
    try:
        return msgspec.Raw(msgspec.json.encode(value))
    except UnicodeEncodeError as error:
        raise BadRequest(f"The text is not valid Unicode: {error}.", "Remove lone surrogates.") from error
