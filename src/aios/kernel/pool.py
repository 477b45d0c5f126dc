"""The cores of one kernel, each under a scheduler of its own."""

from __future__ import annotations

import asyncio
import difflib
import itertools
from collections import Counter
from collections.abc import AsyncGenerator, Iterable, Set
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Literal, TypeVar

import msgspec

from aios.context.seating import Place
from aios.cores.core import Core, Sequence
from aios.errors import NotFound, UnknownModel
from aios.events import CoreChanged, EventBus
from aios.kernel.routing import Move, Offer, choose
from aios.kernel.status import CoreStatus, ModelInfo
from aios.scheduler.scheduler import Scheduler
from aios.scheduler.shares import Shares
from aios.scheduler.ticket import Standing, Ticket
from aios.syscalls import ContextState, ContextStats, Embed, Generate

C = TypeVar("C", Generate, Embed)
State = Literal["starting", "ready", "closed"]


@dataclass(frozen=True, slots=True)
class Member:
    """One core and who orders its calls."""

    core: Core
    kind: str
    scheduler: Scheduler
    price_prompt: float = 0.0
    price_completion: float = 0.0

    @property
    def make(self) -> str:
        """Cores of the same make can go on with each other's sequences; "": only itself."""
        spec = self.core.capabilities.contexts
        return spec.keeper.fingerprint if spec and spec.keeper else ""

    def cost(self, prompt: int, completion: int) -> float:
        """Of a call, in the unit of the groups' `spend`. Prices are for a million tokens."""
        return (prompt * self.price_prompt + completion * self.price_completion) / 1e6

    def most(self, call: Generate, prompt: int) -> int:
        """Most tokens the call can generate: as it says, else what the window has room for; 0 if nobody
        knows."""
        window, asked = self.core.capabilities.window, call.max_tokens
        room = max(0, window - prompt) if window else None
        most = asked if room is None else min(room, room if asked is None else asked)
        return (most or 0) * call.n


