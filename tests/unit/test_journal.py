"""The journal: what is written, found again, refused while the disk is full, and recovered."""

from __future__ import annotations

import asyncio
import resource
import sqlite3
from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import pytest

from aios.errors import BadRequest, Conflict, JournalUnavailable
from aios.kernel.journal import Journal
from aios.kernel.records import Entry, GroupRow, ProcessRow, Recovered, encode
from aios.syscalls import Generate, Limits, Message, ProcessInfo, ProcessUsage

pytestmark = pytest.mark.anyio


@asynccontextmanager
async def opened(folder: Path, troubles: list[str] | None = None) -> AsyncGenerator[tuple[Journal, Recovered]]:
    journal = Journal(folder / "journal.db", (troubles if troubles is not None else []).append)
    recovered = await journal.open()
    try:
        yield journal, recovered
    finally:
        await journal.close()


def entry(id: int, key: str | None = None, **fields: Any) -> Entry:
    given = {"pid": 2, "agent": "default:ann", "kind": "llm.generate", "digest": "d", "started": 1.0}
    return Entry(id=id, key=key, **(given | fields))


def done(id: int, key: str | None = None, finished: float = 100.0, **fields: Any) -> Entry:
    return entry(id, key, state="done", finished=finished, result=encode(info(7)), **fields)


def info(pid: int, **fields: Any) -> ProcessInfo:
    given = {"name": "ann", "parent": 1, "group": "default", "state": "idle"}
    return ProcessInfo(pid=pid, **(given | fields))


