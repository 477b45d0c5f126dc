"""The process control block: all that the kernel holds of one process."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec

from aios.access.decision import within as below
from aios.access.keys import ADMIN_GROUP
from aios.context.seating import Place
from aios.errors import BadRequest, Forbidden, NotFound
from aios.kernel.active import Active
from aios.kernel.limits import Budget
from aios.kernel.records import ProcessRow
from aios.scheduler.ticket import Standing
from aios.syscalls import (
    Limits,
    ProcessInfo,
    ProcessState,
    ProcessUsage,
    SchedulingClass,
    Timings,
    Usage,
)

GONE = frozenset[ProcessState]({"exited", "killed"})
_GROUP = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
TRANSITIONS: Mapping[ProcessState, frozenset[ProcessState]] = {
    "idle": frozenset({"ready", "running", "paused", "exited", "killed"}),
    "ready": frozenset({"idle", "running", "paused", "exited", "killed"}),
    "running": frozenset({"idle", "ready", "paused", "exited", "killed"}),
    "paused": frozenset({"idle", "ready", "running", "exited", "killed"}),
    "exited": frozenset(),
    "killed": frozenset(),
}


@dataclass(slots=True, eq=False)
class Process:
    """One running agent."""

    pid: int
    name: str
    parent: Process | None
    group: str
    scheduling_class: SchedulingClass
    nice: int
    program: str
    limits: Limits
    budget: Budget | None
    attached: bool
    created: float
    last_active: float
    state: ProcessState = "idle"
    exit_status: int | None = None
    reason: str = ""
    usage: ProcessUsage = field(default_factory=ProcessUsage)
    children: dict[int, Process] = field(default_factory=dict[int, "Process"])
    calls: dict[int, Active] = field(default_factory=dict[int, Active])
    waiting: int = 0
    seated: int = 0
    resumed: asyncio.Event = field(default_factory=asyncio.Event)
    rights: tuple[str, ...] | None = None
    """Globs of the actions it may do, of those its parent may; None: all of them."""
    planned: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    """Changes that are being committed: rows written meanwhile must not undo them."""

    @property
    def gone(self) -> bool:
        return self.state in GONE

    @property
    def agent(self) -> str:
        """Whose idempotency keys it uses: all processes of one name in one group are one agent."""
        return f"{self.group}:{self.name}"

    def lineage(self) -> Iterator[Process]:
        """Itself, its parent, and so on up."""
        process: Process | None = self
        while process is not None:
            yield process
            process = process.parent

    def row(self) -> ProcessRow:
        info = self.info(("", 0))
        for changes in self.planned:
            info = msgspec.structs.replace(info, **changes)
        own = self.budget if self.budget is not None and self.budget.pid == self.pid else None
        return ProcessRow(
            info=info,
            attached=self.attached,
            charged_calls=own.calls if own else 0,
            charged_tokens=own.tokens if own else 0,
        )

    def info(self, kv: tuple[Place, int], standing: Standing | None = None) -> ProcessInfo:
        waits = [call.since for call in self.calls.values() if call.waiting and not call.seated]
        return ProcessInfo(
            pid=self.pid,
            name=self.name,
            parent=self.parent.pid if self.parent else 0,
            group=self.group,
            state=self.state,
            scheduling_class=self.scheduling_class,
            nice=self.nice,
            program=self.program,
            limits=self.limits,
            usage=self.usage,
            active_calls=len(self.calls),
            waiting_s=time.monotonic() - min(waits) if waits else 0.0,
            attained=self.usage.work + (standing.attained if standing else 0),
            level=standing.level if standing else None,
            kv=kv[0],
            kv_tokens=kv[1],
            created=self.created,
            last_active=self.last_active,
            exit_status=self.exit_status,
            reason=self.reason,
            rights=self.rights,
        )

    def state_by_calls(self) -> ProcessState:
        return "running" if self.seated else "ready" if self.waiting else "idle"

    def add_usage(self, usage: Usage, timings: Timings, *, failed: bool) -> None:
        """One more call is over."""
        before = self.usage
        self.usage = ProcessUsage(
            calls=before.calls + 1,
            failed_calls=before.failed_calls + failed,
            prompt_tokens=before.prompt_tokens + usage.prompt_tokens,
            cached_tokens=before.cached_tokens + usage.cached_tokens,
            completion_tokens=before.completion_tokens + usage.completion_tokens,
            queue_s=before.queue_s + timings.queue_s,
            run_s=before.run_s + timings.run_s,
            interrupts=before.interrupts + timings.interrupts,
        )


# -- what a process may be made with ------------------------------------------------------------------


def check_name(name: str, param: str) -> str:
    """Raises BadRequest for what can't name a process or a group."""
    if not (0 < len(name) <= 256 and name.isprintable()):
        mend = "Use 1 to 256 printable characters."
        raise BadRequest(f"{name!r} can't be the {param} of a process.", mend, param=param)
    return name


