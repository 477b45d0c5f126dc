"""Groups of agents: a tree of budgets by name. `research/web` is below `research`.

A call passes its own group and all above it. Over a rate or a concurrency limit it waits; over a budget it is
refused, with the group's name and when it refills. Every call that is let in is let out (`Pass.settle`),
however it ends."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from typing import Any

import msgspec

from aios import plugins
from aios.config import GroupSettings
from aios.errors import BadRequest, ContextOverflow, Forbidden, LimitExceeded
from aios.kernel.rates import Bucket, Purse
from aios.kernel.records import GroupRow
from aios.scheduler.policy import CLASSES
from aios.syscalls import GroupInfo, SchedulingClass

POSITIVE = ("weight", "tokens_per_min", "requests_per_min", "concurrency", "max_queue", "spend_period_s")


class Group:
    """One group: its settings and what is used of them. `parent`: the group above, None at the top."""

    def __init__(self, settings: GroupSettings, parent: Group | None) -> None:
        self.parent = parent
        self.calls = 0
        self.purse = Purse(0.0, 0.0)
        self.settings = GroupSettings(name=settings.name)
        self.requests: Bucket | None = None
        self.tokens: Bucket | None = None
        self.gate: asyncio.Semaphore | None = None
        self.apply(settings)

    def apply(self, settings: GroupSettings) -> None:
        """Have other limits from now on. Calls under way go on under those they began with; a limit that stays
        remembers what is used of it."""
        before, self.settings = self.settings, _checked(settings)
        if settings.requests_per_min != before.requests_per_min:
            self.requests = _bucket(settings.requests_per_min)
        if settings.tokens_per_min != before.tokens_per_min:
            self.tokens = _bucket(settings.tokens_per_min)
        if settings.concurrency != before.concurrency:
            self.gate = asyncio.Semaphore(settings.concurrency) if settings.concurrency else None
        self.purse.limit = float("inf") if settings.spend is None else settings.spend
        self.purse.period_s = settings.spend_period_s

    def chain(self) -> Iterator[Group]:
        """Itself and all above it."""
        group: Group | None = self
        while group is not None:
            yield group
            group = group.parent

    def check_queue(self) -> None:
        most = self.settings.max_queue
        if most is not None and self.calls >= most:
            raise LimitExceeded(
                f"Group {self.settings.name!r} has {self.calls} calls under way, and may have {most}.",
                "Try again when some are over, or raise its `max_queue`.",
                retry_after=1.0,
            )

    def check_context(self, tokens: int) -> None:
        most = self.settings.max_context
        if most is not None and tokens > most:
            raise ContextOverflow(
                f"The context may get {tokens} tokens long; group {self.settings.name!r} may have {most}.",
                "Shorten the prompt or lower max_tokens, or raise the group's `max_context`.",
            )

    def check_spend(self, cost: float) -> None:
        left = self.purse.left()
        if cost > self.purse.limit:  # no refill helps
            raise LimitExceeded(
                f"The call may cost {cost:.6g}, and group {self.settings.name!r} may spend no more than "
                f"{self.settings.spend:.6g} in all of a period.",
                "Lower max_tokens, or raise the group's `spend`.",
            )
        if cost > left:
            wait = self.purse.refills_in()
            raise LimitExceeded(
                f"The call may cost {cost:.6g}, and group {self.settings.name!r} has {max(0.0, left):.6g} of "
                f"its {self.settings.spend:.6g} left. It refills in {wait:.0f} s.",
                "Wait, lower max_tokens, or raise the group's `spend`.",
                retry_after=wait,
            )

    def row(self) -> GroupRow:
        return GroupRow(name=self.settings.name, spent=self.purse.spent, began=self.purse.began)

    def info(self) -> GroupInfo:
        settings, purse = self.settings, self.purse
        purse.left()
        return GroupInfo(
            name=settings.name,
            weight=settings.weight,
            calls=self.calls,
            concurrency=settings.concurrency,
            max_queue=settings.max_queue,
            max_context=settings.max_context,
            requests_per_min=settings.requests_per_min,
            requests_left=self.requests.level if self.requests else None,
            tokens_per_min=settings.tokens_per_min,
            tokens_left=self.tokens.level if self.tokens else None,
            spend=settings.spend,
            spent=purse.spent,
            refills_in_s=purse.refills_in() if settings.spend is not None else None,
            classes=settings.classes,
            policies=settings.policies,
        )


class Pass:
    """What one call holds of its groups, from when it is accepted until `settle`. Raises LimitExceeded."""

    def __init__(self, group: Group, keep: Callable[[Group], None]) -> None:
        self._groups = tuple(group.chain())
        self._keep = keep
        self._gates: list[asyncio.Semaphore] = []
        self._requests: list[Bucket] = []
        self._tokens: list[tuple[Bucket, int]] = []
        self._cost = 0.0
        self._settled = False
        for each in self._groups:
            each.check_queue()
        for each in self._groups:
            each.calls += 1

    async def enter(self) -> None:
        """Wait for the groups' rates of requests and for their concurrency."""
        # From the bottom up, in every call: waiting for each other in a ring can't happen.
        for gate in [group.gate for group in self._groups if group.gate is not None]:
            await gate.acquire()
            self._gates.append(gate)
        for bucket in [group.requests for group in self._groups if group.requests is not None]:
            await bucket.take(1.0)
            self._requests.append(bucket)

    async def hold(self, prompt: int, most: int, cost: float) -> None:
        """Set aside `cost`, the most it can cost, and wait for the rate of tokens. `prompt` tokens are read,
        and a context gets at most `most` long. Raises LimitExceeded, ContextOverflow."""
        for group in self._groups:
            group.check_context(most)
            group.check_spend(cost)
        for group in self._groups:
            group.purse.held += cost
        self._cost = cost
        for bucket in [group.tokens for group in self._groups if group.tokens is not None]:
            await bucket.take(float(prompt))
            self._tokens.append((bucket, prompt))

    def settle(self, tokens: int, cost: float, *, began: bool = True) -> None:
        """The call is over, took so many tokens and cost so much; one that never `began` was no request. Only
        the first time counts."""
        if self._settled:
            return
        self._settled = True
        for group in self._groups:
            group.calls -= 1
            group.purse.settle(self._cost, cost)
            if cost:
                self._keep(group)
        for bucket, taken in self._tokens:
            bucket.give(float(taken - tokens))
        if not began:
            for bucket in self._requests:
                bucket.give(1.0)
        for gate in self._gates:
            gate.release()


