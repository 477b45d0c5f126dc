"""`aios fs`: an agent's files, one command at a time or as a shell."""

from __future__ import annotations

import shlex
from pathlib import Path

import click

from aios.cli import fscommands, fsversions
from aios.cli.daemon import connect, json_option, state_option
from aios.cli.place import Place
from aios.errors import AiosError


@click.group(invoke_without_command=True)
@click.option("--agent", "-a", default="user", show_default=True, help="Whose files.")
@json_option
@state_option
@click.pass_context
def fs(context: click.Context, agent: str, as_json: bool, state_dir: Path | None) -> None:
    """Work with an agent's files; without a command: a shell.

    Every change is a version: `history`, `diff` and `rollback` go back; what is deleted is in the `bin`."""
    client = context.with_resource(connect(state_dir, agent))
    context.obj = Place(client, agent, as_json)
    if context.invoked_subcommand is None:
        _shell(context)


def _shell(context: click.Context) -> None:
    place: Place = context.obj
    click.echo("Files of an agent; `help` lists the commands, Ctrl-D ends.")
    while True:
        try:
            line = input(f"{place.agent}:{place.folder}> ")
        except EOFError:
            click.echo()
            return
        try:
            words = shlex.split(line)
            if words:
                _run(context, words)
        except (AiosError, ValueError) as error:
            click.echo(f"{error}", err=True)
        except click.ClickException as error:
            error.show()
        except click.exceptions.Exit:
            continue


def _run(context: click.Context, words: list[str]) -> None:
    if words == ["help"]:
        for name in sorted(fs.commands):
            click.echo(f"  {name:10} {fs.commands[name].get_short_help_str(60)}")
        return
    command = fs.get_command(context, words[0])
    if command is None:
        raise click.UsageError(f"There is no command {words[0]!r}; `help` lists them.")
    with command.make_context(words[0], words[1:], parent=context) as inner:
        command.invoke(inner)


@fs.command()
@click.argument("path", default="/")
@click.pass_obj
def cd(place: Place, path: str) -> None:
    """Go to a folder (in the shell)."""
    there = place.at(path)
    if place.files.stat(there).kind != "dir":
        raise click.UsageError(f"{there} is no folder.")
    place.folder = there


@fs.command()
@click.pass_obj
def pwd(place: Place) -> None:
    """Say which folder this is."""
    click.echo(place.folder)


for _command in (*fscommands.COMMANDS, *fsversions.COMMANDS):
    fs.add_command(_command)
