"""`aios keys`: one key an agent, shown once."""

from __future__ import annotations

from pathlib import Path

import click

from aios.cli import render
from aios.cli.daemon import connect, json_option, state_option
from aios.sdk import requests


@click.group()
def keys() -> None:
    """Create, list and revoke agents' keys."""


@keys.command("create")
@click.argument("agent")
@click.option("--group", default="default", help="Privilege group; `admin` may manage the kernel.")
@json_option
@state_option
def create(agent: str, group: str, as_json: bool, state_dir: Path | None) -> None:
    """Make a key for AGENT. It is shown once: only its hash is kept."""
    with connect(state_dir) as client:
        told = client.request(requests.create_key(agent, group))
    render.show_json(told) if as_json else click.echo(told["key"])


@keys.command("list")
@json_option
@state_option
def list_keys(as_json: bool, state_dir: Path | None) -> None:
    """List the agents that have keys."""
    with connect(state_dir) as client:
        told = client.request(requests.keys())
    if as_json:
        render.show_json(told)
        return
    for agent in told["keys"]:
        click.echo(f"{agent['name']}  {agent.get('group', 'default')}")


@keys.command("revoke")
@click.argument("agent")
@state_option
def revoke(agent: str, state_dir: Path | None) -> None:
    """Forget all keys of AGENT."""
    with connect(state_dir) as client:
        client.request(requests.revoke_keys(agent))
    click.echo(f"{agent}: revoked")
