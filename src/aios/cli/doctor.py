"""`aios doctor`: is this machine ready, and what to mend if not."""

from __future__ import annotations

import asyncio
import os
import platform
import shutil
import socket
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Literal

import click

from aios import config
from aios.cli import render
from aios.cli.daemon import daemon, json_option, state_option
from aios.cli.exits import Exit
from aios.config import Settings
from aios.errors import AiosError
from aios.syscalls import Record


class Check(Record, frozen=True):
    """One thing that was looked at."""

    name: str
    state: Literal["ok", "warn", "fail"]
    found: str
    mend: str = ""


@click.command()
@json_option
@state_option
def doctor(as_json: bool, state_dir: Path | None) -> int:
    """Check this machine and say what to mend. Exit status 1 if something fails."""
    flags = {"state.dir": str(state_dir) if state_dir else None}
    settings = config.load(flags=flags)
    checks = [check for look in LOOKS for check in look(settings, state_dir)]
    if as_json:
        render.show_json(checks)
    else:
        colours = {"ok": "green", "warn": "yellow", "fail": "red"}
        for check in checks:
            mend = f"  -> {check.mend}" if check.mend else ""
            click.echo(
                f"{click.style(f'{check.state:4}', fg=colours[check.state])}  {check.name}: {check.found}{mend}"
            )
    return Exit.FAILED if any(check.state == "fail" for check in checks) else Exit.OK


def _python(settings: Settings, state_dir: Path | None) -> Iterator[Check]:
    ok = sys.version_info >= (3, 11)
    yield Check(name="python", state="ok" if ok else "fail", found=platform.python_version(),
                mend="" if ok else "Install Python 3.11 or newer.")  # fmt: skip


def _engine(settings: Settings, state_dir: Path | None) -> Iterator[Check]:
    from aios.cores.llama.ffi import BUILD, Library

    try:
        library = Library()
        gpu = "with GPU offload" if library.lib.llama_supports_gpu_offload() else "CPU only"
        yield Check(name="engine", state="ok", found=f"xllamacpp {BUILD}, layout as expected, {gpu}")
    except AiosError as error:
        yield Check(name="engine", state="fail", found=error.what, mend=error.mend)


def _models(settings: Settings, state_dir: Path | None) -> Iterator[Check]:
    from aios.models import catalogue
    from aios.models.pull import digest
    from aios.models.store import ModelStore

    store = ModelStore()
    here = store.installed()
    for name, path in here.items():
        whole = digest(path) == store.model(name).sha256
        if whole:
            yield Check(name=f"model {name}", state="ok", found="digest as pinned")
        else:
            mend = f"rm {path}; aios pull {name}"
            yield Check(name=f"model {name}", state="fail", found="wrong digest", mend=mend)
    if catalogue.default() not in here:
        yield Check(name=f"model {catalogue.default()}", state="warn", found="not installed", mend="aios pull")
    folder = store.folder if store.folder.exists() else Path.home()
    free = shutil.disk_usage(folder).free
    mend = "" if free > 2e9 else "Models take 0.1 to 0.5 GB each."
    found = f"{render.size(free)} free at {folder}"
    yield Check(name="disk", state="ok" if free > 2e9 else "warn", found=found, mend=mend)


def _state(settings: Settings, state_dir: Path | None) -> Iterator[Check]:
    folder = settings.state_dir()
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        probe = folder / ".probe"
        probe.write_text("x")
        probe.unlink()
        yield Check(name="state folder", state="ok", found=str(folder))
    except OSError as error:
        yield Check(name="state folder", state="fail", found=f"{folder}: {error.strerror}",
                    mend="Set [state] dir to a folder you may write.")  # fmt: skip


def _network(settings: Settings, state_dir: Path | None) -> Iterator[Check]:
    found = daemon(state_dir)
    if found:
        yield Check(name="daemon", state="ok", found=f"runs at {found.url}, pid {found.pid}")
        return
    host, port = settings.server.host, settings.server.port
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
            yield Check(name="port", state="ok", found=f"{host}:{port} is free; no daemon runs")
        except OSError as error:
            yield Check(name="port", state="warn", found=f"{host}:{port}: {error.strerror}",
                        mend="Choose another: aios serve --port")  # fmt: skip


def _machine(settings: Settings, state_dir: Path | None) -> Iterator[Check]:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    enough = memory > 3e9
    mend = "" if enough else "Lower kv_ram_mb and context of the core."
    found = f"{cores} cores, {render.size(memory)} memory"
    yield Check(name="machine", state="ok" if enough else "warn", found=found, mend=mend)


def _sandbox(settings: Settings, state_dir: Path | None) -> Iterator[Check]:
    """The first that can be used is the one that is used."""
    from aios.tools.sandbox.chain import examine

    ways = asyncio.run(examine())
    active = next((way for way in ways if way.usable), None)
    if active is None:
        why = "; ".join(f"{way.name}: {' '.join(way.lacks)}" for way in ways) or "this system has none"
        mend = ways[0].mend if ways else "Run AIOS on Linux."
        yield Check(
            name="sandbox", state="warn", found=f"none; code and shell tools are refused ({why})", mend=mend
        )
        return
    lacks = f"; lacks {', '.join(active.lacks)}" if active.lacks else ""
    state = "ok" if active is ways[0] else "warn"
    found = f"{active.name}: {', '.join(active.holds)}{lacks}"
    yield Check(name="sandbox", state=state, found=found, mend="" if state == "ok" else active.mend)


def _browser(settings: Settings, state_dir: Path | None) -> Iterator[Check]:
    from aios.tools.browser.chromium import examine

    wanted = settings.tools.browser.enabled
    try:
        found = asyncio.run(examine(settings.tools.browser.path))
        yield Check(name="browser", state="ok", found=found if wanted else f"{found}; off",
                    mend="" if wanted else "To offer it: enabled = true in [tools.browser].")  # fmt: skip
    except AiosError as error:
        off = "" if wanted else "off; "
        yield Check(
            name="browser", state="fail" if wanted else "ok", found=f"{off}{error.what}", mend=error.mend
        )


Look = Callable[[Settings, Path | None], Iterator[Check]]
LOOKS: tuple[Look, ...] = (_python, _engine, _machine, _models, _state, _network, _sandbox, _browser)
