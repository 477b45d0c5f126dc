"""What agents ask for by default: to delete, to put something else in the place of what is there."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import pytest
from tests.kernels import settings, until

from aios.access.approvals import Answer, Approval
from aios.errors import Conflict, Forbidden, NotFound
from aios.kernel.kernel import Kernel
from aios.kernel.process import KERNEL
from aios.syscalls import Call, Message, memory, storage
from aios.syscalls.tools import CallTool

pytestmark = pytest.mark.anyio
PLAIN = {"memory": {"thinking": "extract", "embedder": "none"}}


@pytest.fixture
async def kernel(tmp_path: Path) -> AsyncGenerator[Kernel]:
    async with Kernel(settings(tmp_path, **PLAIN)) as kernel:
        yield kernel


@pytest.fixture
def ann(kernel: Kernel) -> int:
    return kernel.processes.attach("ann")


async def question(kernel: Kernel) -> Approval:
    await until(lambda: kernel.guard.approvals.list("waiting"))
    (one,) = kernel.guard.approvals.list("waiting")
    return one


async def answered(kernel: Kernel, pid: int, call: Call[Any], answer: Answer) -> tuple[Approval, Any]:
    """The question that `call` asks, and what comes of it."""
    doing = asyncio.create_task(kernel.trap(pid, call))
    asked = await question(kernel)
    await kernel.guard.answer(kernel.processes.get(KERNEL), asked.id, answer, "so it is")
    return asked, (await asyncio.wait([doing]) and doing)


async def text(kernel: Kernel, pid: int, path: str) -> str:
    return (await kernel.trap(pid, storage.ReadFile(path=path))).data.decode()


async def test_a_new_file_more_of_it_and_the_same_again_ask_nobody(kernel: Kernel, ann: int) -> None:
    for call in (
        storage.WriteFile(path="/a", text="one\n"),
        storage.WriteFile(path="/a", text="one\n"),
        storage.AppendFile(path="/a", text="two\n"),
        storage.Describe(path="/a", tags=("t",)),
        storage.Copy(path="/a", to="/b"),
        storage.Move(path="/b", to="/c"),
        storage.TruncateFile(path="/a", size=8),
    ):
        await kernel.trap(ann, call)
    assert not kernel.guard.approvals.list()


async def test_other_content_asks_and_shows_the_difference(kernel: Kernel, ann: int) -> None:
    await kernel.trap(ann, storage.WriteFile(path="/a", text="one\ntwo\n"))
    asked, done = await answered(kernel, ann, storage.WriteFile(path="/a", text="one\n2\n"), "once")
    assert (asked.rule, asked.action, asked.resource) == ("overwrite", "storage.write", "file:/a")
    assert asked.diff.endswith(" one\n-two\n+2\n")
    assert json.loads(asked.arguments)["seen"] == {"/a": done.result().version - 1}
    assert await text(kernel, ann, "/a") == "one\n2\n"
    _, refused = await answered(kernel, ann, storage.WriteFile(path="/a", text="three"), "deny")
    with pytest.raises(Forbidden, match="so it is"):
        refused.result()
    assert await text(kernel, ann, "/a") == "one\n2\n"


FILES = (
    (storage.TruncateFile(path="/a", size=1), "overwrite", "-old\n"),
    (storage.Move(path="/b", to="/a", replace=True), "overwrite", "-old\n"),
    (storage.Copy(path="/b", to="/a", replace=True), "overwrite", "-old\n"),
    (storage.Rollback(path="/a", steps=1), "overwrite", "-old\n+older\n"),
    (storage.RestoreSnapshot(snapshot="s"), "delete", "/late: to the bin"),
    (storage.DeleteFile(path="/a"), "delete", "-old\n"),
    (storage.DeleteFile(path="/f", recursive=True), "delete", "- /f/\n- /f/x"),
    (storage.Purge(), "irreversible", "/gone"),
)


@pytest.mark.parametrize(("call", "rule", "shown"), FILES, ids=lambda each: type(each).__name__)
async def test_files(kernel: Kernel, ann: int, call: Call[Any], rule: str, shown: str) -> None:
    admin = kernel.processes.attach("root", group="admin")
    for pid in (ann, admin):
        await kernel.trap(pid, storage.WriteFile(path="/a", text="older\n"))
        await kernel.trap(pid, storage.WriteFile(path="/gone", text="x"))
    for setup in (
        storage.WriteFile(path="/a", text="old\n"),
        storage.WriteFile(path="/b", text="new\n"),
        storage.WriteFile(path="/f/x", text="x"),
        storage.DeleteFile(path="/gone"),
        storage.TakeSnapshot(name="s"),
        storage.WriteFile(path="/late", text="x"),
    ):
        await kernel.trap(admin, setup)  # an admin is not asked
        if isinstance(setup, storage.DeleteFile) or setup == storage.WriteFile(path="/a", text="old\n"):
            _, done = await answered(kernel, ann, setup, "once")
            done.result()
        else:
            await kernel.trap(ann, setup)
    await kernel.trap(admin, call)
    asked, done = await answered(kernel, ann, call, "once")
    assert asked.rule == rule
    assert shown in asked.diff
    done.result()


async def test_memory(kernel: Kernel, ann: int) -> None:
    kept = await kernel.trap(ann, memory.Alloc(text="old"))
    note = await kernel.trap(ann, memory.AddNote(content="old"))
    await kernel.trap(ann, memory.MakeBlock(name="me", text="old"))
    said = (Message(role="user", content="old"),)
    talk = await kernel.trap(ann, memory.SaveConversation(messages=said))
    for harmless in (
        memory.Write(id=kept.id, text="old"),
        memory.Update(id=kept.id, append=b"er", tags=("t",)),
        memory.ReviseNote(id=note.id, tags=("t",)),
        memory.EditBlock(block="me", action="append", text="more"),
        memory.SaveConversation(id=talk.id, messages=(*said, Message(role="user", content="more"))),
    ):
        await kernel.trap(ann, harmless)
    assert not kernel.guard.approvals.list()
    for call, rule, shown in (
        (memory.Write(id=kept.id, text="new"), "overwrite", "-older\n"),
        (memory.ReviseNote(id=note.id, content="new"), "overwrite", "-old\n"),
        (memory.EditBlock(block="me", action="replace", old="old", text="new"), "overwrite", "-old\n+new\n"),
        (memory.EditBlock(block="me", action="set", text=""), "overwrite", "-new\n"),
        (memory.SaveConversation(id=talk.id, messages=said), "overwrite", "-"),
        (memory.Delete(id=kept.id), "irreversible", "-new\n"),
        (memory.Clear(), "irreversible", note.id),
    ):
        asked, done = await answered(kernel, ann, call, "once")
        assert asked.rule == rule
        assert shown in asked.diff
        done.result()


async def test_built_in_tools_are_the_same_calls(kernel: Kernel, ann: int) -> None:
    await kernel.trap(ann, storage.WriteFile(path="/a", text="old"))
    for call, rule in (
        (CallTool(name="write_file", arguments={"path": "/a", "text": "new"}), "overwrite"),
        (CallTool(name="delete_file", arguments={"path": "/a"}), "delete"),
    ):
        asked, done = await answered(kernel, ann, call, "once")
        assert asked.rule == rule
        done.result()
    with pytest.raises(NotFound):
        await text(kernel, ann, "/a")


async def test_what_came_in_between_is_asked_about_anew(kernel: Kernel, ann: int) -> None:
    """An approval is for what was shown. A file that others changed meanwhile is another one."""
    await kernel.trap(ann, storage.WriteFile(path="/a", text="one"))
    doing = asyncio.create_task(kernel.trap(ann, storage.WriteFile(path="/a", text="three")))
    first = await question(kernel)
    await kernel.trap(ann, storage.AppendFile(path="/a", text="two"))
    await kernel.guard.answer(kernel.processes.get(KERNEL), first.id, "once")
    second = await question(kernel)
    assert second.digest != first.digest
    assert "-onetwo" in second.diff
    assert await text(kernel, ann, "/a") == "onetwo"
    await kernel.guard.answer(kernel.processes.get(KERNEL), second.id, "once")
    assert (await doing).size == len("three")


async def test_of_two_that_make_one_file_the_second_asks(kernel: Kernel, ann: int) -> None:
    calls = [storage.WriteFile(path="/new", text=f"by {n}") for n in range(2)]
    doing = [asyncio.create_task(kernel.trap(ann, call)) for call in calls]
    asked = await question(kernel)
    assert asked.rule == "overwrite"
    await until(lambda: sum(each.done() for each in doing) == 1)
    (made,) = [n for n, each in enumerate(doing) if each.done()]
    assert await text(kernel, ann, "/new") == f"by {made}"
    await kernel.guard.answer(kernel.processes.get(KERNEL), asked.id, "deny")
    with pytest.raises(Forbidden):
        await doing[1 - made]


async def test_a_call_with_a_key_that_was_done_asks_nobody(kernel: Kernel, ann: int) -> None:
    write = storage.WriteFile(path="/a", text="one", idempotency_key="k")
    first = await kernel.trap(ann, write)
    await kernel.trap(ann, storage.AppendFile(path="/a", text="two"))
    assert await kernel.trap(ann, write) == first
    await kernel.trap(ann, memory.MakeBlock(name="me", text="old"))
    edit = memory.EditBlock(block="me", action="replace", old="old", text="older", idempotency_key="k")
    asked, done = await answered(kernel, ann, edit, "once")
    assert done.result().text == "older"
    assert (await kernel.trap(ann, edit)).text == "older"
    assert [each.id for each in kernel.guard.approvals.list()] == [asked.id]


async def test_what_is_refused_anyway_asks_nobody(kernel: Kernel, ann: int) -> None:
    done = await kernel.trap(ann, storage.WriteFile(path="/a", text="one"))
    kept = await kernel.trap(ann, memory.Alloc(text="old"))
    for call in (
        storage.WriteFile(path="/a", text="two", expect=done.version + 1),
        storage.DeleteFile(path="/a", expect=done.version + 1),
        memory.Write(id=kept.id, text="new", expect=7),
    ):
        with pytest.raises(Conflict):
            await kernel.trap(ann, call)
    with pytest.raises(NotFound):
        await kernel.trap(ann, storage.DeleteFile(path="/none"))
    with pytest.raises(NotFound):
        await kernel.trap(ann, memory.Write(id="t_none", text="x"))
    assert not kernel.guard.approvals.list()


@pytest.mark.parametrize("word", ["delete", "overwrite", "irreversible"])
async def test_unattended_each_word_lets_its_rule_through(tmp_path: Path, word: str) -> None:
    calls: dict[str, Call[Any]] = {
        "overwrite": storage.WriteFile(path="/a", text="two"),
        "delete": storage.DeleteFile(path="/b"),
        "irreversible": storage.ForgetVersions(path="/a"),
    }
    async with Kernel(settings(tmp_path, access={"unattended": True, "yes_to": [word]})) as kernel:
        ann = kernel.processes.attach("ann")
        for path in ("/a", "/b"):
            await kernel.trap(ann, storage.WriteFile(path=path, text="one"))
        await kernel.trap(ann, calls.pop(word))
        for other, call in calls.items():
            with pytest.raises(Forbidden, match=f"--yes-to {other}"):
                await kernel.trap(ann, call)


async def test_a_word_that_is_taken_out_turns_its_rule_off(tmp_path: Path) -> None:
    access = {"ask": ["delete"], "unattended": True}
    async with Kernel(settings(tmp_path, access=access)) as kernel:
        ann = kernel.processes.attach("ann")
        for content in ("one", "two"):
            await kernel.trap(ann, storage.WriteFile(path="/a", text=content))
        await kernel.trap(ann, storage.Purge())  # the bin is empty: nothing to ask for
        for call in (storage.DeleteFile(path="/a"), storage.ForgetVersions(path="/a")):  # is to delete, too
            with pytest.raises(Forbidden, match="'delete'"):
                await kernel.trap(ann, call)