@contextmanager
def full_disk() -> Generator[None]:
    """No file of this process can grow."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


async def until_healthy(journal: Journal) -> None:
    async with asyncio.timeout(10):
        while journal.trouble:
            await asyncio.sleep(0.01)


async def test_what_was_open_and_the_processes_are_there_for_the_next_kernel(tmp_path: Path) -> None:
    call = Generate(messages=(Message(role="user", content="grüße \U0001f600\n"),), logprobs=3)
    async with opened(tmp_path) as (journal, recovered):
        assert recovered == Recovered([], [], [], [], 1, 1)
        journal.record(entry(4, "k", request=encode(call)))
        journal.record(entry(5))
        journal.record(done(6))
        row = ProcessRow(
            info=info(9, limits=Limits(tokens=10), usage=ProcessUsage(calls=3)), attached=True, charged_tokens=7
        )
        journal.touch(9, lambda: row)
        journal.spend("g", lambda: GroupRow(name="g", spent=1.5, began=70.0))
    async with opened(tmp_path) as (_, recovered):
        assert [e.id for e in recovered.open_calls] == [4, 5]
        assert recovered.open_calls[0] == entry(4, "k", request=encode(call))
        assert recovered.processes == [row]
        assert recovered.groups == [GroupRow(name="g", spent=1.5, began=70.0)]
        assert (recovered.next_id, recovered.next_pid) == (7, 10)


async def test_a_result_is_found_by_agent_and_key_until_it_is_too_old(tmp_path: Path) -> None:
    async with opened(tmp_path) as (journal, _):
        journal.record(done(1, "k", finished=100.0))
        await journal.settled()
        found = await journal.find("default:ann", "k", since=50.0)
        assert found is not None
        assert (found.digest, found.result) == ("d", info(7))
        assert await journal.find("default:bob", "k", since=50.0) is None
        assert await journal.find("default:ann", "other", since=50.0) is None
        assert await journal.find("default:ann", "k", since=101.0) is None


async def test_of_two_tries_under_one_key_the_later_counts(tmp_path: Path) -> None:
    async with opened(tmp_path) as (journal, _):
        journal.record(entry(1, "k", state="failed", error="cancelled", finished=2.0))
        await journal.settled()
        assert await journal.find("default:ann", "k", since=0) is None
        journal.record(done(2, "k"))
        await journal.settled()
        assert await journal.find("default:ann", "k", since=0) is not None
    async with opened(tmp_path) as (_, recovered):
        assert recovered.open_calls == []


async def test_commit_returns_when_it_is_on_disk_and_tells_its_settler_first(tmp_path: Path) -> None:
    told: list[bool] = []
    async with opened(tmp_path) as (journal, _):
        await journal.commit(done(1, effect="local"), [ProcessRow(info=info(9))], told.append)
        assert told == [True]
        with sqlite3.connect(tmp_path / "journal.db") as other:
            assert other.execute("SELECT state, effect FROM syscalls").fetchall() == [("done", "local")]
            assert other.execute("SELECT pid, name FROM processes").fetchall() == [(9, "ann")]
        other.close()


async def test_a_commit_happens_though_its_caller_went_away(tmp_path: Path) -> None:
    told: list[bool] = []
    async with opened(tmp_path) as (journal, _):
        caller = asyncio.create_task(journal.commit(done(1, "k"), [], told.append))
        await asyncio.sleep(0)
        caller.cancel()
        await asyncio.gather(caller, return_exceptions=True)
        await journal.settled()
        assert told == [True]
        assert await journal.find("default:ann", "k", since=0) is not None


async def test_while_the_disk_is_full_commits_are_refused_and_records_are_kept_until_it_is_not(
    tmp_path: Path,
) -> None:
    troubles: list[str] = []
    told: list[bool] = []
    async with opened(tmp_path, troubles) as (journal, _):
        await journal.commit(done(1), [], told.append)
        with full_disk():
            journal.record(done(2, "kept"))
            with pytest.raises(JournalUnavailable, match="disk"):
                await journal.commit(done(3, "refused"), [ProcessRow(info=info(9))], told.append)
            with pytest.raises(JournalUnavailable):
                await journal.settled()
            assert journal.trouble
        await until_healthy(journal)
        assert told == [True, False]
        assert await journal.find("default:ann", "kept", since=0) is not None
        assert await journal.find("default:ann", "refused", since=0) is None
        await journal.commit(done(4), [], told.append)
    assert [bool(trouble) for trouble in troubles] == [True, False]
    async with opened(tmp_path) as (_, recovered):
        assert recovered.processes == []
        assert recovered.next_id == 5


async def test_closing_on_a_full_disk_does_not_hang(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal.db", lambda trouble: None)
    await journal.open()
    with full_disk():
        journal.record(entry(1))
        async with asyncio.timeout(10):
            await journal.close()


async def test_old_records_and_gone_processes_are_deleted_and_open_ones_are_not(tmp_path: Path) -> None:
    async with opened(tmp_path) as (journal, _):
        journal.record(done(1, finished=10.0))
        journal.record(done(2, "k", finished=10.0))
        journal.record(done(3, finished=99.0))
        journal.record(entry(4))
        for pid, state in ((5, "killed"), (6, "exited"), (7, "idle")):
            journal.touch(pid, lambda pid=pid, state=state: ProcessRow(info=info(pid, state=state)))
        journal.expire(before=50.0, pids=[6])
        await journal.settled()
        with sqlite3.connect(tmp_path / "journal.db") as other:
            assert other.execute("SELECT id FROM syscalls ORDER BY id").fetchall() == [(3,), (4,)]
            assert other.execute("SELECT pid FROM processes ORDER BY pid").fetchall() == [(6,), (7,)]
        other.close()


async def test_a_journal_has_one_kernel_at_a_time(tmp_path: Path) -> None:
    async with opened(tmp_path):
        with pytest.raises(Conflict, match="Another kernel"):
            async with opened(tmp_path):
                pass
    async with opened(tmp_path):
        pass


async def test_a_journal_of_a_newer_version_is_left_alone(tmp_path: Path) -> None:
    async with opened(tmp_path):
        pass
    with sqlite3.connect(tmp_path / "journal.db") as db:
        db.execute("PRAGMA user_version = 99")
    db.close()
    with pytest.raises(JournalUnavailable, match="99"):
        async with opened(tmp_path):
            pass


@pytest.mark.parametrize("damage", ["not a database, but longer than a header " * 100, "folder"])
async def test_a_journal_that_cannot_be_opened_is_a_typed_error(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "journal.db"
    path.mkdir() if damage == "folder" else path.write_text(damage)
    with pytest.raises(JournalUnavailable, match=r"journal\.db"):
        async with opened(tmp_path):
            pass


async def test_ten_thousand_open_calls_are_recovered_whole(tmp_path: Path) -> None:
    request = encode(Generate(messages=(Message(role="user", content="word " * 100),)))
    async with opened(tmp_path) as (journal, _):
        for id in range(1, 10_001):
            journal._fresh.entries[id] = entry(id, f"k{id}", request=request)  # one batch
    async with opened(tmp_path) as (_, recovered):
        assert [e.id for e in recovered.open_calls] == list(range(1, 10_001))
        assert {bytes(e.request or b"") for e in recovered.open_calls} == {bytes(request)}


async def test_text_that_cannot_be_written_is_refused() -> None:
    with pytest.raises(BadRequest, match="Unicode"):
        encode(Generate(prompt="\ud800"))
