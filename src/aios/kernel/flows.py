"""Where labels flow when a manager did its work: which memories and files a call read or wrote."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec

from aios.kernel.pcb import Process
from aios.storage.paths import one
from aios.syscalls import Call, kind
from aios.syscalls.memory_records import Exported

MANY = ("entries", "hits", "notes", "blocks", "facts", "learned", "ended", "nodes", "links")
"""Fields of results that hold several memories."""


class _Line(msgspec.Struct):
    id: str


def touched(process: Process, call: Call[Any], result: Any) -> Iterator[str]:
    """Names of what the call was about and of what it gave: a file by root and path, a memory by its id."""
    if kind(call).startswith("storage."):
        for field in ("path", "to", "target"):
            if path := getattr(call, field, None):
                yield f"file:{process.agent}:{one(path)}"
        return
    if isinstance(result, Exported):
        for line in result.data.splitlines()[1:]:
            yield f"memory:{msgspec.json.decode(line, type=_Line).id}"
    for id in (getattr(call, "other", ""), *(getattr(result, "ids", None) or ())):
        if id:
            yield f"memory:{id}"
    for holder in (call, result, getattr(result, "info", None)):
        if id := getattr(holder, "id", None):
            yield f"memory:{id}"
    for field in MANY:
        for each in getattr(result, field, None) or ():
            if id := getattr(getattr(each, "info", each), "id", None):
                yield f"memory:{id}"
