"""`aios tools`: what tools there are, trying one, adding and removing sources."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import click
from rich.markup import escape
from rich.table import Table

from aios.cli import render
from aios.cli.daemon import connect, json_option, state_option
from aios.syscalls.tools import CallTool, Tool, ToolSource


@click.group(invoke_without_command=True)
@json_option
@state_option
@click.pass_context
def tools(context: click.Context, as_json: bool, state_dir: Path | None) -> None:
    """List tools; `show`, `test`, `add` and `remove` them."""
    if context.invoked_subcommand is None:
        _list(as_json, state_dir)


@tools.command("list")
@json_option
@state_option
def list_tools(as_json: bool, state_dir: Path | None) -> None:
    """List all tools."""
    _list(as_json, state_dir)


@tools.command("show")
@click.argument("name")
@json_option
@state_option
def show(name: str, as_json: bool, state_dir: Path | None) -> None:
    """Show all that is known of tool NAME."""
    with connect(state_dir) as client:
        told = client.tools.show(name)
    if as_json:
        render.show_json(told)
        return
    click.echo(f"{told.name}: {told.description}")
    for field in (
        "effect",
        "concurrency",
        "calls_per_min",
        "timeout_s",
        "cost",
        "version",
        "digest",
        "provider",
    ):
        if (value := getattr(told, field)) not in (None, "", 0.0):
            click.echo(f"  {field}: {value}")
    flags = [field for field in told.flags.__struct_fields__ if getattr(told.flags, field)]
    click.echo(f"  flags: {', '.join(flags) or 'none'}")
    click.echo("  arguments:")
    render.show_json(told.parameters)


@tools.command("test")
@click.argument("name")
@click.argument("arguments", default="{}")
@click.option("--agent", "-a", default="user", show_default=True, help="Who calls it.")
@json_option
@state_option
def test(name: str, arguments: str, agent: str, as_json: bool, state_dir: Path | None) -> None:
    """Call tool NAME for an agent, with ARGUMENTS (a JSON object). What asks a person is confirmed by this."""
    from aios.cli.confirm import confirmed

    with connect(state_dir, agent) as client:
        told = confirmed(client, agent, CallTool(name=name, arguments=arguments))
    if as_json:
        render.show_json(told)
    else:
        click.echo(told.text)
        click.echo(f"({render.seconds(told.run_s)}, waited {render.seconds(told.waited_s)})", err=True)


@tools.command("add")
@click.argument("name")
@click.option("--package", "folder", help="A tool package: its folder, or `installed`.")
@click.option("--mcp", "server", help="An MCP server: its command line, or its http(s) address.")
@click.option(
    "--openapi", "description", type=click.Path(exists=True, dir_okay=False), help="A description file."
)
@click.option("--url", default="", help="openapi: the service, if not the first of its description.")
@click.option("--env", multiple=True, metavar="K=V", help="mcp: a variable; V may be $NAME of the kernel's.")
@click.option("--header", multiple=True, metavar="K=V", help="mcp, openapi: a header; V as of --env.")
@json_option
@state_option
def add(
    name: str, folder: str | None, server: str | None, description: str | None, url: str, env: tuple[str, ...],
    header: tuple[str, ...], as_json: bool, state_dir: Path | None,
) -> None:  # fmt: skip
    """Offer the tools of a source from now on, after a restart too. They are named NAME__tool."""
    if sum(each is not None for each in (folder, server, description)) != 1:
        raise click.UsageError("Give one of --package, --mcp and --openapi.")
    variables, headers = _pairs(env), _pairs(header)
    if folder is not None:
        path = "" if folder == "installed" else str(Path(folder).resolve())
        source = ToolSource(name=name, kind="package", path=path)
    elif server is not None and server.startswith(("http://", "https://")):
        source = ToolSource(name=name, kind="mcp", url=server, headers=headers)
    elif server is not None:
        import shlex

        command, *args = shlex.split(server) or [""]
        source = ToolSource(name=name, kind="mcp", command=command, args=tuple(args), env=variables)
    else:
        path = str(Path(description or "").resolve())
        source = ToolSource(name=name, kind="openapi", path=path, url=url, headers=headers)
    with connect(state_dir) as client:
        told = client.tools.add(source)
    render.show_json(told) if as_json else render.show(table(told))


@tools.command("remove")
@click.argument("name")
@json_option
@state_option
def remove(name: str, as_json: bool, state_dir: Path | None) -> None:
    """Take away tool or source NAME. One of the configuration's is back after a restart."""
    with connect(state_dir) as client:
        left = client.tools.remove(name)
    render.show_json(left) if as_json else click.echo(f"{name}: removed; {len(left)} tools are left")


def table(told: Iterable[Tool]) -> Table:
    """Tools and what matters of them."""
    found = Table(box=None, pad_edge=False, header_style="bold")
    for column in ("TOOL", "EFFECT", "FROM", "DESCRIPTION"):
        found.add_column(column, no_wrap=column == "TOOL")
    for tool in told:
        found.add_row(escape(tool.name), tool.effect, escape(tool.provider), escape(tool.description))
    return found


def _list(as_json: bool, state_dir: Path | None) -> None:
    with connect(state_dir) as client:
        told = client.tools.list()
    render.show_json(told) if as_json else render.show(table(told))


def _pairs(given: tuple[str, ...]) -> dict[str, str]:
    found: dict[str, str] = {}
    for pair in given:
        key, equals, value = pair.partition("=")
        if not equals:
            raise click.UsageError(f"{pair!r} is not K=V.")
        found[key] = value
    return found
