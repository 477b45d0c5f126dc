"""`aios secrets`: kept encrypted; agents know them by handle only."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from aios.cli import render
from aios.cli.daemon import connect, json_option, state_option
from aios.sdk import access


@click.group()
def secrets() -> None:
    """Keep secrets that tools need. An agent writes {{secret:NAME}} in a tool's arguments."""


@secrets.command("list")
@json_option
@state_option
def list_(as_json: bool, state_dir: Path | None) -> None:
    """List names, and who may use them."""
    with connect(state_dir) as client:
        told = client.request(access.secrets())
    if as_json:
        render.show_json(told)
        return
    for each in told["secrets"]:
        who = [*each.get("agents", ()), *(f"group {group}" for group in each.get("groups", ()))]
        click.echo(f"{each['name']}  {', '.join(who) or 'admins only'}")


@secrets.command("set")
@click.argument("name")
@click.option("--agent", "agents", multiple=True, help="Glob of agents that may use it.")
@click.option("--group", "groups", multiple=True, help="Glob of privilege groups that may use it.")
@state_option
def put(name: str, agents: tuple[str, ...], groups: tuple[str, ...], state_dir: Path | None) -> None:
    """Keep secret NAME. Its value is read from the terminal, or from standard input."""
    hidden = sys.stdin.isatty()
    value = click.prompt("Value", hide_input=True) if hidden else sys.stdin.read().removesuffix("\n")
    with connect(state_dir) as client:
        client.request(access.put_secret(name, value, agents, groups))
    click.echo(f"{name}: kept")


@secrets.command()
@click.argument("name")
@state_option
def remove(name: str, state_dir: Path | None) -> None:
    """Forget secret NAME."""
    with connect(state_dir) as client:
        client.request(access.remove_secret(name))
    click.echo(f"{name}: removed")
