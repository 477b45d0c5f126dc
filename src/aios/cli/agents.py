"""`aios agents`: who there is, and what one lets another do."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from aios.cli import render
from aios.cli.daemon import connect, json_option, state_option
from aios.sdk import access


@click.group(invoke_without_command=True)
@json_option
@state_option
@click.pass_context
def agents(context: click.Context, as_json: bool, state_dir: Path | None) -> None:
    """List agents: groups, keys, processes, what their contexts have seen."""
    if context.invoked_subcommand is not None:
        return
    with connect(state_dir) as client:
        told = client.request(access.agents())
    if as_json:
        render.show_json(told)
        return
    for each in told["agents"]:
        parts = [each["agent"], f"groups {', '.join(each['groups'])}"]
        parts += [f"{each['keys']} keys"] if each.get("keys") else []
        parts += [f"pids {' '.join(map(str, each['pids']))}"] if each.get("pids") else []
        parts += [f"labels {', '.join(each['labels'])}"] if each.get("labels") else []
        parts += [f"{each['grants']} grants"] if each.get("grants") else []
        click.echo("  ".join(parts))


@agents.command("grants")
@json_option
@state_option
def list_grants(as_json: bool, state_dir: Path | None) -> None:
    """List what agents granted."""
    with connect(state_dir) as client:
        told = client.request(access.grants())
    render.show_json(told) if as_json else _show(told["grants"])


@agents.command()
@click.argument("owner")
@click.argument("resource")
@click.argument("name")
@click.option("--group", "to_group", is_flag=True, help="NAME is a group.")
@click.option("--write", is_flag=True, help="Not only read.")
@click.option("--expires-s", type=float, help="For so long, seconds.")
@state_option
def grant(
    owner: str, resource: str, name: str, to_group: bool, write: bool, expires_s: float | None,
    state_dir: Path | None,
) -> None:  # fmt: skip
    """Let NAME (an agent `group:name`) at what of OWNER matches RESOURCE (a glob)."""
    whom = "group" if to_group else "agent"
    with connect(state_dir) as client:
        given = {"owner": owner, "whom": whom, "write": write, "expires_s": expires_s}
        _show([client.request(access.grant(resource, name, **given))])


@agents.command()
@click.argument("owner")
@click.argument("resource")
@click.argument("name")
@click.option("--group", "to_group", is_flag=True, help="NAME is a group.")
@state_option
def revoke(owner: str, resource: str, name: str, to_group: bool, state_dir: Path | None) -> None:
    """Take a grant back."""
    with connect(state_dir) as client:
        told = client.request(access.revoke(resource, name, "group" if to_group else "agent", owner))
    _show(told["grants"])


def _show(grants: list[dict[str, Any]]) -> None:
    for each in grants:
        grant = each["grant"]
        may = "write" if grant.get("write") else "read"
        click.echo(f"{each['owner']}  {each['resource']}  {may} to {grant['whom']} {grant['name']}")
