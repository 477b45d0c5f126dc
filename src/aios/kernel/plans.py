"""What programs said they will do: declared steps, what is left of them, and what comes after each.

A call that is far from its program's end, along the longest chain of what depends on it, holds up more than one
that is near (critical path: Hu 1961, "Parallel Sequencing and Assembly Line Problems"; as a list scheduling
priority: Kwok and Ahmad 1999, section 4.2, static b-level).
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from itertools import islice

from aios.errors import BadRequest
from aios.syscalls import PlanStep

KEPT = 10_000
"""Plans of so many programs are kept, the newest."""
KEPT_STEPS = 200_000
"""Of so many steps in all, where ten that steps depend on count as one."""
TOKENS_PER_S = 50.0
"""A tool's second counts as so many tokens, to compare chains of both."""
LEARNING = 0.3
MAX_STEPS = 1_000
"""More steps are refused: a plan is walked through while the kernel does nothing else."""
MAX_LINKS = 10_000
"""Of all steps of a plan, those they depend on."""


@dataclass(frozen=True, slots=True)
class Outlook:
    """From a step on: tokens of the longest chain to the end (`path`), of all that is left of the program
    (`ahead`), and seconds until the next call after it (`gap_s`). None: not known."""

    path: float | None = None
    ahead: float | None = None
    gap_s: float | None = None


UNKNOWN = Outlook()


class Plan:
    """The steps of a program, `steps` in an order in which they can be done. Each dependency is followed once
    when the plan is made and once when it is met, so no call of the program costs more for a long plan."""

    def __init__(self, steps: Iterable[PlanStep]) -> None:
        self._steps = {step.name: step for step in steps}
        self.size = len(self._steps) + sum(len(step.depends_on) for step in self._steps.values()) // 10
        """What it counts for in `KEPT_STEPS`."""
        self._names = list(self._steps)
        self._place = {name: place for place, name in enumerate(self._names)}
        self._after: dict[str, list[str]] = {name: [] for name in self._names}
        self._waits = {name: len(step.depends_on) for name, step in self._steps.items()}
        self._gaps: dict[str, float] = {}
        for name, step in self._steps.items():
            for before in step.depends_on:
                self._after[before].append(name)
                if step.kind == "tool":
                    self._gaps[before] = max(step.seconds, self._gaps.get(before, step.seconds))
        self._paths = _paths(self._steps)
        self._left = sum(step.tokens for step in self._steps.values() if step.kind == "llm")
        self._done: set[str] = set()
        self._ready: list[int] = []  # places of llm steps that are not done and wait for none, in order
        self._at: dict[str, set[int]] = {}
        self._free([name for name, waits in self._waits.items() if not waits])

    def __contains__(self, name: str) -> bool:
        return name in self._steps

    def next(self) -> str:
        """The first llm step that is not done and waits for none; "" if there is none. One at which no call is
        goes before others: of these the call may be a repetition."""
        ready = [self._names[place] for place in islice(self._ready, len(self._at) + 1)]
        return next((name for name in ready if name not in self._at), ready[0] if ready else "")

    def began(self, name: str, call: int) -> None:
        """A call is at a step."""
        self._at.setdefault(name, set()).add(call)

    def left(self, name: str, call: int) -> None:
        """A call is over, done or not. One that began under an earlier plan is at no step of this one."""
        at = self._at.get(name, set())
        at.discard(call)
        if not at:
            self._at.pop(name, None)

    def did(self, name: str) -> None:
        """A step is done. Of tools nobody tells: they are taken to be done as soon as they can be."""
        step = self._steps.get(name)
        if step is None or step.kind == "tool" or name in self._done:
            return
        self._done.add(name)
        self._left -= step.tokens
        if not self._waits[name]:
            del self._ready[bisect_left(self._ready, self._place[name])]
        self._free(self._met(name))

    def outlook(self, name: str) -> Outlook:
        return Outlook(self._paths.get(name, 0.0), float(self._left), self._gaps.get(name))

    def _free(self, free: list[str]) -> None:
        """Steps wait for none any more: those of llm are ready, and what comes after tools is freed too."""
        while free:
            name = free.pop()
            if self._steps[name].kind == "tool":
                free += self._met(name)
            elif name not in self._done:
                insort(self._ready, self._place[name])

    def _met(self, name: str) -> list[str]:
        """A step is done: those that waited for it last."""
        for after in self._after[name]:
            self._waits[after] -= 1
        return [after for after in dict.fromkeys(self._after[name]) if not self._waits[after]]


