"""Old rows go into sealed files; whatever is done to these or to what is left is found."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.property.test_audit import TAMPERINGS, decision, written

from aios.access import archive
from aios.access.audit import AuditLog, read_checkpoints
from aios.errors import NotFound, StorageCorrupt


def sealed(audit: AuditLog, db: sqlite3.Connection, upto: int) -> Path:
    """As the journal does it."""
    done, base = archive.seal(audit, db, upto + 0.5)  # row n was written at n
    db.execute("DELETE FROM audit WHERE seq <= ?", (done.last,))
    value = msgspec.json.encode(base).decode()
    db.execute("INSERT OR REPLACE INTO access (kind, name, value) VALUES ('audit', 'base', ?)", (value,))
    assert done.last == upto
    return Path(done.file)


@settings(max_examples=80, deadline=None)
@given(st.data(), st.sampled_from(sorted(TAMPERINGS)), st.integers(4, 12))
def test_any_change_of_what_is_left_is_found(data, how, rows) -> None:
    with written(rows, data.draw(st.none() | st.integers(1, rows))) as (_, db, audit):
        first = data.draw(st.integers(1, rows - 3))
        sealed(audit, db, first)
        second = data.draw(st.integers(first, rows - 2))
        if second > first:
            sealed(audit, db, second)
        report = archive.verify(audit, db)
        assert (report.what, report.rows, report.begins, report.archived) == (
            "",
            rows - second,
            second + 1,
            second,
        )
        n = data.draw(st.integers(second + 1, rows - 1 if how == "swap" else rows))
        if how == "swap tags" and 1 + n % rows <= second:
            return  # the row that it takes the tag of is sealed
        before = db.execute("SELECT * FROM audit ORDER BY seq").fetchall()
        for statement in TAMPERINGS[how].split(";"):
            db.execute(statement, {"n": n, "rows": rows})
        if db.execute("SELECT * FROM audit ORDER BY seq").fetchall() == before:
            return
        assert not archive.verify(audit, db).intact


@settings(max_examples=80, deadline=None)
@given(st.data(), st.sampled_from(["edit", "delete", "cut", "cut the seal too", "swap", "no seal"]))
def test_any_change_of_a_sealed_file_is_found(data, how) -> None:
    with written(9, 9) as (_, db, audit):
        files = [sealed(audit, db, 3), sealed(audit, db, 7)]
        file = data.draw(st.sampled_from(files))
        lines = file.read_bytes().splitlines()
        checkpoints = audit.checkpoints()
        assert archive.verify_file(file.read_bytes(), checkpoints, audit.public_key).intact
        n = data.draw(st.integers(0, len(lines) - 3))
        match how:
            case "edit":
                lines[n] = lines[n].replace(b"allow", b"deny")
            case "delete":
                del lines[n]
            case "cut":
                lines = [*lines[:n], lines[-1]]
            case "cut the seal too":
                lines = lines[: n + 1]
            case "swap":
                lines[n], lines[n + 1] = lines[n + 1], lines[n]
            case _:
                del lines[-1]
                checkpoints = checkpoints[:1] if file == files[0] else checkpoints
        file.write_bytes(b"\n".join(lines))
        if how == "no seal":  # the rows are all there, and the log's own checkpoints say that more follow
            assert not archive.verify_file(file.read_bytes(), audit.checkpoints(), audit.public_key).intact
            return
        assert not archive.verify_file(file.read_bytes(), checkpoints, audit.public_key).intact
        report = archive.verify(audit, db)
        assert not report.intact
        assert file.name in report.what


BASES = {
    "removed": "DELETE FROM access WHERE kind = 'audit'",
    "moved on": "UPDATE access SET value = json_set(value, '$.seq', 5); DELETE FROM audit WHERE seq <= 5",
    "another link": "UPDATE access SET value = json_set(value, '$.link', '00')",
    "the one before": "UPDATE access SET value = (SELECT value FROM access WHERE name = 'older')"
    " WHERE name = 'base'",
}


@pytest.mark.parametrize("how", sorted(BASES))
def test_a_changed_beginning_is_found(how: str) -> None:
    with written(9, 9) as (_, db, audit):
        sealed(audit, db, 2)
        db.execute("INSERT INTO access SELECT kind, 'older', value FROM access")
        sealed(audit, db, 4)
        assert audit.verify(db).intact
        for statement in BASES[how].split(";"):
            db.execute(statement)
        assert not audit.verify(db).intact


def test_a_log_that_was_pruned_goes_on_and_nothing_broken_is_sealed() -> None:
    with written(5, None) as (folder, db, audit):
        sealed(audit, db, 5)  # all there is
        assert archive.verify(audit, db).archived == 5
        with pytest.raises(NotFound):
            archive.seal(audit, db, 99.0)
        db.execute("BEGIN")
        audit.append(db, [decision(6), decision(7)])
        db.execute("COMMIT")
        assert archive.verify(audit, db).rows == 2
        db.execute("UPDATE audit SET text = replace(text, 'ann', 'eve') WHERE seq = 7")
        with pytest.raises(StorageCorrupt):
            archive.seal(audit, db, 6.5)
        assert len(read_checkpoints((folder / "checkpoints").read_bytes())) == 1
