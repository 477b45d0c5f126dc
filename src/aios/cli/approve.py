"""`aios approve`: what agents wait for, and answers to it."""

from __future__ import annotations

import time
from pathlib import Path

import click
import msgspec

from aios.access.approvals import Approval, ApprovalState
from aios.cli import render
from aios.cli.daemon import connect, json_option, state_option
from aios.sdk import access


@click.group(invoke_without_command=True)
@json_option
@state_option
@click.pass_context
def approve(context: click.Context, as_json: bool, state_dir: Path | None) -> None:
    """List what agents wait for; `show`, `allow` and `deny` it."""
    if context.invoked_subcommand is None:
        _listed("waiting", as_json, state_dir)


@approve.command("list")
@click.option("--all", "everything", is_flag=True, help="With those that are over.")
@json_option
@state_option
def list_(everything: bool, as_json: bool, state_dir: Path | None) -> None:
    """List what agents wait for."""
    _listed(None if everything else "waiting", as_json, state_dir)


@approve.command()
@click.argument("id")
@json_option
@state_option
def show(id: str, as_json: bool, state_dir: Path | None) -> None:
    """Show approval ID: the exact arguments, and what would change."""
    with connect(state_dir) as client:
        told = client.approvals.get(id)
    render.show_json(told) if as_json else click.echo(_described(told))


@approve.command()
@click.argument("id")
@click.option("--always", is_flag=True, help="And whatever this rule asks of this agent from now on.")
@click.option("--reason", default="", help="Kept in the audit log.")
@state_option
def allow(id: str, always: bool, reason: str, state_dir: Path | None) -> None:
    """Let the agent do ID, with exactly these arguments, once."""
    with connect(state_dir) as client:
        told = client.approvals.allow(id, always=always, reason=reason)
    click.echo(f"{told.id}: {told.state}")


@approve.command()
@click.argument("id")
@click.option("--reason", default="", help="The agent is told.")
@state_option
def deny(id: str, reason: str, state_dir: Path | None) -> None:
    """Refuse ID."""
    with connect(state_dir) as client:
        told = client.approvals.deny(id, reason)
    click.echo(f"{told.id}: {told.state}")


@approve.command()
@click.argument("rule", required=False)
@click.argument("agent", required=False)
@json_option
@state_option
def always(rule: str | None, agent: str | None, as_json: bool, state_dir: Path | None) -> None:
    """List what is always allowed; with RULE and AGENT (`group:name`) take that back."""
    if (rule is None) != (agent is None):
        raise click.UsageError("Name both RULE and AGENT.")
    with connect(state_dir) as client:
        if rule is not None and agent is not None:
            client.request(access.withdraw(rule, agent))
        told = client.request(access.standing())
    if as_json:
        render.show_json(told)
        return
    for each in told["standing"]:
        click.echo(f"{each['rule']}  {each['agent']}  by {each.get('by', '')}")


def _listed(state: ApprovalState | None, as_json: bool, state_dir: Path | None) -> None:
    with connect(state_dir) as client:
        told = client.approvals.list(state)
    if as_json:
        render.show_json(told)
        return
    for each in told:
        ago = render.seconds(max(0.0, time.time() - each.asked))
        click.echo(
            f"{each.id}  {each.state:8}  {each.agent}  {each.action} {each.resource}  ({each.rule}, {ago} ago)"
        )


def _described(asked: Approval) -> str:
    """All that who answers must see. Control characters stay visible: arguments come from a model."""
    arguments = msgspec.json.format(asked.arguments, indent=2)
    parts = [
        f"{asked.id}: {asked.state}", f"agent     {asked.agent} (process {asked.pid})",
        f"wants     {asked.action} on {asked.resource}", f"asked by  rule {asked.rule}: {asked.why}",
        f"SHA-256   {asked.digest}", f"expires   in {render.seconds(max(0.0, asked.expires - time.time()))}",
        "arguments", arguments,
    ]  # fmt: skip
    if asked.diff:
        parts += ["changes", asked.diff.rstrip("\n")]
    if asked.by:
        parts.append(f"answered  by {asked.by}: {asked.reason}")
    return "\n".join(render.printable(part) for part in parts)