class GroupTable:
    """All groups that have settings, by name; `keep(group)`: it was spent from, write that down.

    Names make the tree. A group without settings has no limits of its own and counts as the nearest above it
    that has some."""

    def __init__(self, settings: Iterable[GroupSettings], *, keep: Callable[[Group], None]) -> None:
        self._keep = keep
        self._groups: dict[str, Group] = {}
        for each in sorted(settings, key=lambda one: one.name.count("/")):
            self._groups[each.name] = Group(each, self._nearest(_above(each.name)))
        self._weights = _weights(self._groups)

    def restore(self, rows: Iterable[GroupRow]) -> None:
        """What was spent before, in periods that go on."""
        for row in rows:
            if group := self._groups.get(row.name):
                group.purse.spent, group.purse.began = row.spent, row.began

    def enter(self, name: str) -> Pass | None:
        """Let a call of group `name` in; None where no limit concerns it. Raises LimitExceeded."""
        group = self._nearest(name)
        return Pass(group, self._keep) if group is not None else None

    def scheduling_class(
        self, name: str, own: SchedulingClass, wanted: SchedulingClass | None
    ) -> SchedulingClass:
        """The class of a call that asks for `wanted`, of a process of class `own`: what it wants, else its
        own, else the most urgent that the group and all above it have. Raises Forbidden for one that they have
        not."""
        group = self._nearest(name)
        for each in group.chain() if group is not None else ():
            classes = each.settings.classes
            if wanted is not None and wanted not in classes:
                what = f"Group {each.settings.name!r} may not use the class {wanted!r}."
                raise Forbidden(what, f"Choose one of {', '.join(classes)}.", param="scheduling_class")
            if own not in classes:
                own = classes[0]
        return wanted or own

    def aside(self, name: str, own: SchedulingClass) -> SchedulingClass:
        """The class of what is done for a process of class `own` beside its calls: `batch`, or `own` if that is
        less urgent; where the group has not got it, the next less urgent that it has, else its least urgent."""
        group = self._nearest(name)
        chain = tuple(group.chain()) if group is not None else ()
        allowed = [above.settings.classes for above in chain]
        had: list[SchedulingClass] = [each for each in CLASSES if all(each in some for some in allowed)]
        rank = max(CLASSES.index("batch"), CLASSES.index(own))
        less: list[SchedulingClass] = [each for each in had if CLASSES.index(each) >= rank]
        if less:
            return less[0]
        return had[-1] if had else own

    def policy(self, name: str, wanted: str, own: Collection[str]) -> str:
        """`wanted`, which a call chose, where the cores have `own`. Raises Forbidden for one that neither all
        cores have nor the nearest group that says which may be chosen."""
        if own == {wanted}:
            return wanted
        nearest = self._nearest(name)
        for group in nearest.chain() if nearest is not None else ():
            if (allowed := group.settings.policies) is not None:
                if wanted in allowed:
                    return wanted
                what = f"Group {group.settings.name!r} may not choose the policy {wanted!r}."
                mend = f"Choose one of {', '.join(allowed)}, or none." if allowed else "Choose none."
                raise Forbidden(what, mend, param="policy")
        mend = "Choose none, or have it listed in `policies` of the group."
        raise Forbidden(f"Group {name!r} may not choose the policy {wanted!r}.", mend, param="policy")

    def weight(self, name: str) -> float:
        """Share of group `name` against the others: its weight among its siblings times the share of the group
        above. A group without settings has a weight of 1."""
        if not self._groups:
            return 1.0
        share = 1.0
        parts = name.split("/")
        for depth in range(1, len(parts) + 1):
            here = "/".join(parts[:depth])
            group = self._groups.get(here)
            weight = group.settings.weight if group else 1.0
            others = 0.0 if group else weight  # with settings it is among those that are summed up
            share *= weight if depth == 1 else weight / (self._weights.get(_above(here), 0.0) + others)
        return share

    def set(self, settings: GroupSettings) -> GroupInfo:
        """Give a group other limits, or its first."""
        group = self._groups.get(settings.name)
        if group is not None:
            group.apply(settings)
            self._weights = _weights(self._groups)
            return group.info()
        group = self._groups[settings.name] = Group(settings, self._nearest(_above(settings.name)))
        for name, other in self._groups.items():  # those below have a nearer parent now
            if name != settings.name:
                other.parent = self._nearest(_above(name))
        self._weights = _weights(self._groups)
        return group.info()

    def change(self, name: str, given: Mapping[str, Any]) -> GroupInfo:
        """Give a group those limits and leave it its others; None takes one away (JSON merge patch: RFC 7396).
        `given` are fields of GroupSettings. Raises BadRequest."""
        before = self._groups.get(name)
        had: dict[str, Any] = msgspec.to_builtins(before.settings) if before is not None else {}
        wanted = {limit: value for limit, value in {**had, **given}.items() if value is not None}
        try:
            return self.set(msgspec.convert({**wanted, "name": name}, GroupSettings))
        except msgspec.ValidationError as error:
            what = f"Group {name!r} can't have that: {error}."
            raise BadRequest(what, f"Limits are {', '.join(GroupSettings.__struct_fields__[1:])}.") from error

    def list(self) -> tuple[GroupInfo, ...]:
        return tuple([group.info() for _, group in sorted(self._groups.items())])

    def rows(self) -> list[GroupRow]:
        return [group.row() for group in self._groups.values()]

    def _nearest(self, name: str) -> Group | None:
        while name and self._groups:
            if group := self._groups.get(name):
                return group
            name = _above(name)
        return None


