"""`aios scheduler`: which policy orders the calls."""

from __future__ import annotations

from pathlib import Path

import click

from aios import plugins
from aios.cli import render
from aios.cli.daemon import connect, json_option, state_option


@click.group()
def scheduler() -> None:
    """Show and change the scheduling policy of the running kernel."""


@scheduler.command("show")
@json_option
@state_option
def show(as_json: bool, state_dir: Path | None) -> None:
    """Show each core's policy and queue, and the policies there are."""
    with connect(state_dir) as client:
        cores = client.status()["cores"]
    if as_json:
        render.show_json({"cores": cores, "policies": plugins.names(plugins.POLICIES)})
        return
    render.show(render.core_table(cores))
    click.echo(f"policies: {', '.join(plugins.names(plugins.POLICIES))}")


@scheduler.command("set")
@click.argument("policy")
@click.option("--core", default="", help="Of this core only.")
@json_option
@state_option
def set_policy(policy: str, core: str, as_json: bool, state_dir: Path | None) -> None:
    """Order calls by POLICY from now on. Calls that wait go on waiting; none is lost."""
    with connect(state_dir) as client:
        cores = client.set_policy(policy, core)["cores"]
    render.show_json(cores) if as_json else render.show(render.core_table(cores))
