"""`aios groups`: limits of groups of agents."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from aios.cli import render
from aios.cli.daemon import connect, json_option, state_option

NONE = "none"


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


def _limit(kind: Callable[[str], Any]) -> Callable[[str], Any]:
    """Reads a value of that kind, or `none`: no limit."""

    def read(text: str) -> Any:
        return NONE if text == NONE else kind(text)

    read.__name__ = f"{kind.__name__}|{NONE}"  # how help and errors call it
    return read


def names(text: str) -> list[str]:
    """With commas between them."""
    return [name.strip() for name in text.split(",")]


@groups.command("set")
@click.argument("name")
@click.option("--weight", type=_limit(float), help="Share of the cores against sibling groups.")
@click.option("--tokens-per-min", type=_limit(float), help="Over it, calls wait.")
@click.option("--requests-per-min", type=_limit(float), help="Over it, calls wait.")
@click.option("--concurrency", type=_limit(int), help="Calls that run at once; over it, calls wait.")
@click.option("--max-queue", type=_limit(int), help="Calls under way at once; over it, they are refused.")
@click.option("--max-context", type=_limit(int), help="Tokens of prompt and answer a call may have.")
@click.option("--spend", type=_limit(float), help="Cost in a period; a call that may cost more is refused.")
@click.option("--spend-period-s", type=_limit(float), help="Length of that period.")
@click.option("--classes", type=_limit(names), help="Classes that its calls may choose.")
@click.option("--policies", type=_limit(names), help="Policies that its calls may choose.")
@json_option
@state_option
def set_group(name: str, as_json: bool, state_dir: Path | None, **limits: Any) -> None:
    """Change limits of group NAME, until the kernel ends. Those that are not named stay; `none` takes one
    away."""
    named = {limit: value for limit, value in limits.items() if value is not None}
    given = {limit: None if value == NONE else value for limit, value in named.items()}
    with connect(state_dir) as client:
        told = client.set_group(name, **given)
    render.show_json(told) if as_json else render.show(render.group_table([told]))
