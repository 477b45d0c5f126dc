"""The labelled commands: that they can be checked, and that the check tells right from wrong."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import msgspec
import pytest

from aios.bench import commands
from aios.bench.commands import Answered, Case, Clock, Seed, State
from aios.storage.manager import StorageManager

pytestmark = pytest.mark.anyio


def case(**expect: object) -> Case:
    return Case("one", "find", "tree", "do it", [msgspec.convert(expect, commands.Expect)])


SEEDS = [
    Seed("/a.txt", 1, "new", before=[{"days": 3, "text": "old"}]),
    Seed("/in/b.txt", 1, "bee", tags=["x"]),
    Seed("/in/c.txt", 1, "sea"),
]
START = State({"/a.txt": "new", "/in/b.txt": "bee", "/in/c.txt": "sea"}, {"/in"}, [])


def judged(case: Case, end: State = START, answer: Answered | None = None) -> str:
    return commands.wrong(case, SEEDS, START, end, answer or Answered())


def test_there_are_enough_commands_of_each_kind_and_a_third_is_for_tuning():
    tune, report = commands.cases("tune"), commands.cases("report")
    kinds = Counter(case.kind for case in tune + report)
    assert set(kinds) == {"find", "create", "move", "summarise", "rollback", "share", "group"}
    assert min(kinds.values()) >= 9
    assert len(tune) * 2 == len(report)
    assert len({case.say for case in tune + report}) == len(tune + report)


def test_all_paths_of_expectations_are_in_their_trees():
    _, trees = commands.trees()
    for case in commands.cases("tune") + commands.cases("report"):
        there = {seed.path for seed in trees[case.tree]}
        for expect in case.expect:
            named = [
                *expect.moved,
                *expect.copied,
                *expect.gone,
                *expect.of,
                *(path for row in expect.clusters or [] for path in row),
            ]
            assert set(named) <= there, case.id


async def test_a_planted_tree_has_its_versions_at_their_times(tmp_path: Path):
    clock = Clock(1_000_000.0)
    seeds = [*SEEDS, Seed("/gone.txt", 2, "x", binned=True), Seed("/s.txt", 2, "s", shared=True)]
    async with StorageManager(tmp_path, clock=clock) as storage:
        await commands.plant(storage, "ann", seeds, clock)
        found = await commands.state(storage, "ann", clock.now)
        history = await storage.versions.history("ann", "/a.txt")
    assert found.files == {**START.files, "/s.txt": "s"}
    assert found.shares == [("/s.txt", 24.0, False)]
    assert [(clock.now - version.at) / commands.DAY_S for version in history] == [1, 3]


def test_the_answer_must_have_all_and_nothing_else():
    wanted = case(paths=["/a.txt"], optional=["/in/b.txt"])
    assert not judged(wanted, answer=Answered(paths=("/a.txt",)))
    assert not judged(wanted, answer=Answered(paths=("/a.txt", "/in/b.txt")))
    assert judged(wanted, answer=Answered(paths=("/in/b.txt",)))
    assert judged(wanted, answer=Answered(paths=("/a.txt", "/in/c.txt")))


def test_what_is_not_named_must_be_as_it_was():
    moved = State({"/a.txt": "new", "/in/b.txt": "bee", "/c.txt": "sea"}, {"/in"}, [])
    assert not judged(case(moved={"/in/c.txt": "/c.txt"}), moved)
    assert judged(case(paths=[]), moved)
    assert judged(case(moved={"/in/b.txt": "/b.txt"}), moved)


def test_versions_count_from_the_oldest():
    back = State({**START.files, "/a.txt": "old"}, {"/in"}, [])
    assert not judged(case(files={"/a.txt": "=/a.txt@1"}), back)
    assert judged(case(files={"/a.txt": "=/a.txt@2"}), back)


def test_any_folder_will_do_if_it_has_just_these():
    wanted = case(together={"files": ["/in/b.txt", "/in/c.txt"]})
    one = State({"/a.txt": "new", "/x/b.txt": "bee", "/x/c.txt": "sea"}, {"/in", "/x"}, [])
    two = State({"/a.txt": "new", "/x/b.txt": "bee", "/y/c.txt": "sea"}, {"/x", "/y"}, [])
    assert not judged(wanted, one)
    assert judged(wanted, two)
    assert judged(wanted)
    assert not judged(case(clusters=[["/in/b.txt"], ["/in/c.txt"]]), two)
    assert judged(case(clusters=[["/in/b.txt"], ["/in/c.txt"]]), one)


def test_shares_need_their_life_and_their_password():
    wanted = case(shares=[{"path": "/a.txt", "hours": [1, 3], "password": "p"}])
    end = State(START.files, {"/in"}, [("/a.txt", 2.0, True)])
    assert not judged(wanted, end, Answered(passwords={"/a.txt": "p"}))
    assert judged(wanted, end, Answered(passwords={"/a.txt": "q"}))
    assert judged(
        wanted, State(START.files, {"/in"}, [("/a.txt", 9.0, True)]), Answered(passwords={"/a.txt": "p"})
    )


def test_a_summary_has_the_facts_and_is_shorter():
    wanted = case(facts=[["bee"], ["sea", "ocean"]], least=1, of=["/a.txt", "/in/b.txt"])
    assert not judged(wanted, answer=Answered(text="Ocean"))
    assert judged(wanted, answer=Answered(text="nothing"))
    assert judged(wanted, answer=Answered(text="sea and more and more"))
