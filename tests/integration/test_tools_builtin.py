"""The built-in tools through the manager, in real boxes."""

import asyncio
import json
import sqlite3

import pytest

from aios.errors import SandboxUnavailable, ToolError
from aios.syscalls import FunctionCall, ToolCall
from aios.syscalls.tools import Profile
from aios.tools.builtin import builtin_tools
from aios.tools.manager import ToolManager
from aios.tools.sandbox.chain import find
from aios.tools.tool import Caller

pytestmark = pytest.mark.anyio


@pytest.fixture(scope="module", autouse=True)
def sandbox():
    try:
        asyncio.run(find())
    except SandboxUnavailable as error:
        pytest.skip(str(error))


@pytest.fixture
async def tools():
    async with ToolManager() as manager:
        for bound in builtin_tools(profile=Profile(wall_s=2.0)):
            manager.add(bound)
        yield manager


@pytest.fixture
def ann(tmp_path):
    (tmp_path / "ann").mkdir()
    return Caller(agent="ann", folder=str(tmp_path / "ann"))


async def use(tools, caller, name, /, **arguments):
    call = ToolCall(id="1", function=FunctionCall(name=name, arguments=json.dumps(arguments)))
    return json.loads((await tools.call(call, caller)).text)


async def test_python_with_a_session_and_a_limit(tools, ann):
    assert (await use(tools, ann, "python", code="6 * 7"))["stdout"] == "42\n"
    first = await use(tools, ann, "python", code="x = 1", session=True)
    assert "new" in first["note"]
    again = await use(tools, ann, "python", code="x + 1", session=True)
    assert (again["stdout"], "note" in again and again["note"]) == ("2\n", False)
    late = await use(tools, ann, "python", code="import time; time.sleep(9)")
    assert late["stopped"] == "wall"
    assert "longer than 2 s" in late["note"]


async def test_the_shell_and_files_in_and_out(tools, ann):
    done = await use(tools, ann, "shell", command="cat > a.txt; wc -c a.txt; exit 2", stdin="hello")
    assert (done["status"], done["stdout"]) == (2, "5 a.txt\n")
    assert (ann.work / "a.txt").read_text() == "hello"
    assert (await use(tools, ann, "python", code="open('a.txt').read()"))["stdout"] == "'hello'\n"


async def test_agents_do_not_share_a_box(tools, ann, tmp_path):
    bob = Caller(agent="bob", folder=str(tmp_path / "bob"))
    await use(tools, ann, "python", code="x = 1; open('/tmp/mine', 'w').write('x')", session=True)
    seen = await use(tools, bob, "python", code="import os; 'x' in globals(), os.path.exists('/tmp/mine')")
    assert seen["stdout"] == "(False, False)\n"
    there = await use(tools, bob, "shell", command=f"ls {ann.folder}; ls /work")
    assert "stdout" not in there


async def test_two_calls_of_one_agent_take_turns_in_its_box(tools, ann):
    calls = [use(tools, ann, "python", code=f"{n}") for n in range(4)]
    assert [done["stdout"] for done in await asyncio.gather(*calls)] == [f"{n}\n" for n in range(4)]


async def test_a_cancelled_call_ends_in_the_box_and_the_next_one_works(tools, ann):
    running = asyncio.ensure_future(use(tools, ann, "shell", command="touch began; sleep 60"))
    while not (ann.work / "began").exists():
        await asyncio.sleep(0.01)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert len(tools.running) == 0
    assert (await use(tools, ann, "shell", command="echo back"))["stdout"] == "back\n"


async def test_text_search(tools, ann):
    await use(tools, ann, "shell", command="mkdir d; printf 'One\\ntwo one\\n' > d/a.md; printf one > b.txt")
    found = await use(tools, ann, "text_search", pattern="ONE", glob="*.md")
    assert [(hit["file"], hit["line"]) for hit in found["hits"]] == [("d/a.md", 1), ("d/a.md", 2)]
    found = await use(tools, ann, "text_search", pattern="^one$", regex=True, limit=1)
    assert (found["matches"], len(found["hits"])) == (2, 1)
    with pytest.raises(ToolError, match="No regular expression"):
        await use(tools, ann, "text_search", pattern="(", regex=True)
    await use(tools, ann, "python", code="open('r', 'w').write('a' * 40)")
    with pytest.raises(ToolError, match=r"stopped"):
        await use(tools, ann, "text_search", pattern=r"(a+)+$b", regex=True, glob="r")


