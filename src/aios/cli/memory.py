"""`aios memory`: what agents know."""

from __future__ import annotations

import sys
import textwrap
from pathlib import Path
from typing import Any

import click

from aios.cli import render
from aios.cli.confirm import confirmed, yes_option
from aios.cli.daemon import connect, json_option, state_option
from aios.errors import NotFound
from aios.sdk.client import Client
from aios.syscalls.memory import Delete, EditBlock


class Known:
    """Whose memory, and how it is shown."""

    def __init__(self, client: Client, agent: str, as_json: bool) -> None:
        self.client, self.memory, self.agent, self.as_json = client, client.memory, agent, as_json

    def tell(self, value: Any, *lines: str) -> None:
        """For programs, or for people."""
        if self.as_json:
            render.show_json(value)
            return
        for line in lines:
            click.echo(line)


@click.group()
@click.option("--agent", "-a", default="user", show_default=True, help="Whose memory.")
@json_option
@state_option
@click.pass_context
def memory(context: click.Context, agent: str, as_json: bool, state_dir: Path | None) -> None:
    """What an agent knows: entries, notes, blocks, conversations."""
    context.obj = Known(context.with_resource(connect(state_dir, agent)), agent, as_json)


@memory.command("list")
@click.option("--kind", "kinds", multiple=True, help="text, data, note, block or conversation.")
@click.option("--tag", "tags", multiple=True)
@click.option("--limit", "-n", default=100, show_default=True)
@click.pass_obj
def list_entries(known: Known, kinds: tuple[str, ...], tags: tuple[str, ...], limit: int) -> None:
    """List entries, oldest first."""
    page = known.memory.list(limit=limit, kinds=kinds, tags=tags)
    rows = [
        f"{e.id}  {e.kind:12} {render.size(e.size):>8}  {e.place:7} v{e.version:<4}"
        f" {e.name} {'[' + ', '.join(e.tags) + ']' if e.tags else ''}".rstrip()
        for e in page.entries
    ]
    known.tell(page, *rows, *(["… and more (--limit)"] if page.next else []))


@memory.command()
@click.argument("id")
@click.pass_obj
def show(known: Known, id: str) -> None:
    """Print an entry."""
    info = known.memory.stat(id)
    if info.kind == "note":
        note = known.memory.read_note(id)
        links = ", ".join(f"{link.id} ({link.strength:.2f})" for link in note.links)
        said = f"keywords: {', '.join(note.keywords)}\ntags: {', '.join(note.tags)}\nabout: {note.context}"
        known.tell(note, note.content, said, f"links: {links}", f"left of it: {note.strength:.2f}")
        return
    if known.as_json:
        render.show_json(info)
        return
    sys.stdout.buffer.write(known.memory.read(id))
    sys.stdout.buffer.flush()


@memory.command()
@click.argument("text", nargs=-1)
@click.option("--name", default="")
@click.option("--tag", "tags", multiple=True)
@click.pass_obj
def add(known: Known, text: tuple[str, ...], name: str, tags: tuple[str, ...]) -> None:
    """Keep TEXT, or what comes in."""
    made = known.memory.add(" ".join(text) or sys.stdin.read(), name=name, tags=tags)
    known.tell(made, made.id)


@memory.command()
@click.argument("text", nargs=-1, required=True)
@click.option("--tag", "tags", multiple=True)
@click.option("--importance", default=1.0, show_default=True)
@click.pass_obj
def note(known: Known, text: tuple[str, ...], tags: tuple[str, ...], importance: float) -> None:
    """Make a note: a model finds its keywords and what it belongs to."""
    made = known.memory.note(" ".join(text), tags=tags, importance=importance)
    known.tell(
        made,
        f"{made.id}  tags: {', '.join(made.tags)}  linked to {len(made.links)} (by {made.made_by or 'you'})",
    )


@memory.command()
@click.argument("query", nargs=-1, required=True)
@click.option("--kind", "kinds", multiple=True)
@click.option("--tag", "tags", multiple=True)
@click.option("--by", type=click.Choice(["words", "meaning", "both"]), default="both", show_default=True)
@click.option("--limit", "-n", default=10, show_default=True)
@click.pass_obj
def search(
    known: Known, query: tuple[str, ...], kinds: tuple[str, ...], tags: tuple[str, ...], by: str, limit: int
) -> None:
    """Find entries by words and meaning."""
    hits = known.memory.search(" ".join(query), limit=limit, by=by, kinds=kinds, tags=tags)
    rows = [f"{hit.score:.4f}  {hit.id}  {textwrap.shorten(hit.text, 90)}" for hit in hits]
    known.tell(hits, *rows)


