"""The labelled commands: that they can be checked, and that the check tells right from wrong."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import msgspec
import pytest

from aios.bench import commands
from aios.bench.commands import Answered, Case, Clock, Expect, Seed, State
from aios.storage.manager import StorageManager

pytestmark = pytest.mark.anyio


def case(**expect: object) -> Case:
    return Case("one", "find", "tree", "do it", [msgspec.convert(expect, Expect)])


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


def test_the_fresh_part_has_eight_of_each_kind_and_trees_of_its_own():
    cases = {part: commands.cases(part) for part in commands.PARTS}
    every = [case for part in cases.values() for case in part]
    assert set(Counter(case.kind for case in cases["fresh"]).values()) == {8}
    assert len({case.say.lower() for case in every}) == len({case.id for case in every}) == len(every)
    before = {case.tree for part in ("tune", "report") for case in cases[part]}
    assert len({case.tree for case in cases["fresh"]} - before) >= 2


@pytest.mark.parametrize("part", commands.PARTS)
def test_all_that_expectations_name_is_in_their_trees(part: str):
    _, trees = commands.trees()
    for case in commands.cases(part):
        seeds = {seed.path: seed for seed in trees[case.tree]}
        there = {path for path, seed in seeds.items() if not seed.binned}
        folders = {path.rpartition("/")[0] for path in there}
        versions = {f"={p}@{n}" for p, seed in seeds.items() for n in range(1, len(seed.before) + 1)}
        versions |= {f"={path}" for path, seed in seeds.items() if seed.binned}
        for expect in case.expect:
            named = [
                *(expect.paths or []),
                *expect.optional,
                *expect.moved,
                *expect.copied,
                *expect.gone,
                *expect.of,
                *(expect.together.files if expect.together else []),
                *(path for row in [*(expect.clusters or []), *(expect.groups or [])] for path in row),
            ]
            assert set(named) <= there, case.id
            assert not {*expect.moved.values(), *expect.copied.values()} & there, case.id
            assert not {*expect.folders} & folders, case.id
            assert {share.path for share in expect.shares or []} <= there | folders, case.id
            assert {text for text in expect.files.values() if text.startswith("=")} <= versions, case.id
            told = " ".join(seeds[path].text.lower() for path in expect.of)
            assert all(any(word in told for word in row) for row in expect.facts), case.id


def done(expect: Expect, seeds: list[Seed], start: State) -> tuple[State, Answered]:
    """What `expect` asks for, brought about by hand."""
    texts = {f"={seed.path}": seed.text for seed in seeds}
    texts |= {f"={s.path}@{n}": text for s in seeds for n, (_, text) in enumerate(s.versions(), 1)}
    texts["facts"] = " ".join(row[0] for row in expect.facts)
    end = State(dict(start.files), start.folders | set(expect.folders), list(start.shares))
    for old, new in expect.copied.items():
        end.files[new] = end.files[old]
    rows = expect.clusters or ([expect.together.files] if expect.together else [])
    homes = {path: f"/home-{n}/{path.rpartition('/')[2]}" for n, row in enumerate(rows) for path in row}
    for old, new in (expect.moved | homes).items():
        end.files[new] = end.files.pop(old)
    for path in expect.gone:
        del end.files[path]
    for path, text in expect.files.items():
        end.files[path] = texts.get(text, text.removeprefix("has:").replace(";", "\n"))
    if expect.shares is not None:
        end.shares = [(s.path, sum(s.hours or (2, 2)) / 2, bool(s.password)) for s in expect.shares]
    answer = Answered(
        texts["facts"] or str(expect.number),
        tuple(expect.paths or []),
        tuple(map(tuple, expect.groups or [])),
        {share.path: share.password for share in expect.shares or []},
    )
    return end, answer


@pytest.mark.parametrize("part", commands.PARTS)
async def test_each_command_is_right_when_done_and_wrong_when_not(part: str, tmp_path: Path):
    now, trees = commands.trees()
    clock = Clock(now.timestamp())
    starts: dict[str, State] = {}
    async with StorageManager(tmp_path, clock=clock) as storage:
        for name, seeds in trees.items():
            await commands.plant(storage, name, seeds, clock)
            starts[name] = await commands.state(storage, name, clock.now)
    for case in commands.cases(part):
        seeds, start = trees[case.tree], starts[case.tree]
        assert commands.wrong(case, seeds, start, start, Answered()), case.id
        for expect in case.expect:
            one = msgspec.structs.replace(case, expect=[expect])
            assert not commands.wrong(one, seeds, start, *done(expect, seeds, start)), case.id


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