def _checked(settings: GroupSettings) -> GroupSettings:
    """Raises BadRequest for a limit under which nothing could ever run."""
    for name in POSITIVE:
        value = getattr(settings, name)
        if value is not None and value <= 0:
            mend = "Use a positive number, or leave it out for no limit."
            raise BadRequest(f"Group {settings.name!r}: {name} is {value}.", mend, param=name)
    if not settings.classes:
        raise BadRequest(f"Group {settings.name!r} has no class.", "Give it one at least.", param="classes")
    if settings.policies and (unknown := set(settings.policies) - set(plugins.names(plugins.POLICIES))):
        what = f"Group {settings.name!r}: there is no policy {min(unknown)!r}."
        raise BadRequest(what, f"Policies: {', '.join(plugins.names(plugins.POLICIES))}.", param="policies")
    return settings


def _above(name: str) -> str:
    return name.rpartition("/")[0]


def _weights(groups: Mapping[str, Group]) -> dict[str, float]:
    """The sum of weights of the groups below each name: once a change, for each call asks for it."""
    found: dict[str, float] = {}
    for name, group in groups.items():
        found[_above(name)] = found.get(_above(name), 0.0) + group.settings.weight
    return found


def _bucket(per_minute: float | None) -> Bucket | None:
    return Bucket(per_minute) if per_minute else None
