"""`aios audit`: decisions, and the proof that none was changed."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import click
import msgspec

from aios.access.archive import Archived, verify_file
from aios.access.audit import Audited, AuditLog, AuditReport, AuditRow, read_checkpoints
from aios.cli import render
from aios.cli.daemon import connect, daemon, json_option, state_option
from aios.cli.exits import Exit
from aios.errors import BadRequest, NotFound
from aios.sdk import access
from aios.sdk.answers import decoded

PAGE = 1000


@click.group()
def audit() -> None:
    """Show, verify, export and archive the audit log."""


@audit.command()
@click.option("--after", default=0, help="Number of the row to begin after.")
@click.option("--limit", default=100, help="Most rows.")
@click.option("--denied", is_flag=True, help="Only what was denied.")
@json_option
@state_option
def show(after: int, limit: int, denied: bool, as_json: bool, state_dir: Path | None) -> None:
    """Show decisions, oldest first."""
    shown = 0
    for row in _rows(after, state_dir):
        told = decoded(row.text, Audited)
        if denied and told.effect != "deny":
            continue
        click.echo(msgspec.json.encode(told) if as_json else _line(row.seq, told))
        shown += 1
        if shown >= limit:
            return


@audit.command()
@click.option("--file", type=click.Path(path_type=Path, exists=True), help="An exported log to check instead.")
@click.option("--checkpoints", type=click.Path(path_type=Path, exists=True), help="Of the exported log.")
@click.option("--public-key", help="Of the kernel that wrote it (hex).")
@json_option
@state_option
def verify(
    file: Path | None, checkpoints: Path | None, public_key: str | None, as_json: bool, state_dir: Path | None
) -> int:
    """Check that no row was edited, removed or cut off. Exit status 1 if one was."""
    if file is None:
        report = _verified(state_dir)
    elif checkpoints is None or public_key is None:
        raise click.UsageError("An exported log is checked with --checkpoints and --public-key.")
    else:
        try:
            told = read_checkpoints(checkpoints.read_bytes())
            report = verify_file(file.read_bytes(), told, public_key)
        except ValueError as error:
            raise BadRequest(
                f"That is no exported log with its checkpoints: {error}.", "Export it again."
            ) from error
    if as_json:
        render.show_json(report)
    elif report.intact:
        sealed = f", {report.archived} more in sealed files" if report.archived else ""
        since = f" from row {report.begins}" if report.begins > 1 else ""
        click.echo(f"intact: {report.rows} rows{since}, {report.checkpoints} checkpoints{sealed}")
    else:
        click.echo(f"NOT intact at row {report.broken}: {report.what} {report.rows} rows before it are.")
    return Exit.OK if report.intact else Exit.FAILED


@audit.command()
@click.argument("file", type=click.Path(path_type=Path))
@state_option
def export(file: Path, state_dir: Path | None) -> None:
    """Write all rows to FILE as JSON lines."""
    count = 0
    with file.open("wb") as out:
        for row in _rows(0, state_dir):
            out.write(msgspec.json.encode(row) + b"\n")
            count += 1
    click.echo(f"{count} rows; public key {_public_key(state_dir)}")


@audit.command()
@click.option("--older-than-days", default=30.0, show_default=True, help="Rows older than this.")
@json_option
@state_option
def archive(older_than_days: float, as_json: bool, state_dir: Path | None) -> None:
    """Move old rows into a sealed file, which `verify --file` checks by itself."""
    with connect(state_dir) as client:
        done = msgspec.convert(client.request(access.archive_audit(older_than_days * 86_400)), Archived)
    if as_json:
        render.show_json(done)
    else:
        click.echo(f"rows {done.first} to {done.last} are in {done.file}")


def _rows(after: int, state_dir: Path | None) -> Iterator[AuditRow]:
    with connect(state_dir) as client:
        while True:
            told = client.request(access.audit(after, PAGE))["rows"]
            rows = msgspec.convert(told, list[AuditRow])
            yield from rows
            if len(rows) < PAGE:
                return
            after = rows[-1].seq


def _public_key(state_dir: Path | None) -> str:
    with connect(state_dir) as client:
        return client.request(access.audit(0, 1))["public_key"]


def _verified(state_dir: Path | None) -> AuditReport:
    """By the kernel, or straight from its files if none runs."""
    if daemon(state_dir) is not None:
        with connect(state_dir) as client:
            return msgspec.convert(client.request(access.verify_audit()), AuditReport)
    from aios import config
    from aios.access import archive as archives
    from aios.access import master
    from aios.access.redact import Redactor

    folder = config.load(flags={"state.dir": str(state_dir) if state_dir else None}).state_dir()
    database = folder / "journal.db"
    if not database.exists():
        raise NotFound(f"There is no journal in {folder}.", "Name its folder with --state-dir.")
    log = AuditLog(master.load(folder / "access.key"), Redactor(), folder / "audit.checkpoints")
    with closing(
        sqlite3.connect(f"{database.absolute().as_uri()}?mode=ro", uri=True, isolation_level=None)
    ) as db:
        return archives.verify(log, db)


def _line(seq: int, told: Audited) -> str:
    clock = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(told.at))
    by = f" by {told.by}" if told.by else ""
    why = f": {told.why}" if told.why else ""
    return f"{seq:6} {clock} {told.effect:5} {told.agent} {told.action} {told.resource} ({told.rule}{by}){why}"
