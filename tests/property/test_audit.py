"""Whatever is done to an audit log is found."""

from __future__ import annotations

import shutil
import sqlite3
import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from importlib.resources import files
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aios.access.audit import Audited, AuditLog, exported, read_checkpoints, verify_export
from aios.access.master import MasterKey
from aios.access.redact import Redactor

KEY = MasterKey(bytes(range(32)))
SQL = files("aios.kernel").joinpath("journal.sql").read_text()
SCHEMA = "".join(SQL.split(f"-- name: migration_{n}\n")[1].split("-- name")[0] for n in (3, 4))


def decision(number: int) -> Audited:
    return Audited(
        at=float(number), pid=2, agent="default:ann", action="tool.call", resource=f"tool:t{number}",
        effect="allow", rule="r",
    )  # fmt: skip


def log(folder: Path) -> AuditLog:
    return AuditLog(KEY, Redactor(), folder / "checkpoints")


def told(audit: AuditLog, db: sqlite3.Connection) -> None:
    """A checkpoint, as the kernel makes it."""
    if audit.checkpoint(db):
        audit.append(db, [])


@contextmanager
def written(rows: int, checkpoint_at: int | None) -> Generator[tuple[Path, sqlite3.Connection, AuditLog]]:
    folder = Path(tempfile.mkdtemp())
    db = sqlite3.connect(":memory:", isolation_level=None)
    try:
        db.executescript(SCHEMA)
        audit = log(folder)
        for number in range(1, rows + 1):
            db.execute("BEGIN")
            audit.append(db, [decision(number)])
            db.execute("COMMIT")
            if number == checkpoint_at:
                told(audit, db)
        yield folder, db, audit
    finally:
        db.close()
        shutil.rmtree(folder)


TAMPERINGS = {
    "edit": "UPDATE audit SET text = replace(text, 'allow', 'deny') WHERE seq = :n",
    "edit back in time": "UPDATE audit SET text = replace(text, '2', '3') WHERE seq = :n",
    "delete": "DELETE FROM audit WHERE seq = :n",
    "delete and close the gap": "DELETE FROM audit WHERE seq = :n;"
    " UPDATE audit SET seq = seq - 1 WHERE seq > :n",
    "swap": "UPDATE audit SET seq = -1 WHERE seq = :n; UPDATE audit SET seq = :n WHERE seq = :n + 1;"
    " UPDATE audit SET seq = :n + 1 WHERE seq = -1",
    "swap tags": "UPDATE audit SET mac = (SELECT mac FROM audit WHERE seq = 1 + :n % :rows) WHERE seq = :n",
    "cut off": "DELETE FROM audit WHERE seq >= :n",
    "cut off with the head": "DELETE FROM audit WHERE seq >= :n; UPDATE audit_head SET seq = :n - 1",
    "append": "INSERT INTO audit SELECT :rows + 1, text, mac FROM audit WHERE seq = :n",
    "empty": "DELETE FROM audit",
}


@settings(max_examples=120, deadline=None)
@given(st.data(), st.sampled_from(sorted(TAMPERINGS)), st.integers(2, 12))
def test_any_edit_deletion_or_truncation_is_found(data, how, rows) -> None:
    with written(rows, data.draw(st.none() | st.integers(1, rows))) as (_, db, audit):
        assert audit.verify(db).intact
        n = data.draw(st.integers(1, rows - 1 if how == "swap" else rows))
        before = db.execute("SELECT * FROM audit ORDER BY seq").fetchall()
        for statement in TAMPERINGS[how].split(";"):
            db.execute(statement, {"n": n, "rows": rows})
        if db.execute("SELECT * FROM audit ORDER BY seq").fetchall() == before:
            return  # nothing was done: a text without that digit
        report = audit.verify(db)
        assert not report.intact
        assert report.broken is None or report.broken >= 1


def test_a_database_that_was_put_back_is_told_by_the_checkpoints() -> None:
    with written(5, 5) as (folder, db, audit):
        db.execute("VACUUM INTO ?", (str(folder / "old.db"),))
        db.execute("BEGIN")
        audit.append(db, [decision(6)])
        db.execute("COMMIT")
        audit.checkpoint(db)
        old = sqlite3.connect(folder / "old.db", isolation_level=None)
        report = audit.verify(old)
        old.close()
        assert (report.intact, report.broken) == (False, 6)
        assert "a checkpoint signed 6" in report.what
        assert audit.verify(db).checkpoints == 2


