"""The process table: names, rights, states, and who is forgotten when."""

from __future__ import annotations

import time
from typing import Any

import pytest

from aios.config import ProcessSettings
from aios.errors import BadRequest, Conflict, Forbidden, LimitExceeded, NotFound
from aios.events import EventBus
from aios.kernel import process as table_module
from aios.kernel.pcb import Process
from aios.kernel.process import KERNEL, ProcessTable
from aios.kernel.records import ProcessRow
from aios.syscalls import Limits, ProcessInfo, ProcessUsage, Spawn


class World:
    """A table, and what it asked others to do."""

    def __init__(self, **settings: Any) -> None:
        self.kept: dict[int, ProcessRow] = {}
        self.gone: list[int] = []
        self.table = ProcessTable(
            ProcessSettings(**settings),
            EventBus(),
            kv_of=lambda pid: ("parked", pid * 10),
            keep=self._keep,
            gone=self.gone.append,
        )

    def _keep(self, process: Process) -> None:
        self.kept[process.pid] = process.row()

    def spawn(self, parent: int, name: str = "child", **fields: Any) -> Process:
        child = self.table.spawn(self.table.get(parent), Spawn(name=name, **fields))
        self.table.announce(child)
        return child


@pytest.fixture
def world() -> World:
    return World()


def test_a_name_and_group_is_one_process_as_long_as_it_lives(world: World) -> None:
    ann = world.table.attach("ann")
    assert world.table.attach("ann") == ann
    assert world.table.attach("ann", group="other") != ann
    world.table.exit(world.table.get(ann))
    assert world.table.attach("ann") not in (ann, KERNEL)


def test_of_several_of_one_name_the_oldest_that_lives_is_attached_to(world: World) -> None:
    first, second = world.spawn(KERNEL, "twin"), world.spawn(KERNEL, "twin")
    assert world.table.attach("twin") == first.pid
    world.table.kill(first)
    assert world.table.attach("twin") == second.pid


def test_a_process_is_described_whole(world: World) -> None:
    pid = world.table.attach("ann", group="team")
    info = world.table.info(pid)
    assert (info.name, info.group, info.parent, info.state) == ("ann", "team", KERNEL, "idle")
    assert info.program == f"p{pid}"
    assert (info.kv, info.kv_tokens) == ("parked", pid * 10)
    assert world.table.list() == (world.table.info(KERNEL), info)
    with pytest.raises(NotFound):
        world.table.info(99)


@pytest.mark.parametrize("name", ["", "a\nb", "\x1b[2J", "x" * 257, "\ud800"])
def test_what_can_not_be_shown_is_no_name(world: World, name: str) -> None:
    with pytest.raises(BadRequest):
        world.table.attach(name)
    with pytest.raises(BadRequest):
        world.table.attach("ann", group=name or "\0")


# -- rights -----------------------------------------------------------------------------------------------


def test_a_child_has_its_parents_group_program_and_limits_unless_it_asks_for_less(world: World) -> None:
    parent = world.spawn(KERNEL, "parent", group="team", limits=Limits(calls=10, tokens=100), program="paper")
    plain = world.spawn(parent.pid)
    assert (plain.group, plain.program, plain.limits) == ("team", "paper", Limits(calls=10, tokens=100))
    less = world.spawn(parent.pid, group="team/sub", limits=Limits(calls=3, concurrency=2), program="own")
    assert (less.group, less.program) == ("team/sub", "own")
    assert less.limits == Limits(calls=3, tokens=100, concurrency=2)


def test_a_child_has_no_right_that_its_parent_lacks(world: World) -> None:
    parent = world.spawn(KERNEL, "parent", group="team", limits=Limits(calls=10))
    for group in ("default", "admin", "teamster", "tea"):
        with pytest.raises(Forbidden, match="team"):
            world.spawn(parent.pid, group=group)
    with pytest.raises(Forbidden, match="at most 10"):
        world.spawn(parent.pid, limits=Limits(calls=11))
    assert world.table.live() == (parent,)


def test_an_admin_may_give_any_group(world: World) -> None:
    admin = world.table.attach("root", group="admin")
    assert world.spawn(admin, group="team").group == "team"
    assert world.spawn(KERNEL).group == "default"
    assert world.spawn(admin).group == "admin"


@pytest.mark.parametrize(
    "fields", [{"nice": 20}, {"limits": Limits(concurrency=0)}, {"limits": Limits(calls=-1)}]
)
def test_what_makes_no_sense_is_refused(world: World, fields: dict[str, Any]) -> None:
    with pytest.raises(BadRequest):
        world.spawn(KERNEL, **fields)


def test_there_are_no_more_live_processes_than_the_settings_allow() -> None:
    world = World(max_processes=2)
    ann = world.table.attach("ann")
    world.spawn(ann)
    with pytest.raises(LimitExceeded, match="2 live processes"):
        world.table.attach("bob")
    world.table.kill(world.table.get(ann))
    world.table.attach("bob")


# -- life -------------------------------------------------------------------------------------------------