class PlanBook:
    """Plans by program: the newest, `KEPT` at most and `KEPT_STEPS` of their steps."""

    def __init__(self) -> None:
        self._plans: OrderedDict[str, Plan] = OrderedDict()
        self._size = 0

    def declare(self, program: str, steps: Iterable[PlanStep]) -> None:
        """The plan of a program, in place of the one it had. Raises BadRequest: more than `MAX_STEPS` steps or
        `MAX_LINKS` dependencies, two steps of one name, one that depends on none there is, or on itself."""
        steps = tuple(steps)
        _check_size(steps)
        by_name: dict[str, PlanStep] = {}
        for step in steps:
            if step.name in by_name:
                raise _bad(f"Two steps are called {step.name!r}.", "Give each a name of its own.")
            by_name[step.name] = step
        for step in by_name.values():
            if unknown := [name for name in step.depends_on if name not in by_name]:
                raise _bad(f"{step.name!r} depends on {unknown[0]!r}, which is no step.", "Name a step.")
        try:
            order = list(TopologicalSorter({n: s.depends_on for n, s in by_name.items()}).static_order())
        except CycleError as error:
            circle = " -> ".join(error.args[1])
            raise _bad(f"Steps depend on each other in a circle: {circle}.", "Break it.") from error
        self.forget(program)
        plan = self._plans[program] = Plan(by_name[name] for name in order)
        self._size += plan.size
        while len(self._plans) > KEPT or self._size > KEPT_STEPS:
            self.forget(next(iter(self._plans)))

    def step_of(self, program: str, named: str) -> str:
        """Which step a call is: that which it names, else the next one that can be done and at which no other
        call is; if others are at all of these, the first."""
        plan = self._plans.get(program)
        return "" if plan is None else named if named in plan else plan.next()

    def outlook(self, program: str, step: str) -> Outlook:
        plan = self._plans.get(program)
        return plan.outlook(step) if plan and step else UNKNOWN

    def began(self, program: str, step: str, call: int) -> None:
        """A call is under way, and is this step."""
        if (plan := self._plans.get(program)) and step in plan:
            plan.began(step, call)

    def left(self, program: str, step: str, call: int) -> None:
        """The call is over: if the step is not done, it is there for another one."""
        if plan := self._plans.get(program):
            plan.left(step, call)

    def did(self, program: str, step: str) -> None:
        """A step is done."""
        if plan := self._plans.get(program):
            plan.did(step)

    def forget(self, program: str) -> None:
        if plan := self._plans.pop(program, None):
            self._size -= plan.size


class ToolGaps:
    """How long tools keep agents away, learned by name and by process: from the end of the call that asked for
    one to the next call of the same process."""

    def __init__(self) -> None:
        self._mean: dict[str, float] = {}
        self._usual: dict[int, float] = {}
        self._out: dict[int, tuple[str, float]] = {}

    def called(self, pid: int, tools: tuple[str, ...], now: float) -> float | None:
        """A call of the process ended by asking for `tools`; seconds until the next one, if known."""
        self._out[pid] = (name := "+".join(sorted(set(tools)))), now
        return self._mean.get(name)

    def came(self, pid: int, now: float) -> None:
        """A call of the process came."""
        if told := self._out.pop(pid, None):
            name, since = told
            self._mean[name] = _nearer(self._mean.get(name), now - since)
            self._usual[pid] = _nearer(self._usual.get(pid), now - since)

    def usual(self, pid: int) -> float | None:
        """Seconds that tools keep the process away, whichever it will ask for next; None: it used none."""
        return self._usual.get(pid)

    def forget(self, pid: int) -> None:
        self._out.pop(pid, None)
        self._usual.pop(pid, None)


def _nearer(mean: float | None, seen: float) -> float:
    return seen if mean is None else mean + LEARNING * (seen - mean)


def _paths(steps: dict[str, PlanStep]) -> dict[str, float]:
    """Of each step the length of the longest chain from it to an end, itself included."""
    paths: dict[str, float] = dict.fromkeys(steps, 0.0)
    for name, step in reversed(steps.items()):
        paths[name] += step.tokens if step.kind == "llm" else step.seconds * TOKENS_PER_S
        for before in step.depends_on:
            paths[before] = max(paths[before], paths[name])
    return paths


def _check_size(steps: Sequence[PlanStep]) -> None:
    if len(steps) > MAX_STEPS:
        raise _bad(
            f"The plan has {len(steps)} steps; at most {MAX_STEPS} are taken.",
            "Declare the next steps only, and the rest when these are done.",
        )
    if (links := sum(len(step.depends_on) for step in steps)) > MAX_LINKS:
        raise _bad(
            f"The steps depend on {links} others; a plan has at most {MAX_LINKS} dependencies.",
            "Leave out those that follow from others, or put one step between many and many.",
        )


def _bad(what: str, mend: str) -> BadRequest:
    return BadRequest(what, mend, param="steps")
