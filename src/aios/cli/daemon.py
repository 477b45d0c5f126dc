"""How commands reach the running kernel."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from aios import config
from aios.errors import DaemonNotFound
from aios.sdk.client import AsyncClient, Client
from aios.server.daemon import Daemon, find_daemon

F = TypeVar("F", bound=Callable[..., Any])


def state_option(command: F) -> F:
    """`--state-dir`: which kernel's."""
    text = "State folder of the kernel (default: the configuration's)."
    return click.option("--state-dir", type=click.Path(path_type=Path), help=text)(command)


def json_option(command: F) -> F:
    """`--json`: for programs."""
    return click.option("--json", "as_json", is_flag=True, help="Print JSON.")(command)


def daemon(state_dir: Path | None) -> Daemon | None:
    """The daemon of a state folder, if one runs."""
    flags = {"state.dir": str(state_dir) if state_dir else None}
    return find_daemon(config.load(flags=flags).state_dir())


def connect(state_dir: Path | None, agent: str | None = None) -> Client:
    """A client with the operator's rights, which acts as `agent`. Raises DaemonNotFound."""
    found = _running(state_dir)
    return Client(found.url, api_key=found.token, agent=agent, retries=0)


def connect_async(state_dir: Path | None, agent: str | None = None) -> AsyncClient:
    """The same, for commands that are many calls. Raises DaemonNotFound."""
    found = _running(state_dir)
    return AsyncClient(found.url, api_key=found.token, agent=agent, retries=0)


def _running(state_dir: Path | None) -> Daemon:
    found = daemon(state_dir)
    if found is None:
        raise DaemonNotFound("No kernel runs here.", "Start one: aios serve")
    return found
