"""Plain language with a scripted planner: from a plan to the tree, what is asked for, and the way back."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from aios.bench.commands import Clock, Direct, Seed, State, plant, state
from aios.errors import BadRequest, NotFound, VersionConflict
from aios.sdk.plain.interpreter import Outcome, PlainLanguage, Prepared
from aios.sdk.plain.plan import (
    AnyStep,
    Append,
    Copy,
    Count,
    Delete,
    Find,
    Folder,
    Group,
    Move,
    Rollback,
    Share,
    Shares,
    Summarise,
    Undelete,
    Unshare,
    Write,
    encoded,
)  # fmt: skip
from aios.sdk.requests import MessageLike
from aios.storage.manager import StorageManager
from aios.syscalls import Choice, Completion

pytestmark = pytest.mark.anyio
NOW = datetime(2026, 3, 18, 10, tzinfo=UTC)
SEEDS = [
    Seed("/notes/caching.md", 10, "The cache is warm.", tags=["infra"]),
    Seed("/notes/stale-cache.md", 3, "Stale entries are dropped.", tags=["infra"]),
    Seed("/notes/hiring.md", 1, "Two engineers.", tags=["people"]),
    Seed("/todo.txt", 1, "- third", before=[{"days": 9, "text": "- first"}, {"days": 3, "text": "- second"}]),
    Seed("/letters/aunt.txt", 5, "Dear aunt", binned=True),
    Seed("/plan.csv", 1, "a,b", shared=True),
]


class Scripted:
    """A model that says what it is told to. `asked`: what it was shown."""

    def __init__(self, *answers: Sequence[AnyStep] | str) -> None:
        self._answers = [answer if isinstance(answer, str) else encoded(answer) for answer in answers]
        self.asked: list[Sequence[MessageLike]] = []

    async def chat(self, messages: Sequence[MessageLike], **options: Any) -> Completion:
        self.asked.append(messages)
        choice = Choice(content=self._answers.pop(0))
        return Completion(id="1", model="scripted", created=0, choices=(choice,))


class Desk:
    """A planted tree, and commands to it."""

    def __init__(self, storage: StorageManager, clock: Clock) -> None:
        self.storage, self.clock = storage, clock
        self.kernel = Direct(storage, "ann", clock)

    def plain(self, *answers: Sequence[AnyStep] | str) -> PlainLanguage:
        return PlainLanguage(self.kernel, Scripted(*answers), now=lambda: NOW)

    async def prepared(self, command: str, *steps: AnyStep) -> Prepared:
        return await self.plain(steps).prepare(command)

    async def do(self, command: str, *steps: AnyStep, told: Sequence[str] = ()) -> Outcome:
        plain = self.plain(steps, *told)
        return await plain.run(await plain.prepare(command))

    async def undo(self) -> None:
        await self.plain().undo()

    async def state(self) -> State:
        return await state(self.storage, "ann", self.clock.now)


@pytest.fixture
async def desk(tmp_path: Path) -> AsyncGenerator[Desk]:
    clock = Clock(NOW.timestamp())
    async with StorageManager(tmp_path, clock=clock) as storage:
        await plant(storage, "ann", SEEDS, clock)
        await storage.search.settled()
        yield Desk(storage, clock)


# -- answers ----------------------------------------------------------------------------------------


async def test_files_are_found_by_words_tags_and_times(desk: Desk):
    both = ("/notes/caching.md", "/notes/stale-cache.md")
    assert (await desk.do("find the notes about caching", Find("the notes about caching"))).paths == both
    assert (await desk.do("all tagged infra", Find("all tagged infra"))).paths == both
    assert (await desk.do("how many notes", Count("notes"))).text == "3 files"
    found = await desk.do("which notes did I change yesterday?", Find("notes"))
    assert found.paths == ("/notes/hiring.md",)  # the time is in the rest of the command


async def test_summaries_are_of_each_file_and_may_be_kept(desk: Desk):
    steps = (Summarise("the notes about caching", "short.md"),)
    outcome = await desk.do(
        "sum up the notes about caching in short.md", *steps, told=["It is warm.", "Dropped."]
    )
    assert outcome.text == "caching.md: It is warm.\nstale-cache.md: Dropped."
    assert (await desk.state()).files["/short.md"] == outcome.text + "\n"


async def test_groups_are_shown_or_made(desk: Desk):
    shown = await desk.do("show the notes by tag", Group("the notes", "tag", 0, False))
    assert [label for label, _ in shown.groups] == ["infra", "people"]
    await desk.do("sort the notes into folders by tag", Group("the notes", "tag", 0, True))
    assert {"/notes/infra/caching.md", "/notes/people/hiring.md"} <= (await desk.state()).files.keys()


async def test_what_is_shared_is_told(desk: Desk):
    assert (await desk.do("what is shared?", Shares())).paths == ("/plan.csv",)


# -- changes ----------------------------------------------------------------------------------------


async def test_a_step_can_speak_of_the_one_before(desk: Desk):
    await desk.do(
        "find the notes about caching and put them in one folder",
        Find("the notes about caching"), Move("them", "one folder"),
    )  # fmt: skip
    files = (await desk.state()).files
    assert {"/notes/caching/caching.md", "/notes/caching/stale-cache.md"} <= files.keys()


async def test_files_are_written_appended_and_named(desk: Desk):
    await desk.do("write 'hi' to notes/new.md", Write("notes/new.md", "hi"))
    await desk.do("add milk to the todo", Append("the todo", "milk"))
    await desk.do("rename plan.csv to table.csv", Move("plan.csv", "table.csv"))
    await desk.do("copy todo.txt to backup", Copy("todo.txt", "backup"))
    await desk.do("make folders red and blue in notes", Folder("red and blue in notes"))
    now = await desk.state()
    assert now.files["/notes/new.md"] == "hi"
    assert now.files["/todo.txt"] == now.files["/backup/todo.txt"] == "- third\nmilk\n"
    assert "/table.csv" in now.files
    assert {"/notes/red", "/notes/blue"} <= now.folders


@pytest.mark.parametrize(
    ("when", "text"), [("", "- second"), ("the first version", "- first"), ("4 days ago", "- first")]
)
async def test_old_versions_come_back(desk: Desk, when: str, text: str):
    await desk.do(f"roll back the todo {when}", Rollback("the todo", when))
    assert (await desk.state()).files["/todo.txt"] == text


async def test_what_is_in_the_bin_comes_back_whatever_the_verb(desk: Desk):
    await desk.do("restore the letter to my aunt", Rollback("the letter to my aunt"))
    assert (await desk.state()).files["/letters/aunt.txt"] == "Dear aunt"
    await desk.do("undelete todo.txt", Undelete("todo.txt"))  # it is there: its last version is meant
    assert (await desk.state()).files["/todo.txt"] == "- second"


async def test_links_are_made_and_taken_back(desk: Desk):
    await desk.do("share the notes folder until friday", Share("the notes folder", "until friday"))
    assert [(path, hours) for path, hours, _ in (await desk.state()).shares] == [
        ("/plan.csv", 24),
        ("/notes", 62),
    ]
    await desk.do("stop all links", Unshare("all links"))
    assert not (await desk.state()).shares


async def test_a_password_counts_only_if_it_was_said(desk: Desk):
    await desk.do("share plan.csv", Share("plan.csv", "", "plan.csv"))
    assert [password for _, _, password in (await desk.state()).shares] == [False, False]


# -- what is asked for ------------------------------------------------------------------------------

ASKED: list[tuple[str, AnyStep]] = [
    ("delete plan.csv", Delete("plan.csv")),
    ("overwrite plan.csv with x", Write("plan.csv", "x")),
    ("roll back todo.txt", Rollback("todo.txt")),
    ("share todo.txt", Share("todo.txt")),
    ("stop sharing plan.csv", Unshare("plan.csv")),
    ("sum up the todo in plan.csv", Summarise("the todo", "plan.csv")),
]
FREE: list[tuple[str, AnyStep]] = [
    ("find plan.csv", Find("plan.csv")),
    ("write x to new.txt", Write("new.txt", "x")),
    ("add x to todo.txt", Append("todo.txt", "x")),
    ("move todo.txt to notes", Move("todo.txt", "notes")),
    ("copy todo.txt to notes", Copy("todo.txt", "notes")),
    ("get the letter back", Undelete("the letter to aunt")),
]


@pytest.mark.parametrize(("command", "step"), ASKED)
async def test_what_destroys_is_asked_for(desk: Desk, command: str, step: AnyStep):
    before = await desk.state()
    assert (await desk.prepared(command, step)).program.destroys
    assert await desk.state() == before


@pytest.mark.parametrize(("command", "step"), FREE)
async def test_what_does_not_is_not(desk: Desk, command: str, step: AnyStep):
    assert not (await desk.prepared(command, step)).program.destroys


# -- the way back -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("command", "step"),
    [*(each for each in ASKED if not isinstance(each[1], Unshare | Summarise)), *FREE,
     ("sort the notes by tag into folders", Group("the notes", "tag", 0, True))],
)  # fmt: skip
async def test_every_change_is_taken_back(desk: Desk, command: str, step: AnyStep):
    before = await desk.state()
    await desk.do(command, step)
    if await desk.state() != before:
        await desk.undo()
    assert await desk.state() == before


async def test_commands_are_taken_back_one_by_one_the_last_first(desk: Desk):
    before = await desk.state()
    await desk.do("write x to a.txt", Write("a.txt", "x"))
    await desk.do("move a.txt to notes", Move("a.txt", "notes"))
    await desk.undo()
    assert "/a.txt" in (await desk.state()).files
    await desk.undo()
    assert await desk.state() == before
    with pytest.raises(NotFound):
        await desk.undo()


async def test_a_file_that_was_changed_twice_is_taken_back(desk: Desk):
    before = await desk.state()
    await desk.do(
        "write x to a.txt, add y to a.txt, add z to todo.txt, roll todo.txt back",
        Write("a.txt", "x"), Write("a.txt", "y"),
        Append("todo.txt", "z"), Rollback("todo.txt", "first version"),
    )  # fmt: skip
    assert (await desk.state()).files["/a.txt"] == "y"
    await desk.undo()
    assert await desk.state() == before


async def test_what_somebody_changed_since_is_not_taken_back(desk: Desk):
    await desk.do("add x to todo.txt", Append("todo.txt", "x"))
    await desk.storage.files.write("ann", "/todo.txt", b"mine")
    with pytest.raises(VersionConflict):
        await desk.undo()
    assert (await desk.state()).files["/todo.txt"] == "mine"


async def test_a_command_that_fails_half_way_leaves_nothing(desk: Desk):
    before = await desk.state()
    plain = desk.plain((Folder("x"), Append("todo.txt", "y"), Move("plan.csv", "x")))
    prepared = await plain.prepare("make x, add y to todo.txt and move plan.csv to x")
    await desk.storage.files.delete("ann", "/plan.csv")
    with pytest.raises(NotFound):
        await plain.run(prepared)
    now = await desk.state()
    assert now.files == {path: text for path, text in before.files.items() if path != "/plan.csv"}
    assert now.folders == before.folders


# -- when a plan can't be done ----------------------------------------------------------------------


async def test_the_model_is_told_once_what_is_wrong(desk: Desk):
    model = Scripted((Find("zebra.md"),), (Find("plan.csv"),))
    prepared = await PlainLanguage(desk.kernel, model, now=lambda: NOW).prepare("find zebra.md or plan.csv")
    assert prepared.rounds == 2
    assert "There is no zebra.md" in str(model.asked[1][-1])
    with pytest.raises(NotFound):
        await desk.plain((Find("zebra.md"),), (Find("zebra.md"),)).prepare("find zebra.md")


async def test_what_is_no_plan_is_a_bad_request(desk: Desk):
    with pytest.raises(BadRequest):
        await desk.plain("nonsense", "[]").prepare("do something")
    with pytest.raises(BadRequest):
        await desk.plain().prepare("  ")


# -- what a model leaves out or says too much --------------------------------------------------------


async def test_them_may_be_named_by_the_clause_before(desk: Desk):
    await desk.do("find the notes about caching and put them in old", Move("them", "old"))
    assert {"/old/caching.md", "/old/stale-cache.md"} <= desk_files(await desk.state())


async def test_the_oldest_is_one_of_those_before(desk: Desk):
    found = await desk.prepared(
        "show what is tagged infra and delete the oldest", Find("infra"), Delete("the oldest")
    )
    assert found.program.destroys == ("deletes /notes/caching.md",)


async def test_of_files_in_a_row_all_are_meant(desk: Desk):
    await desk.do("delete plan.csv and todo.txt", Delete("plan.csv"))
    assert not {"/plan.csv", "/todo.txt"} & desk_files(await desk.state())
    found = await desk.do(
        "find the hiring note and the stale cache", Find("the hiring note and the stale cache")
    )
    assert found.paths == ("/notes/hiring.md", "/notes/stale-cache.md")


async def test_a_file_has_only_a_text_that_was_said(desk: Desk):
    command = "please start an empty file outline.md in my notes"
    await desk.do(command, Write("my notes", command))
    assert (await desk.state()).files["/notes/outline.md"] == ""


async def test_a_summary_goes_where_the_command_says(desk: Desk):
    step = Summarise("the hiring note in /notes/short.md")
    await desk.do("gist of the hiring note in /notes/short.md", step, told=["Two."])
    assert (await desk.state()).files["/notes/short.md"] == "Two.\n"


async def test_a_file_that_is_read_is_not_written(desk: Desk):
    step = Summarise("hiring.md", "read hiring.md")
    found = await desk.prepared("read hiring.md and give me a summary", step)
    assert found.program.destroys == ()


async def test_a_summary_of_what_is_in_a_file_is_not_written_to_it(desk: Desk):
    command = "the main points in hiring.md"
    assert (await desk.prepared(command, Summarise("in hiring.md"))).program.destroys == ()


async def test_a_folder_is_copied_to_a_name_and_a_file_moved_to_a_folder(desk: Desk):
    await desk.do("copy the notes folder as spare", Copy("the notes folder", "spare"))
    await desk.do("move the file called plan.csv to tables", Move("plan.csv", "tables"))
    assert {"/spare/hiring.md", "/tables/plan.csv"} <= desk_files(await desk.state())


async def test_groups_are_as_the_command_says(desk: Desk):
    shown = await desk.do("group the files in notes by tag", Group("the files", "topic", 0, False))
    assert [label for label, _ in shown.groups] == ["infra", "people"]
    shown = await desk.do("show what is in notes on the same tag", Group("the same tag", "tag", 0, False))
    assert [label for label, _ in shown.groups] == ["infra", "people"]


def desk_files(state: State) -> set[str]:
    return set(state.files)