def check_group(group: str) -> str:
    """Raises BadRequest for what can't name a privilege group: an agent is told by `group:name`, and no group
    may look like a part of another's."""
    if not all(_GROUP.fullmatch(part) for part in group.split("/")):
        mend = (
            "Use up to 64 letters, digits, '.', '_' or '-', the first a letter or digit; '/' before one below."
        )
        raise BadRequest(f"{group!r} can't be the group of a process.", mend, param="group")
    return group


def check_nice(nice: int) -> int:
    """Raises BadRequest."""
    if not -20 <= nice <= 19:
        raise BadRequest(f"{nice} is no nice value.", "Use -20 (most favoured) to 19.", param="nice")
    return nice


def within(parent: Limits, asked: Limits) -> Limits:
    """The limits of a child: what it asks for, and its parent's where it asks for none.

    Raises Forbidden for more than the parent's, BadRequest for a limit nothing could ever run under."""
    for name in Limits.__struct_fields__:
        wanted: int | None = getattr(asked, name)
        most: int | None = getattr(parent, name)
        if wanted is not None and wanted < (1 if name == "concurrency" else 0):
            raise BadRequest(f"A limit of {wanted} {name} can't be.", "Use a positive number.", param="limits")
        if most is not None and wanted is not None and wanted > most:
            mend = f"Ask for at most {most}, or leave it out."
            raise Forbidden(f"The parent's limit of {name} is {most}; not {wanted}.", mend, param="limits")
    return Limits(
        calls=parent.calls if asked.calls is None else asked.calls,
        tokens=parent.tokens if asked.tokens is None else asked.tokens,
        concurrency=parent.concurrency if asked.concurrency is None else asked.concurrency,
    )


def unknown(pid: int) -> NotFound:
    """What is told of a process that is not there, or that the caller may not know of."""
    return NotFound(f"There is no process {pid}.", "`aios ps --all` lists them.", param="pid")


def account(parent: Process | None, name: str, group: str) -> tuple[str, str]:
    """Whose share of the table a process is in: the agent's that stands above it, by tree and by name."""
    while parent is not None and parent.parent is not None:
        name, group, parent = parent.name, parent.group, parent.parent
    return name.partition("/")[0], group


def hidden(actor: Process, target: Process) -> bool:
    """Whether `actor` may not know that there is such a process: it is neither of its group nor below it.
    Everybody knows of the kernel."""
    seen = target.parent is None or actor.group in (ADMIN_GROUP, target.group)
    return not seen and actor not in target.lineage()


def callers(process: Process) -> tuple[str, ...]:
    """The groups whose callers reach it by its name: its own, and those of the agents above it, by tree and by
    name, that put it into one below theirs."""
    found = {process.group: None}
    for each in process.lineage():
        parent = each.parent
        if parent is None or parent.parent is None or not each.name.startswith(f"{parent.name}/"):
            break
        if not below(parent.group, each.group):
            break
        found[parent.group] = None
    return tuple(found)


def is_its_own(process: Process, group: str) -> bool:
    """Whether nobody but the agent of that name and group, those it is below by name, or an admin made it."""
    apart = process.group != group  # then agents of `group` put it where it is
    for each in process.lineage():
        if each.parent is None or each.parent.group == ADMIN_GROUP:
            return True
        if each.group != each.parent.group and not (apart and below(group, each.parent.group)):
            return False
        if not each.name.startswith(f"{each.parent.name}/"):
            return False
    return True