class Pool:
    """All cores that serve, in order; the first is the default. Several may serve one model."""

    def __init__(self, bus: EventBus) -> None:
        self._bus = bus
        self._members: list[Member] = []
        self._by_model: dict[str, list[Member]] = {}
        self._states: dict[str, str] = {}
        bus.listen(CoreChanged, self._heard)

    @asynccontextmanager
    async def serving(self, member: Member, tasks: asyncio.TaskGroup) -> AsyncGenerator[None]:
        """Start a core; it serves inside the `async with`. Raises what its start raises."""
        core = member.core
        self._tell(core, "starting")
        try:
            await core.start(tasks)
            await member.scheduler.start(tasks)
            self._members.append(member)
            for model in core.models:
                self._by_model.setdefault(model, []).append(member)
            self._tell(core, "ready")
            yield
            await member.scheduler.close()
        finally:
            await core.close()
            self._tell(core, "closed")

    def named(self, call: C) -> C:
        """`call` with the name of the default model, if it names none."""
        if call.model or not self._members:
            return call
        return msgspec.structs.replace(call, model=self._members[0].core.models[0])

    # -- which core --------------------------------------------------------------------------------

    def route(self, model: str, pid: int = 0) -> Member:
        """A core that serves `model`: of those that are up the one with the shortest wait, of equals one that
        knows the process, then the least loaded; "" is the default core's model. Raises UnknownModel."""

        def order(member: Member) -> tuple[bool, float, bool, float]:
            scheduler = member.scheduler
            backlog = scheduler.backlog
            return not self._up(member), backlog.wait_s, not scheduler.knows(pid), backlog.load

        serving = self._serving(model)
        return min(serving, key=order) if len(serving) > 1 else serving[0]

    async def settle(self, member: Member, sequences: list[Sequence], ticket: Ticket) -> Member:
        """The core on which a call, prepared by `member` as `sequences`, starts soonest (`routing.py`); it
        counts the call from now on. The context of its process is moved there where that pays."""
        if self.alone(member):
            return member
        best, source = self._direct(member, sequences, ticket)
        if source is not None:
            await source.scheduler.contexts.send(ticket.pid, best.scheduler.contexts)
            # That took a while, and may have failed: what is best now?
            best, _ = self._direct(member, sequences, ticket, moving=False)
        return best

    async def refuge(
        self, member: Member, sequence: Sequence, tried: Set[str], *, begun: bool
    ) -> tuple[Member, Sequence] | None:
        """Of the cores that are up, were not tried, and can go on with what `member` could not, that where it
        starts soonest: those of the same make can with any sequence, others with one that has not `begun`
        and is the only one of its call. None if there is none."""
        anew = not begun and sequence.call.n == 1
        able = [
            each
            for each in self._serving(sequence.call.model)
            if each.core.name not in tried and self._up(each) and (anew or _same(member, each))
        ]
        if not able:
            return None
        offers = [_offer(each, sequence, same=_same(member, each)) for each in able]
        other = able[choose(offers).core]
        if _same(member, other):
            sequence.kv = 0
            return other, sequence
        (again,) = await other.core.prepare(sequence.call, sequence.pid, sequence.group)
        return other, again

    def _direct(
        self, member: Member, sequences: list[Sequence], ticket: Ticket, *, moving: bool = True
    ) -> tuple[Member, Member | None]:
        """Where the call is to go, and from where its context is to be moved there first. It counts there."""
        if ticket.coming is not None:
            ticket.coming.give_up()
        peers = self._peers(member, sequences[0].call.model)
        offers = [_offer(each, sequences[0]) for each in peers]
        route = choose(offers, _moves(peers, offers, sequences[0]) if moving else ())
        best = peers[route.core]
        ticket.coming = best.scheduler.backlog.expect(len(sequences), offers[route.core].compute_s)
        return best, None if route.source is None else peers[route.source]

    def alone(self, member: Member) -> bool:
        """No other core serves its models."""
        return len(self._members) == 1 or all(len(self._by_model[model]) == 1 for model in member.core.models)

    def _serving(self, model: str) -> list[Member]:
        members = self._by_model.get(model)
        if members is None:
            known = list(self._by_model)
            near = difflib.get_close_matches(model, known, n=1, cutoff=0.0)
            mend = f"The nearest is {near[0]!r}; known: {', '.join(known)}." if near else "No core is up."
            raise UnknownModel(f"No core serves a model {model!r}.", mend, param="model")
        return members

    def _peers(self, member: Member, model: str) -> list[Member]:
        """Those that can run what `member` prepared and are up; if none is, `member`."""
        serving = self._serving(model)
        return [each for each in serving if _same(member, each) and self._up(each)] or [member]

    def _up(self, member: Member) -> bool:
        return self._states.get(member.core.name) in ("ready", "restarted")

    @property
    def policies(self) -> frozenset[str]:
        """By which the cores order calls."""
        return frozenset([member.scheduler.policy.name for member in self._members])

    def schedulers(self, core: str = "") -> tuple[Scheduler, ...]:
        """Of the core of that name; "": of all. Raises NotFound."""
        found = tuple([m.scheduler for m in self._members if core in ("", m.core.name)])
        if not found:
            known = ", ".join(member.core.name for member in self._members)
            raise NotFound(f"There is no core {core!r}.", f"Cores: {known}.", param="core")
        return found

    # -- all cores at once -------------------------------------------------------------------------

    def pause(self, pid: int) -> None:
        for member in self._members:
            member.scheduler.pause(pid)

    def resume(self, pid: int) -> None:
        for member in self._members:
            member.scheduler.resume(pid)

    def away(self, pid: int, seconds: float) -> None:
        """The process is known to make no llm call for so long from now on."""
        for member in self._members:
            member.scheduler.contexts.seating.declare(pid, seconds)

    def drop(self, pid: int) -> None:
        """The process is gone: forget its contexts."""
        for member in self._members:
            member.scheduler.drop(pid)

    def kv_of(self, pid: int) -> tuple[Place, int]:
        """Where the newest context of a process is, and how many tokens long."""
        for member in self._members:
            place = member.scheduler.kv_of(pid)
            if place[0]:
                return place
        return "", 0

    def standings(self) -> dict[int, Standing]:
        """How the calls under way stand, by process."""
        found: dict[int, Standing] = {}
        for member in self._members:
            found |= member.scheduler.standings()
        return found

    def context_stats(self, pid: int) -> ContextStats:
        """What became of the contexts of a process, on all cores together."""
        found = [member.scheduler.contexts.seating.stats(pid) for member in self._members]
        return ContextStats(
            computed=sum(each.computed for each in found),
            from_slot=sum(each.from_slot for each in found),
            from_ram=sum(each.from_ram for each in found),
            from_disk=sum(each.from_disk for each in found),
            contexts=sum(each.contexts for each in found),
            bytes=sum(each.bytes for each in found),
            mean_gap_s=min((each.mean_gap_s for each in found if each.computed), default=0.0),
        )

    def contexts(self, pid: int) -> tuple[ContextState, ...]:
        """The contexts of a process that there are, on all cores."""
        found = [member.scheduler.contexts.seating.contexts(pid, member.core.name) for member in self._members]
        return tuple(itertools.chain.from_iterable(found))

    # -- what there is -----------------------------------------------------------------------------

    def models(self) -> tuple[ModelInfo, ...]:
        return tuple([self._model(name, members[0]) for name, members in self._by_model.items()])

    def status(self, pids: Iterable[int]) -> tuple[CoreStatus, ...]:
        """`pids`: the live processes."""
        pids = tuple(pids)
        return tuple([self._status(member, pids) for member in self._members])

    def _model(self, name: str, member: Member) -> ModelInfo:
        can = member.core.capabilities
        return ModelInfo(
            id=name, core=member.core.name, kind=member.kind, window=can.window, embeddings=can.embeddings
        )

    def _status(self, member: Member, pids: Iterable[int]) -> CoreStatus:
        core, scheduler = member.core, member.scheduler
        places = Counter(place for pid in pids if (place := scheduler.kv_of(pid)[0]))
        return CoreStatus(
            name=core.name,
            kind=member.kind,
            models=core.models,
            capacity=core.capacity,
            running=scheduler.running,
            waiting=scheduler.waiting,
            state=self._states.get(core.name, ""),
            policy=scheduler.policy.name,
            chosen=scheduler.policy.chosen if isinstance(scheduler.policy, Shares) else (),
            kv=dict(places),
        )

    def _heard(self, event: CoreChanged) -> None:
        self._states[event.core] = event.state

    def _tell(self, core: Core, state: State) -> None:
        """Say how a core is, unless it said so itself."""
        if self._states.get(core.name) != state:
            self._bus.publish(CoreChanged(core=core.name, state=state))


