"""Old rows of the audit log, moved into sealed files: `audit/<first>-<last>.jsonl` beside the checkpoints.

A file holds the rows as they are exported, one a line, and in its last line the checkpoint that signs their
end, which stands among the checkpoints too. So each file is checked by itself, without a secret: the
checkpoint at the end of the one before says where it begins, its own says where it ends. What is left of the
log begins at a row of its own (`base`), under an HMAC and signed as well."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import msgspec

from aios.access.audit import (
    AuditLog,
    AuditReport,
    AuditRow,
    Base,
    Checkpoint,
    exported,
    verify_export,
)
from aios.errors import NotFound, StorageCorrupt, StorageUnavailable
from aios.syscalls import Record

FOLDER = "audit"


class Archived(Record, frozen=True):
    """Rows `first` to `last` are in `file`, and no longer in the log."""

    first: int
    last: int
    file: str


def seal(log: AuditLog, db: sqlite3.Connection, before: float) -> tuple[Archived, Base]:
    """Write all rows older than `before` (Unix time) to a file, on disk when it returns. The caller then takes
    them out of the log, in one transaction with the base that is returned; dying in between costs nothing.

    Raises NotFound (there are none), StorageCorrupt (the log is not intact), StorageUnavailable."""
    last = _last_before(db, before)
    base = log.base(db)
    if last <= base.seq:
        raise NotFound("No row of the audit log is so old.", "Name a shorter time.")
    report = log.verify(db)
    if not report.intact:
        raise StorageCorrupt(f"The audit log is not intact: {report.what}", "`aios audit verify` says more.")
    told = log.sign(db, last)
    file = log.file.parent / FOLDER / f"{base.seq + 1:012d}-{last:012d}.jsonl"
    try:
        _write(file, exported(db, base.seq, last - base.seq), told)
    except OSError as error:
        raise StorageUnavailable(f"{file} can't be written: {error}.", "Free disk space.") from error
    return Archived(first=base.seq + 1, last=last, file=str(file)), log.based(told)


def verify(log: AuditLog, db: sqlite3.Connection) -> AuditReport:
    """Check the log, and the sealed files that are here. Raises StorageUnavailable."""
    report = log.verify(db)
    if not report.intact:
        return report
    checkpoints, archived = log.checkpoints(), 0
    for file in sorted((log.file.parent / FOLDER).glob("*.jsonl")):
        try:
            found = verify_file(file.read_bytes(), checkpoints, log.public_key)
        except (OSError, ValueError) as error:
            found = AuditReport(rows=0, what=f"It can't be read: {error}.")
        if not found.intact:
            return msgspec.structs.replace(report, broken=found.broken, what=f"{file.name}: {found.what}")
        archived += found.rows
    return msgspec.structs.replace(report, archived=archived)


def verify_file(data: bytes, checkpoints: tuple[Checkpoint, ...], public_key: str) -> AuditReport:
    """Check an exported log, or a sealed file, without a secret. Raises ValueError: it is neither."""
    *lines, end = data.splitlines() or [b""]
    if b'"signature"' in end:
        ending = msgspec.json.decode(end, type=Checkpoint)
        # Those after its end are of other files.
        checkpoints = (*(each for each in checkpoints if each.seq <= ending.seq), ending)
    elif end:
        lines.append(end)
    rows = (msgspec.json.decode(line, type=AuditRow) for line in lines)
    return verify_export(rows, checkpoints, public_key)


def _last_before(db: sqlite3.Connection, before: float) -> int:
    """The last row such that it and all before it are older."""
    statement = (
        "SELECT coalesce((SELECT min(seq) - 1 FROM audit WHERE json_extract(text, '$.at') >= ?),"
        " (SELECT max(seq) FROM audit), 0)"
    )
    return db.execute(statement, (before,)).fetchone()[0]


def _write(file: Path, rows: Iterator[AuditRow], end: Checkpoint) -> None:
    file.parent.mkdir(mode=0o700, exist_ok=True)
    fresh = file.with_suffix(".new")
    with open(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600), "wb") as out:
        for row in rows:
            out.write(msgspec.json.encode(row) + b"\n")
        out.write(msgspec.json.encode(end) + b"\n")
        out.flush()
        os.fsync(out.fileno())
    fresh.rename(file)
    folder = os.open(file.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