@memory.command()
@click.argument("id")
@yes_option
@click.pass_obj
def rm(known: Known, id: str, yes: bool) -> None:
    """Delete an entry, for good."""
    if not yes:
        info = known.memory.stat(id)
        click.confirm(f"Delete the {info.kind} {id} ({info.name or render.size(info.size)})?", abort=True)
    known.tell(confirmed(known.client, known.agent, Delete(id=id)), f"{id} is deleted")


@memory.command()
@click.argument("id")
@click.argument("name")
@click.option("--group", is_flag=True, help="NAME is a privilege group.")
@click.option("--write", is_flag=True, help="They may change it too.")
@click.option("--hours", type=float, help="For so long.")
@click.pass_obj
def share(known: Known, id: str, name: str, group: bool, write: bool, hours: float | None) -> None:
    """Let another agent, or a group, read an entry."""
    expires = None if hours is None else hours * 3600
    done = known.memory.share(id, name, whom="group" if group else "agent", write=write, expires_s=expires)
    known.tell(done, *(f"{g.whom} {g.name}: {'write' if g.write else 'read'}" for g in done.grants))


@memory.command()
@click.argument("id")
@click.argument("name")
@click.option("--group", is_flag=True, help="NAME is a privilege group.")
@click.pass_obj
def unshare(known: Known, id: str, name: str, group: bool) -> None:
    """End that."""
    known.tell(known.memory.unshare(id, name, whom="group" if group else "agent"), f"{id} is not {name}'s")


@memory.command()
@click.argument("name", required=False)
@click.argument("text", nargs=-1)
@click.option("--replacing", default="", help="Put TEXT where this stands.")
@click.option("--new", is_flag=True, help="Make the block.")
@yes_option
@click.pass_obj
def block(known: Known, name: str | None, text: tuple[str, ...], replacing: str, new: bool, yes: bool) -> None:
    """Show the blocks; with NAME and TEXT: add a line to one."""
    if name is not None and text:
        said = " ".join(text)
        if new:
            known.memory.block(name, said)
        else:
            action = "replace" if replacing else "append"
            edit = EditBlock(block=name, action=action, text=said, old=replacing)
            confirmed(known.client, known.agent, edit, yes=yes)
    blocks = known.memory.blocks()
    known.tell(blocks, blocks)


@memory.command()
@click.argument("pid", type=int, required=False)
@click.option("--png", type=click.Path(dir_okay=False, path_type=Path), help="Draw it.")
@click.pass_context
def graph(context: click.Context, pid: int | None, png: Path | None) -> None:
    """Show the notes and the links between them: of process PID, or of --agent."""
    known: Known = context.obj
    if pid is not None:
        name = next((each.name for each in known.client.processes(all=True) if each.pid == pid), None)
        if name is None:
            raise NotFound(f"There is no process {pid}.", "`aios ps --all` lists them.")
        state = context.parent.params["state_dir"] if context.parent else None
        known = Known(context.with_resource(connect(state, name)), name, known.as_json)
    found = known.memory.graph()
    if png is not None:
        from aios.memory.graph import draw_graph

        draw_graph(found, png)
        click.echo(f"{len(found.nodes)} notes, {len(found.edges)} links: {png}")
        return
    texts = {node.id: textwrap.shorten(node.text, 40) for node in found.nodes}
    known.tell(found, *(f"{texts[e.a]}  --{e.strength:.2f}--  {texts[e.b]}" for e in found.edges))


@memory.command("export")
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
@click.pass_obj
def export_entries(known: Known, file: Path) -> None:
    """Write all entries to a file, as JSON lines."""
    data = known.memory.export()
    file.write_bytes(data)
    click.echo(f"{len(data.splitlines())} entries: {file}")


@memory.command("import")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.pass_obj
def import_entries(known: Known, file: Path) -> None:
    """Take in what `export` wrote: all of it or nothing."""
    ids = known.memory.import_(file.read_bytes())
    known.tell(ids, f"{len(ids)} entries")


@memory.command()
@click.pass_obj
def usage(known: Known) -> None:
    """Show how much is kept, and where it is."""
    used = known.memory.usage()
    said = (
        f"{used.entries} entries, {render.size(used.bytes)}; {render.size(used.ram_bytes)} in RAM,"
        f" {render.size(used.pinned_bytes)} pinned, {used.swapped} swapped"
    )
    known.tell(used, said)