def test_kill_takes_all_below_and_nobody_else(world: World) -> None:
    ann = world.table.get(world.table.attach("ann"))
    child = world.spawn(ann.pid)
    deep = world.spawn(child.pid)
    bob = world.table.get(world.table.attach("bob"))
    world.table.kill(child, "why")
    assert [p.state for p in (ann, child, deep, bob)] == ["idle", "killed", "killed", "idle"]
    assert sorted(world.gone) == [child.pid, deep.pid]
    assert world.kept[deep.pid].info.state == "killed"
    with pytest.raises(Conflict, match="why"):
        world.table.living(deep.pid)


def test_an_orphan_is_still_below_who_made_its_parent(world: World) -> None:
    ann = world.table.get(world.table.attach("ann"))
    child = world.spawn(ann.pid)
    orphan = world.spawn(child.pid)
    world.table.exit(child)
    assert orphan.state == "idle"
    world.table.may_signal(ann, orphan)
    world.table.kill(ann)
    assert orphan.state == "killed"


def test_a_chain_of_a_thousand_can_be_killed(world: World) -> None:
    pid = first = world.table.attach("ann")
    for _ in range(1000):
        pid = world.spawn(pid).pid
    world.table.kill(world.table.get(first))
    assert world.table.live() == ()


def test_pause_and_resume_can_be_repeated(world: World) -> None:
    ann = world.table.get(world.table.attach("ann"))
    for _ in range(2):
        world.table.pause(ann, "lunch")
        assert (ann.state, ann.reason, world.kept[ann.pid].info.state) == ("paused", "lunch", "paused")
    for _ in range(2):
        world.table.resume(ann)
        assert ann.state == "idle"


def test_idle_processes_that_a_callers_name_made_are_reaped() -> None:
    world = World(idle_ttl_s=60)
    named, paused, parent = (world.table.get(world.table.attach(name)) for name in "abc")
    spawned = world.spawn(parent.pid)
    world.table.pause(paused)
    world.table.reap(time.time() + 59)
    assert not named.gone
    world.table.reap(time.time() + 61)
    assert (named.state, named.reason) == ("exited", "idle")
    assert not any(process.gone for process in (paused, parent, spawned))
    World(idle_ttl_s=0).table.reap(time.time() + 10**9)


def test_a_bounded_number_of_gone_processes_is_kept_and_parents_as_long_as_their_children(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(table_module, "KEPT", 3)
    parent = world.table.get(world.table.attach("parent"))
    child = world.spawn(parent.pid)
    world.table.exit(parent)
    for i in range(10):
        world.table.exit(world.table.get(world.table.attach(f"p{i}")))
    assert [info.name for info in world.table.list(all=True)] == ["kernel", "parent", "child", "p7", "p8", "p9"]
    world.table.exit(child)
    for i in range(10, 17):
        world.table.exit(world.table.get(world.table.attach(f"p{i}")))
    assert [info.name for info in world.table.list(all=True)] == ["kernel", "p14", "p15", "p16"]


def test_a_process_that_was_not_announced_never_was(world: World) -> None:
    ann = world.table.get(world.table.attach("ann"))
    child = world.table.spawn(ann, Spawn(name="child"))
    world.table.discard(child)
    assert world.table.list(all=True) == (world.table.info(KERNEL), world.table.info(ann.pid))
    killed = world.table.spawn(ann, Spawn(name="child"))
    world.table.kill(ann)
    world.table.discard(killed)
    assert world.table.live() == ()
    with pytest.raises(NotFound):
        world.table.get(killed.pid)


# -- after a restart --------------------------------------------------------------------------------------


def test_processes_come_back_as_they_were_but_with_nothing_running() -> None:
    def row(pid: int, parent: int, state: Any, **fields: Any) -> ProcessRow:
        own = {name: fields.pop(name) for name in ProcessRow.__struct_fields__ if name in fields}
        info = ProcessInfo(pid=pid, name=f"n{pid}", parent=parent, group="team", state=state, **fields)
        return ProcessRow(info=info, **own)

    world = World(limits=Limits(calls=5))
    usage = ProcessUsage(calls=4, prompt_tokens=9)
    rows = [
        row(9, 7, "running", limits=Limits(tokens=50), usage=usage, charged_tokens=30, nice=3, program="paper"),
        row(7, KERNEL, "exited", exit_status=1),
        row(8, KERNEL, "paused", attached=True, charged_calls=5),
    ]
    world.table.restore(rows, next_pid=10)
    nine = world.table.info(9)
    assert (nine.state, nine.usage, nine.nice, nine.program, nine.parent) == ("idle", usage, 3, "paper", 7)
    budget = world.table.get(9).budget
    assert budget is not None
    assert budget.tokens == 30
    eight = world.table.get(8)
    assert (eight.state, eight.limits) == ("paused", Limits(calls=5))  # the settings' of now
    assert eight.budget is not None
    assert eight.budget.calls == 5
    assert world.table.attach("n8", group="team") == 8
    assert world.table.attach("n7", group="team") == 10  # that one is gone
    assert [info.pid for info in world.table.list()] == [KERNEL, 8, 9, 10]
