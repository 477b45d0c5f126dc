"""What the kernel tells of itself: models, cores, and how it is."""

from __future__ import annotations

from typing import Literal

from aios.syscalls import Record

KernelState = Literal["starting", "ready", "draining", "closed"]


class ModelInfo(Record, frozen=True):
    """A model that calls may name, and the core that serves it. `window`: tokens of prompt and answer
    together; 0 unknown."""

    id: str
    core: str
    kind: str
    window: int = 0
    embeddings: bool = False


class CoreStatus(Record, frozen=True):
    """One core and its queue: `running` sequences in its `capacity` slots, `waiting` without one.

    `policy`: what orders it, `chosen`: other policies that calls there chose. `kv`: how many live processes
    have their newest context there `resident`, `parked` or `dropped`."""

    name: str
    kind: str
    models: tuple[str, ...]
    capacity: int
    running: int
    waiting: int
    state: str
    policy: str
    kv: dict[str, int]
    chosen: tuple[str, ...] = ()


class KernelStatus(Record, frozen=True):
    """`journal` is `ok`, or why it can't be written now: calls with effects are refused until it can."""

    version: str
    uptime_s: float
    state: KernelState
    cores: tuple[CoreStatus, ...]
    processes: int = 0
    active_calls: int = 0
    journal: str = "ok"
    storage: str = "ok"
    """Or why files can't be written now."""
