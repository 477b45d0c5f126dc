"""`aios run`: an agent, on the running kernel or on one of its own."""

from __future__ import annotations

import asyncio
import importlib
import importlib.util
import inspect
import sys
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import click

from aios.cli.daemon import daemon, state_option
from aios.errors import BadRequest
from aios.sdk.agent import Agent
from aios.sdk.client import AsyncClient

Main = Callable[[AsyncClient, str], Awaitable[Any]]


@click.command()
@click.argument("target")
@click.argument("task", default="")
@click.option(
    "--config", "file", type=click.Path(path_type=Path), help="TOML file of the kernel made for the run."
)
@click.option("--name", help="Name of the process (default: the file's).")
@click.option(
    "--class",
    "scheduling_class",
    type=click.Choice(["interactive", "normal", "batch", "idle"]),
    help="Scheduling class of its calls.",
)
@click.option("--policy", help="Scheduling policy of its calls, of those its group may choose.")
@click.option("--priority", type=int, help="Of its calls, for the policies that know priorities.")
@click.option("--deadline", "deadline_s", type=float, help="Seconds after which a call of it fails.")
@click.option(
    "--yes-to",
    multiple=True,
    help="Allow unasked: delete, overwrite, irreversible, a rule, a glob of actions.",
)
@state_option
def run(
    target: str, task: str, file: Path | None, name: str | None, yes_to: tuple[str, ...],
    state_dir: Path | None, **urgency: Any,
) -> None:  # fmt: skip
    """Run TARGET (a file, a folder with `__init__.py` or a module) on TASK and print the answer.

    TARGET holds an `Agent` subclass that can be made with a client alone, or `async def main(client, task)`.
    Without a daemon a kernel is started for the run. It asks nobody: it denies what would be asked, but for
    `--yes-to`."""
    module = _load(target)
    entry = _entry(module, target)
    asked = {option: value for option, value in urgency.items() if value is not None}
    answer = asyncio.run(_run(entry, task, name or Path(target).stem, _Start(file, state_dir, yes_to), asked))
    if answer is not None:
        click.echo(answer)


class _Start(NamedTuple):
    """Which kernel: the options say it."""

    file: Path | None
    state_dir: Path | None
    yes_to: tuple[str, ...]


async def _run(entry: Main, task: str, name: str, start: _Start, options: dict[str, Any]) -> Any:
    async with (
        _kernel(start) as (url, key),
        AsyncClient(url, api_key=key, agent=name, options=options) as client,
    ):
        return await entry(client, task)


@asynccontextmanager
async def _kernel(start: _Start) -> AsyncGenerator[tuple[str, str | None]]:
    """Address (and key, or None) of the running daemon, else of a kernel on a free port for this run."""
    found = None if start.file else daemon(start.state_dir)
    if found:
        if start.yes_to:
            mend = "Answer with `aios approve`, or set yes_to of its [access]."
            raise BadRequest("--yes-to is for a run without a daemon, and one runs.", mend)
        yield found.url, None
        return
    import tempfile

    from aios import config
    from aios.kernel.kernel import Kernel
    from aios.server.serve import listening

    with tempfile.TemporaryDirectory(prefix="aios-run-") as folder:
        flags: dict[str, Any] = {"server.port": 0, "state.dir": folder, "access.unattended": True}
        if start.yes_to:
            flags["access.yes_to"] = list(start.yes_to)
        settings = config.load(start.file, flags=flags)
        async with Kernel(settings) as kernel, listening(kernel, port=0) as listener:
            yield listener.url, None


def _load(target: str) -> ModuleType:
    path = Path(target)
    if path.is_dir():
        path = path / "__init__.py"
    if path.suffix != ".py":
        sys.path.insert(0, "")
        try:
            return importlib.import_module(target)
        except ModuleNotFoundError as error:
            raise BadRequest(f"There is no file or module {target!r}.", "Name a .py file.") from error
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if not path.is_file() or spec is None or spec.loader is None:
        raise BadRequest(f"There is no file {target}.", "Name a .py file, a package folder or a module.")
    module = importlib.util.module_from_spec(spec)
    sys.path.insert(0, str(path.parent.resolve()))
    spec.loader.exec_module(module)
    return module


def _entry(module: ModuleType, target: str) -> Main:
    """`main`, else the one Agent subclass defined there."""
    main = getattr(module, "main", None)
    if inspect.iscoroutinefunction(main):
        return main
    agents: list[type[Agent]] = [
        thing
        for thing in vars(module).values()
        if inspect.isclass(thing) and issubclass(thing, Agent) and thing.__module__ == module.__name__
        and not inspect.isabstract(thing)
    ]  # fmt: skip
    if len(agents) != 1:
        raise BadRequest(
            f"{target} has {len(agents)} agent classes and no `async def main(client, task)`.",
            "Define exactly one of them.",
        )
    (agent,) = agents

    async def run_agent(client: AsyncClient, task: str) -> Any:
        return await agent(client).run(task)

    return run_agent