REMOVALS = {
    "one": lambda lines, n: [*lines[:n], *lines[n + 1 :]],
    "the newest": lambda lines, n: lines[:n],
    "the oldest": lambda lines, n: lines[n + 1 :],
    "all": lambda lines, n: [],
    "one by another": lambda lines, n: [*lines[:n], lines[n - 1], *lines[n + 1 :]],
    "swapped": lambda lines, n: [lines[n - 1], *lines[1:n], lines[0]] if n == len(lines) - 1 else lines[::-1],
}
"""What becomes of the lines of checkpoints."""


@settings(max_examples=100, deadline=None)
@given(st.data(), st.sampled_from(sorted(REMOVALS)), st.lists(st.integers(1, 3), min_size=2, max_size=6))
def test_any_removal_of_checkpoints_is_found(data, how, batches) -> None:
    """By the next kernel too, whether or not it has written more since."""
    with written(0, None) as (folder, db, audit):
        for size in batches:
            audit.append(db, [decision(n) for n in range(size)])
            told(audit, db)
        assert audit.verify(db).checkpoints == len(batches)
        file = folder / "checkpoints"
        lines = file.read_bytes().splitlines()
        after = REMOVALS[how](lines, data.draw(st.integers(0, len(lines) - 1)))
        if after == lines:
            return  # nothing was done
        if data.draw(st.booleans()):
            file.write_bytes(b"".join(line + b"\n" for line in after))
        else:
            after = []
            file.unlink()
        for kernel in (audit, log(folder)):
            assert not kernel.verify(db).intact
            kernel.append(db, [decision(9)])
            told(kernel, db)
            assert not kernel.verify(db).intact


@pytest.mark.parametrize("forged", ["told = 0, newest = x''", "told = 0", "told = told - 1", "newest = x''"])
def test_how_many_there_were_can_not_be_changed(forged: str) -> None:
    with written(3, 3) as (folder, db, audit):
        (folder / "checkpoints").unlink()
        db.execute(f"UPDATE audit_head SET {forged}")
        assert not audit.verify(db).intact


def test_a_kernel_that_died_after_a_checkpoint_leaves_one_more_than_it_counted() -> None:
    with written(3, 2) as (folder, db, audit):
        audit.checkpoint(db)  # and no more
        assert audit.verify(db).checkpoints == 2
        after = log(folder)
        after.append(db, [decision(4)])
        told(after, db)
        assert after.verify(db).checkpoints == 3
        (folder / "checkpoints").write_bytes(b"")
        assert not after.verify(db).intact


def test_another_key_accepts_nothing() -> None:
    with written(3, 3) as (folder, db, audit):
        other = AuditLog(MasterKey(bytes(32)), Redactor(), folder / "checkpoints")
        assert not other.verify(db).intact
        assert audit.verify(db).rows == 3


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 6), st.integers(0, 5))
def test_an_export_is_checked_without_a_secret(rows, edited) -> None:
    with written(rows, rows) as (folder, db, audit):
        lines = [msgspec.json.encode(row) for row in exported(db)]
        read = [msgspec.json.decode(line, type=type(next(exported(db)))) for line in lines]
        checkpoints = read_checkpoints((folder / "checkpoints").read_bytes())
        assert verify_export(read, checkpoints, audit.public_key).intact
        at = edited % rows
        read[at] = msgspec.structs.replace(read[at], text=read[at].text.replace("ann", "eve"))
        assert not verify_export(read, checkpoints, audit.public_key).intact
        assert not verify_export(read[:-1], checkpoints, audit.public_key).intact


def test_an_empty_log_is_intact_and_needs_no_checkpoint() -> None:
    with written(0, None) as (folder, db, audit):
        assert audit.verify(db).intact
        audit.checkpoint(db)
        assert not (folder / "checkpoints").exists()
        with pytest.raises(StopIteration):
            next(exported(db))
