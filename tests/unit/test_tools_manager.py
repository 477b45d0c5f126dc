import asyncio
import json
import os

import pytest

from aios.errors import Conflict, Draining, NotFound, ToolBusy, ToolError, ToolTimeout
from aios.syscalls import FunctionCall, ToolCall
from aios.syscalls.tools import Flags
from aios.tools.builtin.results import Results
from aios.tools.manager import ToolManager
from aios.tools.tool import Caller, Context, tool
from aios.tools.validate import Checker

pytestmark = pytest.mark.anyio


def call(name, arguments="{}", id="1"):
    return ToolCall(id=id, function=FunctionCall(name=name, arguments=arguments))


@pytest.fixture
def ann(tmp_path):
    return Caller(agent="ann", folder=str(tmp_path))


@pytest.fixture
async def tools():
    async with ToolManager(most_waiting=4, result_chars=50) as manager:
        yield manager


@tool(effect="pure", flags=Flags(sends_out=True), cost=0.5)
def add(a: int, context: Context, b: int = 2) -> dict[str, int]:
    """Add two numbers.

    a: the first
    """
    return {context.caller.agent: a + b}


async def test_a_function_becomes_a_tool(tools, ann):
    tools.add(add)
    shown = await tools.show("add")
    assert shown.description == "Add two numbers."
    assert shown.parameters["required"] == ["a"]
    assert set(shown.parameters["properties"]) == {"a", "b"}
    assert (shown.effect, shown.flags.sends_out, shown.cost, len(shown.digest)) == ("pure", True, 0.5, 64)
    result = await tools.call(call("add", '{"a": "3"}'), ann)
    assert (result.text, result.value, result.id, result.file) == ('{"ann":5}', {"ann": 5}, "1", "")


async def test_unknown_and_taken_names(tools, ann):
    tools.add(add)
    with pytest.raises(NotFound, match="'add'"):
        await tools.call(call("ad"), ann)
    with pytest.raises(Conflict):
        tools.add(add)
    await tools.remove("add")
    assert await tools.list() == ()
    with pytest.raises(NotFound):
        await tools.remove("add")


async def test_a_long_result_is_cut_and_kept_in_the_callers_folder(tools, ann):
    @tool
    def long() -> str:
        """Say much."""
        return "é" * 80

    tools.add(long)
    result = await tools.call(call("long"), ann)
    assert result.text.startswith("é" * 50 + "\n[cut after 50 of 80 characters")
    assert result.file in result.text
    assert (ann.work / result.file).read_text("utf-8") == "é" * 80
    assert result.value is None


async def test_what_was_cut_is_read_on_to_its_end_and_nothing_else_is(ann, tmp_path):
    @tool
    def long() -> str:
        """Say much, and a secret where it would be cut in two."""
        return "é" * 145 + "secret" + "x" * 300

    fresh = Caller(agent="bob", folder=str(tmp_path / "work" / "bob"))  # who never had a folder
    async with ToolManager(result_chars=150, clean=lambda text: text.replace("secret", "[]")) as tools:
        tools.add(long)
        for bound in Results(150).tools():
            tools.add(bound)
        cut = await tools.call(call("long"), fresh)
        read, start = cut.text.partition("\n[")[0], 150
        while True:
            arguments = json.dumps({"file": cut.file, "start": start})
            part = (await tools.call(call("read_result", arguments), fresh)).text
            text, _, note = part.partition("\n[to character ")
            read, start = read + text, start + len(text)
            if not note:
                break
            assert note == f"{start}; go on with start={start}]"
        assert read == "é" * 145 + "[]" + "x" * 300
        (tmp_path / "other").write_text("not yours")
        (fresh.work / "results" / "link").symlink_to(tmp_path / "other")
        os.mkfifo(fresh.work / "results" / "pipe")
        for file in ("../../other", "link", "pipe", "results", "", ".", "results/..", "a\0b"):
            with pytest.raises(ToolError, match="There is no result"):
                await tools.call(call("read_result", json.dumps({"file": file})), fresh)


async def test_a_trap_in_the_folder_of_results_is_not_stepped_into(tools, ann, tmp_path):
    @tool
    def long() -> str:
        """Say much."""
        return "x" * 80

    tools.add(long)
    outside = tmp_path.parent / "outside"
    outside.mkdir(exist_ok=True)
    (tmp_path / "results").symlink_to(outside)
    with pytest.raises(ToolError, match="can't be stored"):
        await tools.call(call("long"), ann)
    assert os.listdir(outside) == []


async def test_a_wrong_result_and_a_broken_tool_are_errors_of_the_tool(tools, ann):
    @tool(result={"type": "string"})
    def wrong() -> int:
        """Promise a text."""
        return 1

    @tool
    def broken() -> int:
        """Break."""
        raise RuntimeError("bug")

    tools.add(wrong)
    tools.add(broken)
    for name, words in (("wrong", "expected string"), ("broken", "broken: RuntimeError")):
        with pytest.raises(ToolError, match=words):
            await tools.call(call(name), ann)
    assert len(tools.running) == 0


