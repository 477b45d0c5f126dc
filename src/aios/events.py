"""Frozen event types and the bus.

Events are the only source for `ps`, `strace`, metrics, traces and dashboards: what is not an event did not
happen. `t` is wall-clock seconds (Unix time); `seq` is the bus's own count, gapless, so a subscriber can tell
that it fell behind. Publishing never waits: a subscriber that does not keep up loses its oldest events and is
told how many by a `Lost`.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Generator
from contextlib import contextmanager
from typing import Any, Literal, TypeVar

import msgspec
from msgspec.structs import force_setattr as stamp

from aios.syscalls import ProcessState, WindowPolicy


class Event(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag_field="event", gc=False):
    """Base: who it concerns. `pid` 0 is the kernel itself; `call` 0 is no call. Events hold no references that
    could come back to them, so the collector need not look at the thousands that are kept."""

    t: float = 0.0
    seq: int = 0
    pid: int = 0
    call: int = 0


class SyscallStarted(Event, frozen=True, tag="syscall.started"):
    kind: str
    detail: str = ""


class SyscallFinished(Event, frozen=True, tag="syscall.finished"):
    kind: str
    seconds: float = 0.0
    error: str = ""
    """The error's code; empty on success."""
    prompt_tokens: int = 0
    cached_tokens: int = 0
    completion_tokens: int = 0
    queue_s: float = 0.0
    run_s: float = 0.0


class Queued(Event, frozen=True, tag="sched.queued"):
    core: str
    waiting: int = 0


class Dispatched(Event, frozen=True, tag="sched.dispatched"):
    """A sequence got a slot. `cached` of its `tokens` context tokens have their KV there."""

    core: str
    slot: int
    waited_s: float = 0.0
    tokens: int = 0
    cached: int = 0


class FirstToken(Event, frozen=True, tag="sched.first_token"):
    """The first token of a stay in a slot. `generated`: tokens of earlier stays; with any, the sequence was
    interrupted and is restored."""

    core: str
    slot: int
    generated: int = 0


class Interrupted(Event, frozen=True, tag="sched.interrupted"):
    """A sequence left its slot before it was done. `why`: quantum, pause, core_lost."""

    core: str
    slot: int
    why: Literal["quantum", "pause", "core_lost"] = "quantum"
    generated: int = 0


class Finished(Event, frozen=True, tag="sched.finished"):
    core: str
    slot: int
    generated: int = 0
    reason: str = ""


class ContextMoved(Event, frozen=True, tag="context.moved"):
    """The KV of a context went from one place to another; `tokens` long, `bytes` big (0 if unknown)."""

    context: int
    where: Literal["resident", "parked", "swapped", "dropped", "shared"]
    tokens: int = 0
    bytes: int = 0


class WindowChanged(Event, frozen=True, tag="context.window"):
    """A conversation had outgrown the model's window: `left_out` messages were left out (or summarised),
    `kept` make a prompt of `tokens` tokens (0: unknown). `refused`: that does not fit, and the call failed."""

    policy: WindowPolicy
    left_out: int
    kept: int
    tokens: int
    window: int
    refused: bool = False


class ProcessChanged(Event, frozen=True, tag="process.changed"):
    name: str
    state: ProcessState
    reason: str = ""


class CoreChanged(Event, frozen=True, tag="core.changed"):
    core: str
    state: Literal["starting", "ready", "lost", "restarted", "closed", "open", "half_open"]
    reason: str = ""


class Promoted(Event, frozen=True, tag="sched.promoted"):
    """A call of `core` has waited for `waited_s` seconds, longer than it should: until it leaves the slot that
    it waits for it is `raised`, so often by now."""

    core: str
    waited_s: float
    raised: int


class PolicyChanged(Event, frozen=True, tag="sched.policy"):
    """The calls of `core` are ordered by another policy from now on."""

    core: str
    policy: str


class KernelChanged(Event, frozen=True, tag="kernel.changed"):
    state: Literal["starting", "ready", "draining", "closed"]


class JournalChanged(Event, frozen=True, tag="journal.changed"):
    """`degraded`: it can't be written (`reason`), and calls with effects are refused until it can."""

    state: Literal["ok", "degraded"]
    reason: str = ""


