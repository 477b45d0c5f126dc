import asyncio
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from aios.syscalls.tools import Profile
from aios.tools.sandbox.boxes import Boxes
from aios.tools.sandbox.profile import Outcome, Run

pytestmark = pytest.mark.anyio


class FakeBox:
    def __init__(self, sandbox, work):
        self.sandbox, self.work, self.closed = sandbox, work, False

    async def run(self, run):
        await asyncio.sleep(0)
        self.closed = run.code == "die"
        return Outcome(status=0, stdout=str(self.work.name).encode())

    async def close(self):
        self.closed = True
        self.sandbox.closed.append(self.work.name)


class FakeSandbox:
    def __init__(self):
        self.opened, self.closed = [], []

    async def open(self, work: Path, profile: Profile):
        self.opened.append(work.name)
        return FakeBox(self, work)

    async def find(self):
        return self


@pytest.fixture
def sandbox():
    return FakeSandbox()


@asynccontextmanager
async def opened(find, **limits):
    boxes = Boxes(find, **limits)
    async with asyncio.TaskGroup() as tasks:
        boxes.start(tasks)
        yield boxes
        await boxes.close_all()


async def run(boxes, tmp_path, owner, code="1", profile=None):
    return await boxes.run(owner, tmp_path / owner, Run(code=code), profile or Profile())


async def test_a_box_is_used_again_by_its_owner_alone(sandbox, tmp_path):
    async with opened(sandbox.find) as boxes:
        for owner in ("a", "b", "a"):
            assert (await run(boxes, tmp_path, owner)).stdout.decode() == owner
        await boxes.run("thief", tmp_path / "a", Run(code="1"), Profile())
        await run(boxes, tmp_path, "a", profile=Profile(cpu_s=1))
        assert sandbox.opened == ["a", "b", "a", "a"]
    assert sorted(sandbox.closed) == ["a", "a", "a", "b"]


async def test_at_most_so_many_the_longest_unused_goes(sandbox, tmp_path):
    async with opened(sandbox.find, most=2) as boxes:
        for owner in ("a", "b", "a", "c"):
            await run(boxes, tmp_path, owner)
        assert (len(boxes), sandbox.closed) == (2, ["b"])
        await asyncio.gather(*(run(boxes, tmp_path, f"agent{n}") for n in range(6)))
        assert len(boxes) <= 2


async def test_a_box_that_ended_is_replaced_and_an_idle_one_ends(sandbox, tmp_path):
    async with opened(sandbox.find, idle_s=0.01) as boxes:
        await run(boxes, tmp_path, "a", "die")
        await run(boxes, tmp_path, "a")
        assert sandbox.opened == ["a", "a"]
        while len(boxes):
            await asyncio.sleep(0.005)
        await run(boxes, tmp_path, "b")
        await boxes.close("b")
        assert sandbox.closed == ["a", "b"]
