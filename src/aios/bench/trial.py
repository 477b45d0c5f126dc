"""One simulated run: a load, a policy, some cores."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from aios import plugins
from aios.bench.placement import SPEC, Planned
from aios.bench.report import percentile
from aios.bench.traces import Program, arriving, independent
from aios.bench.witness import Witness
from aios.scheduler.composed import Composed
from aios.scheduler.costs import Costs
from aios.scheduler.load import Call, Oracle, Session
from aios.scheduler.policy import SchedulingPolicy
from aios.scheduler.simulator import Simulator
from aios.scheduler.virtual import Blind, VirtualCore

SLOTS = 4
QUANTUM = 16
STARVE_S, RELIEF = 30.0, 10.0
"""The defaults of `composed`."""


@dataclass(frozen=True, slots=True)
class Trial:
    """`each`: sessions a core (independent calls: a core). `trace`: "" are the agents' sessions. `relief` and
    `starve_s` are those of `composed`. `hidden`: what the policy is not shown. `ram_mb`: parking memory of a
    core. `mixed`: agents are of several groups and classes."""

    study: str
    policy: str
    seed: int
    load: float = 0.9
    cores: int = 1
    each: int = 32
    trace: str = ""
    oracle: Oracle = ""
    hidden: Blind | None = None
    starve_s: float = STARVE_S
    relief: float = RELIEF
    ram_mb: int = 1024
    mixed: bool = False

    @property
    def label(self) -> str:
        """Of the way of ordering, in tables."""
        if self.oracle:
            return f"oracle ({self.oracle})"
        marks = [
            f"without {self.hidden}" if self.hidden else "",
            "without relief" if math.isinf(self.starve_s) else "",
            "relief not rationed" if self.relief < 0 else "",
            "nothing parked" if not self.ram_mb else "",
        ]
        return ", ".join([self.policy, *filter(None, marks)])


def policy_of(trial: Trial) -> SchedulingPolicy:
    """A new one for a core; a `composed` one is watched. Raises what the plugin loader raises."""
    if trial.policy != "composed":
        return plugins.load(plugins.POLICIES, trial.policy)(quantum=QUANTUM)
    composed = Composed(quantum=QUANTUM, starve_s=trial.starve_s, relief=trial.relief)
    return Witness(composed, starve_s=trial.starve_s, relief=trial.relief)


def work(calls: Sequence[Call], shared: int, costs: Costs) -> float:
    """Seconds of a core for one program if nothing is computed twice and all slots are in use."""
    seconds, context = 0.0, shared
    for call in calls:
        kept = context if call.keep is None else min(context, call.keep)
        context = kept + call.fresh + call.output
        token = costs.step_s / SLOTS + costs.decode_s + costs.look_s * context
        seconds += costs.chunk_s + costs.prefill(call.fresh, kept) + call.output * token
    return seconds


def sessions_of(
    trial: Trial, programs: Sequence[Program], calls: Sequence[tuple[float, Call]], costs: Costs
) -> list[Session]:
    """What comes, at the rate that makes the load."""
    count = trial.each * trial.cores
    if trial.trace:
        mean = statistics.mean(work([call], 0, costs) for _, call in calls)
        return independent(calls, count, trial.load * trial.cores / mean, trial.seed)
    mean = statistics.mean(work(program.calls, program.shared, costs) for program in programs)
    return arriving(
        programs, count, trial.load * trial.cores / mean, trial.seed, mixed=trial.mixed, oracle=trial.oracle
    )


def outcome(
    trial: Trial, programs: Sequence[Program], calls: Sequence[tuple[float, Call]], costs: Costs
) -> dict[str, Any]:
    """Run it; one row."""
    sessions = sessions_of(trial, programs, calls, costs)
    spec = replace(SPEC, ram_bytes=trial.ram_mb << 20)
    policies = [policy_of(trial) for _ in range(trial.cores)]
    cores = [
        VirtualCore(
            policy, costs, Planned(SLOTS, costs, spec), slots=SLOTS, quantum=QUANTUM,
            blind=[trial.hidden] if trial.hidden else [],
        )
        for policy in policies
    ]  # fmt: skip
    simulator = Simulator(cores)
    simulator.run(sessions)
    return {"label": trial.label, **asdict(trial), **measures(sessions, simulator.now), **kept_bound(policies),
            "busy": round(sum(core.busy for core in cores) / len(cores) / simulator.now, 4)}  # fmt: skip


def measures(sessions: Sequence[Session], makespan: float) -> dict[str, float]:
    """Seconds and shares. `hit`: prompt tokens that were not computed; what an interrupt makes be computed
    again counts against it. `ideal`: those of no call that were in the context before."""
    took = [session.done - session.arrival for session in sessions]
    light = [t for t, session in zip(took, sessions, strict=True) if session.group in ("small", "tiny")]
    urgent = [wait for s in sessions if s.scheduling_class == "interactive" for wait in s.waits]
    prompted = sum(session.prompted for session in sessions)
    fresh = sum(call.fresh for session in sessions for call in session.calls)
    return {
        "calls": sum(len(session.calls) for session in sessions),
        "hit": round(1 - sum(session.computed for session in sessions) / prompted, 4),
        "ideal": round(1 - fresh / prompted, 4),
        "mean_s": round(statistics.mean(took), 3),
        "p99_s": round(percentile(took, 0.99), 3),
        "wait_max_s": round(max(session.longest_wait for session in sessions), 3),
        "makespan_s": round(makespan, 3),
        "light_mean_s": round(statistics.mean(light), 3) if light else 0.0,
        "interactive_wait_p99_s": round(percentile(urgent, 0.99), 3) if urgent else 0.0,
    }


def kept_bound(policies: Sequence[SchedulingPolicy]) -> dict[str, float]:
    """What a call used up, at most, of what `composed` promises it."""
    seen = [policy for policy in policies if isinstance(policy, Witness)]
    if not seen:
        return {}
    return {
        "overdue": sum(witness.overdue for witness in seen),
        "bound_selections": round(max(witness.selections for witness in seen), 4),
        "bound_work": round(max(witness.work for witness in seen), 4),
    }
