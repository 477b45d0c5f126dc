"""A crash at any moment: what the files hold then is a journal, and nothing that was promised is missing."""

from __future__ import annotations

import asyncio
import random
import shutil
import tempfile
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from aios.kernel.journal import Journal
from aios.kernel.records import Entry, ProcessRow, Recovered, encode
from aios.syscalls import Generate, ProcessInfo

FILES = ("journal.db", "journal.db-wal")


def row(pid: int, calls: int) -> ProcessRow:
    info = ProcessInfo(pid=pid, name=f"n{pid}", parent=1, group="default", state="idle")
    return ProcessRow(info=info, charged_calls=calls)


class Crashes:
    """Copies of the files at some moments, each with what was promised by then."""

    def __init__(self, live: Path, folder: Path) -> None:
        self._live, self._folder = live, folder
        self.taken: list[tuple[Path, set[int]]] = []

    def take(self, promised: set[int]) -> None:
        copy = self._folder / f"crash-{len(self.taken)}"
        copy.mkdir()
        before = set(promised)
        while True:
            # The log may grow meanwhile, as in a crash; pages moving from it to the main file would be a
            # state that no crash leaves.
            unmoved = self._main()
            for name in FILES:
                shutil.copyfile(self._live / name, copy / name)
            if self._main() == unmoved:
                break
        self.taken.append((copy, before))

    def _main(self) -> tuple[int, int]:
        stat = (self._live / "journal.db").stat()
        return stat.st_mtime_ns, stat.st_size


async def work(journal: Journal, crashes: Crashes, seed: int, calls: int) -> None:
    """Effects (even numbers: committed, with a process each) and llm calls (odd: recorded)."""
    draw = random.Random(seed)
    promised: set[int] = set()
    request = encode(Generate(prompt="x" * draw.randint(1, 3000)))

    async def effect(id: int) -> None:
        entry = Entry(id=id, pid=2, agent="a", kind="process.spawn", effect="local", state="done", key=f"k{id}")
        await journal.commit(entry, [row(id, id)], lambda durable: None)
        promised.add(id)

    async def llm(id: int) -> None:
        entry = Entry(id=id, pid=2, agent="a", kind="llm.generate", key=f"k{id}", request=request)
        journal.record(entry)
        await asyncio.sleep(draw.random() * 0.002)
        journal.record(Entry(id=id, pid=2, agent="a", kind="llm.generate", state="done", finished=1.0))
        journal.touch(2, lambda: row(2, id))

    async with asyncio.TaskGroup() as tasks:
        for id in range(10, 10 + calls):
            tasks.create_task(effect(id) if id % 2 == 0 else llm(id))
            if draw.random() < 0.3:
                await asyncio.sleep(draw.random() * 0.002)
            if draw.random() < 0.15:
                crashes.take(promised)
        crashes.take(promised)


async def recovered(folder: Path) -> Recovered:
    journal = Journal(folder / "journal.db", lambda trouble: None)
    found = await journal.open()
    await journal.close()
    return found


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 2**32), calls=st.integers(1, 60))
def test_effects_that_were_promised_survive_with_their_process_and_half_effects_do_not(
    seed: int, calls: int
) -> None:
    async def run() -> None:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            journal = Journal(folder / "live" / "journal.db", lambda trouble: None)
            await journal.open()
            crashes = Crashes(folder / "live", folder)
            try:
                await work(journal, crashes, seed, calls)
            finally:
                await journal.close()
            for copy, promised in crashes.taken:
                found = await recovered(copy)
                effects = {r.info.pid for r in found.processes if r.info.pid != 2}
                assert promised <= effects
                assert all(r.charged_calls == r.info.pid for r in found.processes if r.info.pid != 2)
                assert all(entry.id % 2 and entry.request for entry in found.open_calls)
                assert found.next_id > max(promised, default=0)
                assert (await recovered(copy)) == found  # recovering changes nothing

    asyncio.run(run())