class Gate:
    """A tool that runs until it is told to end."""

    def __init__(self):
        self.open, self.running, self.order = asyncio.Event(), 0, []

    def tool(self, **facts):
        @tool(**facts)
        async def gated(context: Context, key: str = "") -> str:
            """Wait."""
            self.running += 1
            self.order.append(context.caller.agent)
            try:
                await self.open.wait()
            finally:
                self.running -= 1
            return "done"

        return gated


async def settle():
    for _ in range(10):
        await asyncio.sleep(0)


async def test_a_full_tool_is_passed_over_and_agents_take_turns(tools, ann):
    gate = Gate()
    tools.add(gate.tool(concurrency=1))
    tools.add(add)
    bob = Caller(agent="bob", folder=ann.folder)
    async with asyncio.TaskGroup() as tasks:
        for caller in (ann, ann, ann, bob):
            tasks.create_task(tools.call(call("gated"), caller))
            await settle()
        assert (gate.running, tools.running.waiting) == (1, 3)
        assert (await tools.call(call("add", '{"a": 1}'), ann)).value == {"ann": 3}
        gate.open.set()
    assert gate.order == ["ann", "ann", "bob", "ann"]


async def test_broken_keys_are_an_error_of_the_tool(tools, ann):
    @tool(keys=lambda caller, arguments: frozenset({arguments["name"]}))
    def write(name: str = "a") -> str:
        """Write."""
        return name

    tools.add(write)
    with pytest.raises(ToolError, match="write is broken: its keys: KeyError"):
        await tools.call(call("write"), ann)
    assert (await tools.call(call("write", '{"name": "b"}'), ann)).value == "b"
    assert (len(tools.running), tools.running.waiting) == (0, 0)


async def test_calls_for_one_resource_run_one_by_one(tools, ann):
    gate = Gate()
    tools.add(gate.tool(keys=lambda caller, arguments: frozenset({arguments.get("key", "")})))
    async with asyncio.TaskGroup() as tasks:
        for key in ("x", "x", "y"):
            tasks.create_task(tools.call(call("gated", f'{{"key": "{key}"}}'), ann))
        await settle()
        assert gate.running == 2
        gate.open.set()
    assert len(tools.running) == 0


async def test_too_many_waiting_are_refused_and_the_cancelled_leave_nothing(tools, ann):
    gate = Gate()
    tools.add(gate.tool(concurrency=1))
    calls = [asyncio.ensure_future(tools.call(call("gated"), ann)) for _ in range(5)]
    await settle()
    with pytest.raises(ToolBusy):
        await tools.call(call("gated"), ann)
    for one in calls:
        one.cancel()
    await asyncio.gather(*calls, return_exceptions=True)
    assert (len(tools.running), tools.running.waiting, gate.running) == (0, 0, 0)


async def test_a_tool_that_takes_too_long_is_stopped(tools, ann):
    gate = Gate()
    tools.add(gate.tool(timeout_s=0.01))
    with pytest.raises(ToolTimeout, match=r"0.01 s"):
        await tools.call(call("gated"), ann)
    assert (gate.running, len(tools.running)) == (0, 0)


async def test_a_rate_lets_calls_through_in_time(tools, ann):
    @tool(calls_per_min=6000)
    def quick() -> int:
        """Be quick."""
        return 1

    tools.add(quick)
    for _ in range(25):
        results = await asyncio.gather(*(tools.call(call("quick"), ann) for _ in range(4)))
        assert [result.value for result in results] == [1] * 4


async def test_who_waits_when_the_manager_closes_is_told(ann):
    gate = Gate()
    async with ToolManager() as tools:
        tools.add(gate.tool(concurrency=1))
        first, second = (asyncio.ensure_future(tools.call(call("gated"), ann)) for _ in range(2))
        await settle()
    with pytest.raises(Draining):
        await second
    with pytest.raises(Draining):
        await tools.call(call("gated"), ann)
    gate.open.set()
    assert (await first).text == "done"


def test_schemas_of_the_built_in_tools_are_schemas():
    from aios.tools.builtin import builtin_tools

    bound = builtin_tools(hosts=("example.org",))
    assert {b.tool.name for b in bound} == {
        "calculator", "clock", "python", "shell", "text_search", "sql", "table", "http_fetch", "web_page",
        "read_result",
    }  # fmt: skip
    for b in bound:
        Checker(b.tool.parameters)
        assert b.tool.description
        assert all("description" in p or "default" in p for p in b.tool.parameters["properties"].values()), (
            b.tool
        )
