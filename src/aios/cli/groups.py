"""`aios groups`: limits of groups of agents."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from aios.cli import render
from aios.cli.daemon import connect, json_option, state_option


@click.group(invoke_without_command=True)
@json_option
@state_option
@click.pass_context
def groups(context: click.Context, as_json: bool, state_dir: Path | None) -> None:
    """List groups with limits, and what is used of them; `set` changes them."""
    if context.invoked_subcommand is not None:
        return
    with connect(state_dir) as client:
        told = client.groups()
    render.show_json(told) if as_json else render.show(render.group_table(told))


@groups.command("set")
@click.argument("name")
@click.option("--weight", type=float, help="Share of the cores against sibling groups.")
@click.option("--tokens-per-min", type=float, help="Over it, calls wait.")
@click.option("--requests-per-min", type=float, help="Over it, calls wait.")
@click.option("--concurrency", type=int, help="Calls that run at once; over it, calls wait.")
@click.option("--max-queue", type=int, help="Calls under way at once; over it, calls are refused.")
@click.option("--max-context", type=int, help="Tokens of prompt and answer; over it, a call is refused.")
@click.option("--spend", type=float, help="Cost in a period; a call that may cost more is refused.")
@click.option("--spend-period-s", type=float, help="Length of that period.")
@json_option
@state_option
def set_group(name: str, as_json: bool, state_dir: Path | None, **limits: Any) -> None:
    """Give group NAME these limits in place of those it has, until the kernel ends."""
    given = {field: value for field, value in limits.items() if value is not None}
    with connect(state_dir) as client:
        told = client.set_group(name, **given)
    render.show_json(told) if as_json else render.show(render.group_table([told]))
