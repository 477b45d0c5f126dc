"""Commands of `aios fs`: going back, sharing, and what it takes."""

from __future__ import annotations

import time
from datetime import datetime

import click

from aios.cli import render
from aios.cli.confirm import yes_option
from aios.cli.fscommands import tell
from aios.cli.place import Place
from aios.syscalls.storage import Purge, RestoreSnapshot, Rollback
from aios.syscalls.storage_records import ShareInfo


def _when(at: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(at))


@click.command()
@click.argument("path")
@click.pass_obj
def history(place: Place, path: str) -> None:
    """Show the versions of a file, newest first."""
    versions = place.files.history(place.at(path))
    if place.as_json:
        render.show_json(versions)
        return
    for v in versions:
        click.echo(f"v{v.version:<6} {_when(v.at)}  {render.size(v.size):>8}  {v.op:10} {v.author}")


@click.command()
@click.argument("path")
@click.argument("old", type=int)
@click.argument("new", type=int, required=False)
@click.pass_obj
def diff(place: Place, path: str, old: int, new: int | None) -> None:
    """Show what version NEW (by default the newest) changed against OLD."""
    found = place.files.diff(place.at(path), old, new)
    said = found.text or f"{found.kind}: {found.same_bytes} of {found.size} bytes are the same"
    tell(place, found, said.rstrip("\n"))


@click.command()
@click.argument("path")
@click.option("--steps", "-n", type=int, help="So many versions back (default: 1).")
@click.option("--version", "-v", type=int, help="To this version.")
@click.option("--at", type=click.DateTime(), help="To what it was at this local time.")
@yes_option
@click.pass_obj
def rollback(
    place: Place, path: str, steps: int | None, version: int | None, at: datetime | None, yes: bool
) -> None:
    """Make an old version the newest again; what came after it stays in the history."""
    if sum(given is not None for given in (steps, version, at)) > 1:
        raise click.UsageError("Only one of --steps, --version and --at.")
    time = None if at is None else at.timestamp()
    steps = steps or (1 if version is None and time is None else None)
    done = place.do(Rollback(path=place.at(path), steps=steps, version=version, time=time), yes=yes)
    tell(place, done, f"{done.path} v{done.version}, {render.size(done.size)}")


@click.command()
@click.argument("name", required=False)
@click.pass_obj
def snapshot(place: Place, name: str | None) -> None:
    """Remember the whole tree as NAME; without one: list what is remembered."""
    if name is not None:
        done = place.files.snapshot(name)
        tell(place, done, f"{done.name}: after change {done.version}")
        return
    known = place.files.snapshots()
    if place.as_json:
        render.show_json(known)
        return
    for each in known:
        click.echo(f"{each.name:20} {_when(each.at)}  after change {each.version}")


@click.command("back-to")
@click.argument("name")
@click.argument("path", default="/")
@yes_option
@click.pass_obj
def back_to(place: Place, name: str, path: str, yes: bool) -> None:
    """Make PATH what it was in snapshot NAME."""
    changed = place.do(RestoreSnapshot(snapshot=name, path=place.at(path)), yes=yes).differences
    if place.as_json:
        render.show_json(changed)
        return
    for each in changed:
        click.echo(f"{each.change:8} {each.path}")


@click.command("bin")
@click.pass_obj
def list_bin(place: Place) -> None:
    """List what is in the bin."""
    entries = place.files.bin()
    if place.as_json:
        render.show_json(entries)
        return
    for entry in entries:
        click.echo(f"{entry.id:<6} {_when(entry.at)}  {render.size(entry.size):>8}  {entry.path}")


@click.command()
@click.argument("id", type=int)
@click.argument("to", default="")
@click.pass_obj
def restore(place: Place, id: int, to: str) -> None:
    """Take something out of the bin, to where it was or TO."""
    done = place.files.restore(id, to=place.at(to) if to else "")
    tell(place, done, done.path)


@click.command()
@click.argument("ids", nargs=-1, type=int)
@yes_option
@click.pass_obj
def purge(place: Place, ids: tuple[int, ...], yes: bool) -> None:
    """Destroy what is in the bin, for good."""
    what = f"{len(ids)} things" if ids else "all of it"
    if not yes:
        click.confirm(f"Destroy {what} in the bin, with all versions?", abort=True)
    done = place.do(Purge(ids=ids or None), yes=True)
    tell(place, done, f"{done.files} files, {done.versions} versions, {render.size(done.bytes)} freed")


@click.command()
@click.argument("path")
@click.option("--hours", default=24.0, show_default=True, help="How long the link opens it.")
@click.option("--password", default="", help="What it asks for.")
@click.pass_obj
def share(place: Place, path: str, hours: float, password: str) -> None:
    """Make a link to a file or folder for people without a key."""
    made = place.files.share(place.at(path), expires_s=hours * 3600, password=password)
    tell(
        place,
        made,
        f"{place.client.address.url}/share/{made.token}  (share {made.id}, until {_when(made.expires)})",
    )


@click.command()
@click.pass_obj
def shares(place: Place) -> None:
    """List links that still open something."""
    _tell_shares(place, place.files.shares())


@click.command()
@click.argument("id", type=int)
@click.pass_obj
def unshare(place: Place, id: int) -> None:
    """Let a link open nothing from now on."""
    _tell_shares(place, place.files.revoke(id))


def _tell_shares(place: Place, listed: tuple[ShareInfo, ...]) -> None:
    if place.as_json:
        render.show_json(listed)
        return
    for each in listed:
        lock = "  with a password" if each.password else ""
        click.echo(f"{each.id:<6} until {_when(each.expires)}  {each.path}{lock}")


@click.command()
@click.pass_obj
def usage(place: Place) -> None:
    """Show how much is kept, and may be."""
    used = place.files.usage()
    text = f"{render.size(used.used)} of {render.size(used.quota)}, {used.files} files"
    tell(place, used, text + (f"; swapped contexts: {render.size(used.contexts)}" if used.contexts else ""))


COMMANDS = (
    history, diff, rollback, snapshot, back_to, list_bin, restore, purge, share, shares, unshare, usage,
)  # fmt: skip
