"""`aios keys`: one key an agent, shown once."""

from __future__ import annotations

from pathlib import Path

import click
import msgspec

from aios.cli import render
from aios.cli.daemon import connect, json_option, state_option
from aios.sdk.wire import Request


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
        body = {"agent": agent, "group": group}
        told = msgspec.json.decode(client.request(Request("POST", "/aios/v1/keys", body, retriable=False)))
    render.show_json(told) if as_json else click.echo(told["key"])


@keys.command("list")
@json_option
@state_option
def list_keys(as_json: bool, state_dir: Path | None) -> None:
    """List the agents that have keys."""
    with connect(state_dir) as client:
        told = msgspec.json.decode(client.request(Request("GET", "/aios/v1/keys")))
    if as_json:
        render.show_json(told)
        return
    for agent in told.get("agents", told.get("keys", ())):
        click.echo(f"{agent['name']}  {agent.get('group', 'default')}")


@keys.command("revoke")
@click.argument("agent")
@state_option
def revoke(agent: str, state_dir: Path | None) -> None:
    """Forget all keys of AGENT."""
    with connect(state_dir) as client:
        client.request(Request("DELETE", f"/aios/v1/keys/{agent}"))
    click.echo(f"{agent}: revoked")
