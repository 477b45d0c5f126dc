"""`aios`: the command line. Each command imports what it needs when it runs, so `--help` is quick."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from importlib import import_module
from typing import Any

import click

from aios.cli.exits import Exit, status_of
from aios.errors import AiosError

COMMANDS = {
    "serve": ("aios.cli.serve:serve", "Run the kernel daemon."),
    "run": ("aios.cli.run:run", "Run an agent from a file or package."),
    "do": ("aios.cli.do:do", "Say in plain language what to do with files."),
    "ps": ("aios.cli.processes:ps", "List processes."),
    "top": ("aios.cli.top:top", "Watch processes and cores, live."),
    "spawn": ("aios.cli.processes:spawn", "Make a process."),
    "kill": ("aios.cli.processes:kill", "End a process and its children."),
    "pause": ("aios.cli.processes:pause", "Hold the calls of a process."),
    "resume": ("aios.cli.processes:resume", "Let a paused process go on."),
    "nice": ("aios.cli.processes:nice", "Change how favoured a process is."),
    "strace": ("aios.cli.strace:strace", "Follow a process's syscalls, live."),
    "context": ("aios.cli.processes:context", "Show what a process's window holds."),
    "trace": ("aios.cli.trace:trace", "Export what happened lately."),
    "timeline": ("aios.cli.trace:timeline", "Draw what happened lately."),
    "status": ("aios.cli.processes:status", "Show the kernel and its cores."),
    "scheduler": ("aios.cli.scheduler:scheduler", "Show and change the scheduling policy."),
    "groups": ("aios.cli.groups:groups", "Show and change limits of groups of agents."),
    "memory": ("aios.cli.memory:memory", "What agents know."),
    "fs": ("aios.cli.fs:fs", "What agents keep: files with versions."),
    "tools": ("aios.cli.tools:tools", "Show, try, add and remove tools."),
    "mcp": ("aios.cli.mcp:mcp", "Offer tools, memory and files to an MCP client."),
    "models": ("aios.cli.models:models", "List the model catalogue."),
    "pull": ("aios.cli.models:pull", "Fetch a model."),
    "keys": ("aios.cli.keys:keys", "Create, list and revoke agents' keys."),
    "agents": ("aios.cli.agents:agents", "List agents; grant one what is another's."),
    "approve": ("aios.cli.approve:approve", "Answer what agents ask."),
    "secrets": ("aios.cli.secrets:secrets", "Keep secrets that tools need."),
    "audit": ("aios.cli.audit:audit", "Show, verify and export the audit log."),
    "bench": ("aios.cli.bench:bench", "Run a benchmark."),
    "doctor": ("aios.cli.doctor:doctor", "Check this machine and say what to mend."),
}
"""Where each command is, and its line in `aios --help`, which must not import them all."""


class Lazy(click.Group):
    """A group whose commands are imported when they are called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module, _, name = COMMANDS[cmd_name][0].partition(":")
        return getattr(import_module(module), name)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, line) for name, (_, line) in COMMANDS.items()])


@click.group(cls=Lazy, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="aios", prog_name="aios")
def cli() -> None:
    """AIOS: an operating system for LLM agents."""


def main(arguments: list[str] | None = None) -> None:
    """The console script. Errors are one line: what, and how to mend it; AIOS_DEBUG=1 shows the traceback."""
    sys.exit(_run(arguments))


def _run(arguments: list[str] | None) -> int:
    try:
        result: Any = cli.main(arguments, standalone_mode=False)
        return result if isinstance(result, int) else Exit.OK
    except click.exceptions.Abort:
        return Exit.INTERRUPTED
    except click.ClickException as error:
        error.show()
        return Exit.USAGE
    except KeyboardInterrupt:
        return Exit.INTERRUPTED
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return Exit.OK
    except AiosError as error:
        return _tell(error)
    except BaseExceptionGroup as group:
        found = next(_errors(group), None)
        if found is None:
            raise
        return _tell(found)


def _errors(error: BaseException) -> Iterator[AiosError]:
    """The kernel's own errors in an exception group, however deep."""
    if isinstance(error, AiosError):
        yield error
    nested: tuple[BaseException, ...] = getattr(error, "exceptions", ())
    for inner in nested:
        yield from _errors(inner)


def _tell(error: AiosError) -> int:
    if os.environ.get("AIOS_DEBUG"):
        raise error
    click.echo(f"aios: {error}", err=True)
    return status_of(error)


if __name__ == "__main__":
    main()
