"""What programs said they will do: declared steps, what is left of them, and what comes after each.

A call that is far from its program's end, along the longest chain of what depends on it, holds up more than one
that is near (critical path: Hu 1961, "Parallel Sequencing and Assembly Line Problems"; as a list scheduling
priority: Kwok and Ahmad 1999, section 4.2, static b-level).
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass, field
from graphlib import CycleError, TopologicalSorter

from aios.errors import BadRequest
from aios.syscalls import PlanStep

KEPT = 10_000
"""Plans of so many programs are kept, the newest."""
TOKENS_PER_S = 50.0
"""A tool's second counts as so many tokens, to compare chains of both."""
LEARNING = 0.3


@dataclass(frozen=True, slots=True)
class Outlook:
    """From a step on: tokens of the longest chain to the end (`path`), of all that is left of the program
    (`ahead`), and seconds until the next call after it (`gap_s`). None: not known."""

    path: float | None = None
    ahead: float | None = None
    gap_s: float | None = None


UNKNOWN = Outlook()


@dataclass(slots=True)
class Plan:
    """Steps by name, in an order in which they can be done; `paths` of each."""

    steps: dict[str, PlanStep]
    paths: dict[str, float]
    done: set[str] = field(default_factory=set[str])

    def next(self) -> str:
        """The first llm step that is not done and waits for none; "" if there is none."""
        for name, step in self.steps.items():
            if step.kind == "llm" and name not in self.done and self.done.issuperset(self._before(step)):
                return name
        return ""

    def outlook(self, name: str) -> Outlook:
        left = sum(s.tokens for n, s in self.steps.items() if n not in self.done and s.kind == "llm")
        gaps = [s.seconds for s in self.steps.values() if s.kind == "tool" and name in s.depends_on]
        return Outlook(self.paths.get(name, 0.0), float(left), max(gaps, default=None))

    def _before(self, step: PlanStep) -> set[str]:
        """The llm steps on which `step` depends, through tools too."""
        found: set[str] = set()
        for name in step.depends_on:
            before = self.steps[name]
            found |= {name} if before.kind == "llm" else self._before(before)
        return found


class PlanBook:
    """Plans by program."""

    def __init__(self) -> None:
        self._plans: OrderedDict[str, Plan] = OrderedDict()

    def declare(self, program: str, steps: Iterable[PlanStep]) -> None:
        """The plan of a program, in place of the one it had. Raises BadRequest: two steps of one name, one that
        depends on none there is, or on itself."""
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
        self._plans[program] = Plan({name: by_name[name] for name in order}, _paths(by_name, order))
        self._plans.move_to_end(program)
        if len(self._plans) > KEPT:
            self._plans.popitem(last=False)

    def step_of(self, program: str, named: str) -> str:
        """Which step a call is: that which it names, else the next one that can be done."""
        plan = self._plans.get(program)
        return "" if plan is None else named if named in plan.steps else plan.next()

    def outlook(self, program: str, step: str) -> Outlook:
        plan = self._plans.get(program)
        return plan.outlook(step) if plan and step else UNKNOWN

    def did(self, program: str, step: str) -> None:
        """A step is done."""
        if plan := self._plans.get(program):
            plan.done.add(step)

    def forget(self, program: str) -> None:
        self._plans.pop(program, None)


class ToolGaps:
    """How long tools keep agents away, learned by name: from the end of the call that asked for one to the next
    call of the same process."""

    def __init__(self) -> None:
        self._mean: dict[str, float] = {}
        self._out: dict[int, tuple[str, float]] = {}

    def called(self, pid: int, tools: tuple[str, ...], now: float) -> float | None:
        """A call of the process ended by asking for `tools`; seconds until the next one, if known."""
        self._out[pid] = (name := "+".join(sorted(set(tools)))), now
        return self._mean.get(name)

    def came(self, pid: int, now: float) -> None:
        """A call of the process came."""
        if told := self._out.pop(pid, None):
            name, since = told
            before = self._mean.get(name, now - since)
            self._mean[name] = before + LEARNING * (now - since - before)

    def forget(self, pid: int) -> None:
        self._out.pop(pid, None)


def _paths(steps: dict[str, PlanStep], order: list[str]) -> dict[str, float]:
    """Of each step the length of the longest chain from it to an end, itself included."""
    paths: dict[str, float] = dict.fromkeys(order, 0.0)
    for name in reversed(order):
        step = steps[name]
        paths[name] += step.tokens if step.kind == "llm" else step.seconds * TOKENS_PER_S
        for before in step.depends_on:
            paths[before] = max(paths[before], paths[name])
    return paths


def _bad(what: str, mend: str) -> BadRequest:
    return BadRequest(what, mend, param="steps")
