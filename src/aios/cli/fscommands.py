"""Commands of `aios fs`: what is there, and changing it."""

from __future__ import annotations

import re
import sys
import time
from pathlib import Path
from typing import Any

import click

from aios.cli import render
from aios.cli.confirm import yes_option
from aios.cli.place import Place
from aios.errors import AiosError
from aios.sdk import requests
from aios.syscalls import storage
from aios.syscalls.storage_records import Stat


def _line(entry: Stat, long: bool) -> str:
    name = entry.path.rpartition("/")[2] or "/"
    shown = name + {"dir": "/", "link": f" -> {entry.target}", "file": ""}[entry.kind]
    if not long:
        return shown
    changed = time.strftime("%Y-%m-%d %H:%M", time.localtime(entry.changed))
    tags = f"  [{', '.join(entry.tags)}]" if entry.tags else ""
    return f"{render.size(entry.size):>8}  {changed}  v{entry.version:<5} {shown}{tags}"


def tell(place: Place, value: Any, text: str) -> None:
    """For programs, or for people."""
    render.show_json(value) if place.as_json else click.echo(text)


@click.command()
@click.argument("path", default=".")
@click.option("--long", "-l", is_flag=True, help="Size, time and version too.")
@click.option("--snapshot", default="", help="As it was then.")
@click.pass_obj
def ls(place: Place, path: str, long: bool, snapshot: str) -> None:
    """List a folder."""
    entries = place.files.list(place.at(path), snapshot=snapshot)
    if place.as_json:
        render.show_json(list(entries))
        return
    for entry in entries:
        click.echo(_line(entry, long))


@click.command()
@click.argument("path")
@click.option("--version", "-v", type=int, help="An older version.")
@click.pass_obj
def cat(place: Place, path: str, version: int | None) -> None:
    """Print a file."""
    sys.stdout.buffer.write(place.files.read(place.at(path), version=version))
    sys.stdout.buffer.flush()


@click.command()
@click.argument("path")
@click.argument("text", nargs=-1)
@yes_option
@click.pass_obj
def write(place: Place, path: str, text: tuple[str, ...], yes: bool) -> None:
    """Make TEXT, or what comes in, the whole content of a file."""
    done = _write(place, path, _given(text), yes)
    tell(place, done, f"{done.path} v{done.version}, {render.size(done.size)}")


@click.command()
@click.argument("path")
@click.argument("text", nargs=-1)
@click.pass_obj
def append(place: Place, path: str, text: tuple[str, ...]) -> None:
    """Add TEXT, or what comes in, to the end of a file."""
    done = place.files.append(place.at(path), _given(text))
    tell(place, done, f"{done.path} v{done.version}, {render.size(done.size)}")


def _write(place: Place, path: str, data: bytes, yes: bool) -> Stat:
    call = storage.WriteFile(path=place.at(path), data=data)
    return place.do(call, yes=yes, do=lambda: place.files.write(call.path, data))


def _given(text: tuple[str, ...]) -> bytes:
    return f"{' '.join(text)}\n".encode() if text else sys.stdin.buffer.read()