class ApprovalAsked(Event, frozen=True, tag="access.asked"):
    """A call is parked until somebody answers approval `id`."""

    id: str
    agent: str
    action: str
    resource: str
    rule: str


class ApprovalAnswered(Event, frozen=True, tag="access.answered"):
    id: str
    state: Literal["approved", "denied", "expired"]
    by: str = ""
    reason: str = ""


class AccessDenied(Event, frozen=True, tag="access.denied"):
    action: str
    resource: str
    rule: str


class StorageChanged(Event, frozen=True, tag="storage.changed"):
    """`degraded`: files and memory can't be written (`reason`); they can be read."""

    state: Literal["ok", "degraded"]
    reason: str = ""


class StoreDamaged(Event, frozen=True, tag="storage.damaged"):
    """Stored bytes are not those that were written, and were given to nobody. `name`: of a chunk, its digest;
    of a swapped context, its file."""

    name: str
    reason: str = ""


class Lost(Event, frozen=True, tag="bus.lost"):
    """The subscriber was too slow: so many events before this one are missing."""

    count: int


AnyEvent = (
    SyscallStarted
    | SyscallFinished
    | Queued
    | Dispatched
    | FirstToken
    | Interrupted
    | Finished
    | ContextMoved
    | WindowChanged
    | ProcessChanged
    | CoreChanged
    | Promoted
    | PolicyChanged
    | KernelChanged
    | JournalChanged
    | ApprovalAsked
    | ApprovalAnswered
    | AccessDenied
    | StorageChanged
    | StoreDamaged
    | Lost
)


E = TypeVar("E", bound=Event)


class Subscription:
    """One reader's bounded view of the bus. Iterate it; it ends when the bus is closed."""

    def __init__(self, limit: int, after: int = 0) -> None:
        """At most `limit` events unread, of those after number `after`."""
        self._events: deque[Event] = deque(maxlen=limit)
        self._read = after
        self._wake = asyncio.Event()
        self._waits = False
        self._closed = False

    def offer(self, event: Event) -> None:
        self._events.append(event)  # the oldest makes room
        if self._waits:
            self._waits = False
            self._wake.set()

    def unread(self) -> tuple[Event, ...]:
        """What is there, which stays: of a subscription that nobody reads, the newest `limit` events."""
        return tuple(self._events)

    def close(self) -> None:
        self._closed = True
        self._wake.set()

    async def __aiter__(self) -> AsyncIterator[Event]:
        while True:
            while self._events:
                event = self._events.popleft()
                if lost := event.seq - self._read - 1:
                    yield Lost(t=time.time(), count=lost)
                self._read = event.seq
                yield event
            if self._closed:
                return
            self._wake.clear()
            self._waits = True
            await self._wake.wait()


class EventBus:
    """Fan-out of events to subscribers, in order. Belongs to one event loop; publishing is synchronous.

    `clean`: what subscribers get of an event (secrets taken out)."""

    def __init__(self, clean: Callable[[Event], Event] | None = None) -> None:
        self._clean = clean
        self._subscribers: set[Subscription] = set()
        self._listeners: dict[type[Event], Callable[[Any], None]] = {}
        self._seq = 0

    def publish(self, event: Event) -> None:
        """Stamp `event` (a new one) with time and sequence number and hand it to every subscriber. Cheap
        without any."""
        if hear := self._listeners.get(type(event)):
            hear(event)  # it may publish what follows from it, which is told before
        self._seq += 1
        if self._subscribers:
            told = event if self._clean is None else self._clean(event)
            stamp(told, "t", time.time())  # nobody has seen it yet, and a copy would cost as much as the rest
            stamp(told, "seq", self._seq)
            for subscriber in self._subscribers:
                subscriber.offer(told)

    def listen(self, kind: type[E], hear: Callable[[E], None]) -> None:
        """Call `hear` with each event of `kind` as it is published: for the kernel's own books. One a kind."""
        self._listeners[kind] = hear

    @contextmanager
    def subscribe(self, limit: int = 10_000) -> Generator[Subscription]:
        """All events from now on, at most `limit` of them unread."""
        subscription = Subscription(limit, self._seq)
        self._subscribers.add(subscription)
        try:
            yield subscription
        finally:
            self._subscribers.discard(subscription)

    def close(self) -> None:
        for subscriber in self._subscribers:
            subscriber.close()