async def test_a_link_out_of_the_folder_leads_nowhere(tools, ann, tmp_path):
    (tmp_path / "secret.csv").write_text("a\n1\n")
    await use(tools, ann, "shell", command=f"ln -s {tmp_path}/secret.csv s.csv; ln -s / root")
    with pytest.raises(ToolError, match="can't be read"):
        await use(tools, ann, "table", file="s.csv")
    assert (await use(tools, ann, "text_search", pattern="root:x", folder="root/etc"))["matches"] <= 2


async def test_sql_reads_only_unless_told_to_write(tools, ann):
    with pytest.raises(ToolError, match="no file"):
        await use(tools, ann, "sql", database="d.db", query="select 1")
    await use(tools, ann, "sql", database="d.db", query="create table t (a, b)", write=True)
    insert = "insert into t values (?, ?), (3, x'00')"
    done = await use(tools, ann, "sql", database="d.db", query=insert, parameters=[1, "two"], write=True)
    assert done["changed"] == 2
    read = await use(tools, ann, "sql", database="d.db", query="select * from t", limit=1)
    assert (read["columns"], read["rows"], read["more"]) == (["a", "b"], [[1, "two"]], True)
    with pytest.raises(ToolError, match=r"readonly.*write to true"):
        await use(tools, ann, "sql", database="d.db", query="delete from t")
    assert sqlite3.connect(ann.work / "d.db").execute("select count(*) from t").fetchone() == (2,)


CSV = "name;team;points\nann;red;3\nbob;blue;4.5\ncid;red;\ndan;blue;10\n"


@pytest.mark.parametrize(
    ("asked", "rows"),
    [
        (
            {"where": [{"column": "points", "op": ">", "value": 3}], "select": ["name"]},
            [{"name": "bob"}, {"name": "dan"}],
        ),
        (
            {
                "group_by": ["team"],
                "aggregate": [{"op": "sum", "column": "points"}, {"op": "count"}],
                "order_by": "team",
            },
            [{"team": "blue", "sum(points)": 14.5, "count": 2}, {"team": "red", "sum(points)": 3, "count": 2}],
        ),
        ({"aggregate": {"op": "max", "column": "points"}}, [{"max(points)": 10}]),
        (
            {"where": [{"column": "name", "op": "in", "value": ["ann", "cid"]}], "select": ["team"]},
            [{"team": "red"}] * 2,
        ),
        ({"order_by": "name", "descending": True, "limit": 1, "select": ["name"]}, [{"name": "dan"}]),
    ],
)
async def test_tables(tools, ann, asked, rows):
    await use(tools, ann, "shell", command="cat > t.csv", stdin=CSV)
    assert (await use(tools, ann, "table", file="t.csv", **asked))["rows"] == rows


async def test_tables_in_json_and_their_errors(tools, ann):
    await use(tools, ann, "shell", command="cat > t.jsonl", stdin='{"a": 1}\n{"a": 2, "b": "x"}\n')
    assert (await use(tools, ann, "table", file="t.jsonl"))["columns"] == ["a", "b"]
    with pytest.raises(ToolError, match=r"no column 'c'.*a, b"):
        await use(tools, ann, "table", file="t.jsonl", select=["c"])
    with pytest.raises(ToolError, match=r"where\.0"):
        await use(tools, ann, "table", file="t.jsonl", where=[{"column": "a", "op": "like", "value": 1}])


async def test_the_clock(tools, ann):
    assert (await use(tools, ann, "clock", zone="Asia/Tokyo"))["iso"].endswith("+09:00")
    with pytest.raises(ToolError, match="no time zone"):
        await use(tools, ann, "clock", zone="Mars/Olympus")


async def test_without_a_sandbox_nothing_runs(ann):
    async def none():
        raise SandboxUnavailable("Nothing isolates here.", "Use Linux.")

    async with ToolManager(sandbox=none) as tools:
        for bound in builtin_tools():
            tools.add(bound)
        with pytest.raises(SandboxUnavailable, match="Nothing isolates"):
            await use(tools, ann, "python", code="1")
        assert await use(tools, ann, "calculator", expression="1 + 1") == 2