@click.command()
@click.argument("source", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.argument("path")
@yes_option
@click.pass_obj
def put(place: Place, source: Path, path: str, yes: bool) -> None:
    """Copy a file of this machine in."""
    done = _write(place, path, source.read_bytes(), yes)
    tell(place, done, f"{done.path} v{done.version}, {render.size(done.size)}")


@click.command()
@click.argument("path")
@click.argument("target", type=click.Path(dir_okay=False, path_type=Path))
@click.pass_obj
def get(place: Place, path: str, target: Path) -> None:
    """Copy a file out, to this machine."""
    target.write_bytes(place.files.read(place.at(path)))


@click.command()
@click.argument("path")
@click.pass_obj
def mkdir(place: Place, path: str) -> None:
    """Make a folder, and those above it."""
    done = place.files.mkdir(place.at(path), parents=True)
    tell(place, done, done.path)


@click.command()
@click.argument("path")
@click.argument("to")
@click.option("--replace", is_flag=True, help="What is there goes to the bin.")
@yes_option
@click.pass_obj
def mv(place: Place, path: str, to: str, replace: bool, yes: bool) -> None:
    """Move or rename."""
    call = storage.Move(path=place.at(path), to=_into(place, path, to), replace=replace)
    done = place.do(call, yes=yes)
    tell(place, done, done.path)


@click.command()
@click.argument("path")
@click.argument("to")
@click.option("--replace", is_flag=True, help="What is there goes to the bin.")
@yes_option
@click.pass_obj
def cp(place: Place, path: str, to: str, replace: bool, yes: bool) -> None:
    """Copy a file or a folder."""
    call = storage.Copy(path=place.at(path), to=_into(place, path, to), replace=replace)
    done = place.do(call, yes=yes)
    tell(place, done, done.path)


def _into(place: Place, path: str, to: str) -> str:
    """A folder as the target means: into it."""
    target = place.at(to)
    try:
        inside = place.files.stat(target).kind == "dir"
    except AiosError:
        inside = False
    return place.at(f"{target}/{place.at(path).rpartition('/')[2]}") if inside else target


@click.command()
@click.argument("target")
@click.argument("path")
@click.pass_obj
def ln(place: Place, target: str, path: str) -> None:
    """Make a link at PATH that leads to TARGET."""
    done = place.files.link(place.at(target), place.at(path))
    tell(place, done, f"{done.path} -> {done.target}")


@click.command()
@click.argument("path")
@click.option("--recursive", "-r", is_flag=True, help="A folder with all that is in it.")
@yes_option
@click.pass_obj
def rm(place: Place, path: str, recursive: bool, yes: bool) -> None:
    """Put into the bin."""
    gone = place.do(storage.DeleteFile(path=place.at(path), recursive=recursive), yes=yes)
    tell(place, gone, f"{gone.path} is in the bin: `restore {gone.id}` brings it back")


@click.command()
@click.argument("path")
@click.argument("tags", nargs=-1)
@click.pass_obj
def tag(place: Place, path: str, tags: tuple[str, ...]) -> None:
    """Replace the tags of a file."""
    done = place.files.describe(place.at(path), tags=tags)
    tell(place, done, f"{done.path} [{', '.join(done.tags)}]")


@click.command()
@click.argument("query", nargs=-1)
@click.option("--tag", "tags", multiple=True, help="It has this tag.")
@click.option("--name", default="", help="Pattern of its name: *.md")
@click.option("--words", is_flag=True, help="By words alone, not by meaning.")
@click.option("--limit", "-n", default=10, show_default=True)
@click.pass_obj
def find(
    place: Place, query: tuple[str, ...], tags: tuple[str, ...], name: str, words: bool, limit: int
) -> None:
    """Find files by words, meaning, tags and name, in this folder and below."""
    where = {"under": place.folder, "tags": tags, "name": name}
    hits = place.files.find(" ".join(query), limit=limit, meaning=not words, **where)
    if place.as_json:
        render.show_json(hits)
        return
    for hit in hits:
        passage = " ".join(hit.passage.split())
        click.echo(f"{hit.score:.4f}  {hit.stat.path}")
        if passage:
            click.echo(f"        {passage[:100]}")


@click.command()
@click.argument("pattern")
@click.argument("glob", default="**/*")
@click.option("--ignore-case", "-i", is_flag=True)
@click.pass_obj
def grep(place: Place, pattern: str, glob: str, ignore_case: bool) -> None:
    """Print the lines of files that match a regular expression."""
    try:
        wanted = re.compile(pattern, re.IGNORECASE if ignore_case else 0)
    except re.error as error:
        raise click.UsageError(f"{pattern!r} is no regular expression: {error}.") from error
    for entry in place.files.glob(place.at(glob)):
        if entry.kind != "file":
            continue
        data = place.files.read(entry.path)
        if b"\0" in data[:1024]:
            continue  # no text
        for number, line in enumerate(data.decode("utf-8", "replace").splitlines(), 1):
            if wanted.search(line):
                click.echo(f"{entry.path}:{number}: {line}")


@click.command()
@click.option("--groups", "-n", type=int, help="How many; by default as many as fit best.")
@click.pass_obj
def group(place: Place, groups: int | None) -> None:
    """Show the files of this folder in groups of like content."""
    found = place.files.group(groups, under=place.folder)
    if place.as_json:
        render.show_json(found)
        return
    for each in found:
        click.echo(each.label)
        for path in each.paths:
            click.echo(f"  {path}")


@click.command()
@click.argument("source")
@click.argument("path")
@click.option("--name", default="", help="Name of the shared root (default: the folder's).")
@click.pass_obj
def mount(place: Place, source: str, path: str, name: str) -> None:
    """Show a folder of this machine, or a shared root, at PATH. The folder is followed: it is the truth."""
    root = source
    if Path(source).is_dir():
        root = name or Path(source).resolve().name
        place.client.request(requests.add_root({"name": root, "folder": str(Path(source).resolve())}))
    done = place.files.mount(root, place.at(path))
    tell(place, done, f"{done.name} is at {done.path}")


@click.command()
@click.argument("path")
@click.pass_obj
def unmount(place: Place, path: str) -> None:
    """Show nothing there any more."""
    done = place.files.unmount(place.at(path))
    tell(place, done, f"{done.path} is empty")


COMMANDS = (ls, cat, write, append, put, get, mkdir, mv, cp, ln, rm, tag, find, grep, group, mount, unmount)