def _same(member: Member, other: Member) -> bool:
    """Each can go on with the other's sequences."""
    return member is other or member.make == other.make != ""


def _offer(member: Member, sequence: Sequence, *, same: bool = True) -> Offer:
    """Of a core that is not of the `same` make as the one that prepared `sequence` nobody knows yet what it has
    of it: its tokens are others."""
    scheduler = member.scheduler
    cached = scheduler.cached(sequence) if same else 0
    missing = len(sequence.tokens) + len(sequence.generated) - cached
    return Offer(
        wait_s=scheduler.backlog.wait_s,
        compute_s=missing * scheduler.prefill_s,
        cached=cached,
        load=scheduler.backlog.load,
        knows=scheduler.knows(sequence.pid),
    )


def _moves(peers: list[Member], offers: list[Offer], sequence: Sequence) -> list[Move]:
    """The ways to bring the context of the process to where less of it is."""
    moves: list[Move] = []
    for source, holder in enumerate(peers):
        tokens, move_s = holder.scheduler.contexts.portable(sequence)
        for target, (member, offer) in enumerate(zip(peers, offers, strict=True)):
            if target != source and tokens > offer.cached:
                saved_s = (tokens - offer.cached) * member.scheduler.prefill_s
                moves.append(Move(source, target, offer.start_s - saved_s + move_s))
    return moves
