"""`aios do`: what to do with an agent's files, in plain words."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import click

from aios.cli.confirm import Confirming
from aios.cli.daemon import connect_async, json_option, state_option
from aios.cli.exits import Exit
from aios.cli.render import show_json
from aios.sdk.plain.interpreter import Outcome, PlainLanguage, Prepared


@click.command()
@click.argument("command", nargs=-1)
@click.option("--yes", "-y", is_flag=True, help="Do not ask, even for what destroys.")
@click.option("--dry-run", "-n", is_flag=True, help="Show what would be done, and do nothing.")
@click.option("--undo", is_flag=True, help="Take back the last command that changed something.")
@click.option("--model", default="", help="The model that understands (default: the kernel's).")
@click.option("--agent", "-a", default="user", show_default=True, help="Whose files.")
@json_option
@state_option
def do(
    command: tuple[str, ...], yes: bool, dry_run: bool, undo: bool, model: str, agent: str, as_json: bool,
    state_dir: Path | None,
) -> int:  # fmt: skip
    """Do what COMMAND says: find, create, move, copy, delete, summarise, roll back, share or group files.

    The steps are shown first. Those that destroy or publish something are asked for. `aios do --undo` takes a
    command back."""
    if undo == bool(command):
        raise click.UsageError("Say what to do, or --undo.")
    return asyncio.run(_do(" ".join(command), agent, model, state_dir, (yes, dry_run, as_json)))


async def _do(
    command: str, agent: str, model: str, state_dir: Path | None, how: tuple[bool, bool, bool]
) -> int:
    yes, dry_run, as_json = how
    async with connect_async(state_dir, agent) as client:
        plain = PlainLanguage(Confirming(client, agent, yes=yes or not command), client, model=model)
        if not command:
            done = await plain.undo()
            lost = "".join(f"\nnot taken back: {line}" for line in done.lost)
            show_json(done) if as_json else click.echo(f"taken back: {done.command}{lost}")
            return Exit.OK
        prepared = await plain.prepare(command)
        if dry_run and as_json:
            show_json({"plan": prepared.plan, "steps": _lines(prepared), "destroys": prepared.program.destroys})
            return Exit.OK
        if not as_json:
            for line in _lines(prepared):
                click.echo(f"  {line}", err=True)
        if not dry_run:
            if prepared.program.destroys and not yes and not _allowed(prepared):
                click.echo("Nothing was done.", err=True)
                return Exit.REFUSED
            # Who said yes to the plan is not asked again for its steps.
            sure = Confirming(client, agent, yes=yes or bool(prepared.program.destroys))
            outcome = await PlainLanguage(sure, client, model=model).run(prepared)
            show_json(outcome) if as_json else _show(outcome, client.address.url)
    return Exit.OK


def _lines(prepared: Prepared) -> list[str]:
    return [action.line for action in prepared.program.actions]


def _allowed(prepared: Prepared) -> bool:
    """Whether the person says yes; who can't be asked (no terminal) has not."""
    for line in prepared.program.destroys:
        click.echo(f"This {line}.", err=True)
    if not sys.stdin.isatty():
        click.echo("Say --yes to do it.", err=True)
        return False
    return click.confirm("Do it?", err=True)


def _show(outcome: Outcome, url: str) -> None:
    if outcome.text:
        click.echo(outcome.text)
    for path, token in outcome.links.items():
        click.echo(f"{path}: {url}/share/{token}")
