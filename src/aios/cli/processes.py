"""`ps`, `status`, `spawn`, `kill`, `pause`, `resume`, `nice`."""

from __future__ import annotations

from pathlib import Path

import click

from aios.cli import render
from aios.cli.daemon import connect, json_option, state_option
from aios.syscalls import ProcessInfo


def _shown(info: ProcessInfo, as_json: bool) -> None:
    if as_json:
        render.show_json(info)
    else:
        click.echo(f"{info.pid} {info.name}: {info.state}")


@click.command()
@click.option("--all", "-a", "everyone", is_flag=True, help="With exited ones.")
@json_option
@state_option
def ps(everyone: bool, as_json: bool, state_dir: Path | None) -> None:
    """List processes."""
    with connect(state_dir) as client:
        processes = client.processes(all=everyone)
    if as_json:
        render.show_json(processes)
    else:
        render.show(render.process_table(processes))


@click.command()
@json_option
@state_option
def status(as_json: bool, state_dir: Path | None) -> None:
    """Show the kernel and its cores."""
    with connect(state_dir) as client:
        told = client.status()
    if as_json:
        render.show_json(told)
        return
    click.echo(f"aios {told['version']}: {told['state']}, up {render.seconds(told['uptime_s'])}")
    render.show(render.core_table(told["cores"]))


@click.command()
@click.argument("pid", type=int)
@json_option
@state_option
def context(pid: int, as_json: bool, state_dir: Path | None) -> None:
    """Show what the window of the last call of process PID holds."""
    with connect(state_dir) as client:
        told = client.context(pid)
    if as_json:
        render.show_json(told)
        return
    render.show(render.context_table(told))
    if told.contexts:
        render.show(render.kv_table(told.contexts))


@click.command()
@click.argument("name")
@click.option("--group", default="", help="Privilege group.")
@click.option("--class", "scheduling_class", default="normal", help="interactive, normal, batch or idle.")
@click.option("--nice", "value", default=0, help="-20 (most favoured) to 19.")
@json_option
@state_option
def spawn(
    name: str, group: str, scheduling_class: str, value: int, as_json: bool, state_dir: Path | None
) -> None:
    """Make a process; callers that name themselves NAME are it."""
    with connect(state_dir) as client:
        _shown(client.spawn(name, group=group, scheduling_class=scheduling_class, nice=value), as_json)


@click.command()
@click.argument("pid", type=int)
@click.option("--reason", default="", help="Told to the process's callers.")
@json_option
@state_option
def kill(pid: int, reason: str, as_json: bool, state_dir: Path | None) -> None:
    """End process PID and its children; their calls fail at once."""
    with connect(state_dir) as client:
        _shown(client.kill(pid, reason), as_json)


@click.command()
@click.argument("pid", type=int)
@json_option
@state_option
def pause(pid: int, as_json: bool, state_dir: Path | None) -> None:
    """Hold the calls of process PID: running ones leave their slots and lose nothing."""
    with connect(state_dir) as client:
        _shown(client.pause(pid), as_json)


@click.command()
@click.argument("pid", type=int)
@json_option
@state_option
def resume(pid: int, as_json: bool, state_dir: Path | None) -> None:
    """Let paused process PID go on where it stood."""
    with connect(state_dir) as client:
        _shown(client.resume(pid), as_json)


@click.command(context_settings={"ignore_unknown_options": True})
@click.argument("pid", type=int)
@click.argument("value", type=int)
@json_option
@state_option
def nice(pid: int, value: int, as_json: bool, state_dir: Path | None) -> None:
    """Set the nice VALUE of process PID: -20 (most favoured) to 19."""
    with connect(state_dir) as client:
        _shown(client.nice(pid, value), as_json)
