"""What the memory manager keeps to itself: who acts, what it may take, and what no call answers."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Literal

from aios.syscalls import Message, Record


class Identity(Record, frozen=True):
    """Who acts. Memory belongs to `agent`; `group` is its privilege group."""

    agent: str
    group: str = "default"
    pid: int = 0
    """The process that acts: what memory asks a model is asked in its name."""


Think = Callable[[Identity, tuple[Message, ...], dict[str, Any]], Awaitable[str]]
"""Asks a model for somebody: messages and the JSON schema that its answer must meet; gives the JSON text."""


class MemoryLimits(Record, frozen=True):
    """`ram_*`: bodies held in RAM, in all and of one agent; above `high` of either, least needed ones are
    swapped out until `low` of it. `agent_bytes`, `agent_entries`: what one agent may keep at all."""

    ram_bytes: int = 256 * 2**20
    ram_agent_bytes: int = 64 * 2**20
    high: float = 0.8
    low: float = 0.7
    k: int = 2
    """Of LRU-K."""
    entry_bytes: int = 16 * 2**20
    agent_bytes: int = 2**30
    agent_entries: int = 1_000_000
    block_chars: int = 2_000
    """Size of a block that does not say its own."""
    blocks: int = 32
    """Blocks of one agent."""
    versions_kept: int = 100
    """Newest versions of each note and block that are kept."""
    history_bytes: int = 64 * 2**20
    """Conversation tries held in RAM, in all."""
    vector_bytes: int = 512 * 2**20
    """Vectors held in RAM, in all."""
    half_life_s: float = 30 * 86_400.0
    """Of a note that is never used again."""


class NoteMeta(Record, frozen=True):
    """What a note keeps besides its content and tags. `used`: Unix time of its last use; `by`: who found the
    keywords."""

    keywords: tuple[str, ...] = ()
    context: str = ""
    importance: float = 1.0
    used: float = 0.0
    uses: int = 0
    by: Literal["", "model", "extraction"] = ""


class FactMeta(Record, frozen=True):
    """See `Fact`."""

    about: str = ""
    since: float = 0.0
    until: float | None = None
    by: str = ""


class BlockMeta(Record, frozen=True):
    """`limit`: characters the text may have."""

    limit: int
    about: str = ""
