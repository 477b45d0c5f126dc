"""How the command line shows things."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import click
import msgspec
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from aios.syscalls import ContextInfo, ContextState, GroupInfo, ProcessInfo

WIDE = 160
"""Columns of what is no terminal: a file, a pipe."""
STYLES = {"running": "green", "ready": "yellow", "paused": "magenta", "killed": "red", "exited": "dim"}


def show_json(value: Any) -> None:
    """Print a Struct (or builtins) as one JSON document, for programs."""
    click.echo(msgspec.json.format(msgspec.json.encode(value), indent=2).decode())


def printable(text: str) -> str:
    """With control characters that can be seen: a text that a model wrote must not move the cursor."""
    return "".join(c if c.isprintable() or c in "\n\t" else c.encode("unicode_escape").decode() for c in text)


def show(renderable: Any) -> None:
    """To a terminal, as wide as that is; else as wide as need be."""
    console = Console()
    if not console.is_terminal:  # what `print` is told of a width can only narrow it
        console = Console(width=max(WIDE, console.width))
    console.print(renderable)


def seconds(value: float) -> str:
    """A time for people: 3 ms, 1.25 s, 4:05, 2:00:00."""
    if value < 0.0995:
        return f"{value * 1000:.0f} ms"
    if value < 99.995:
        return f"{value:.2f} s"
    minutes, rest = divmod(round(value), 60)
    return f"{minutes}:{rest:02}" if minutes < 60 else f"{minutes // 60}:{minutes % 60:02}:{rest:02}"


def size(value: float) -> str:
    """Bytes for people."""
    for unit in ("B", "kB", "MB"):
        if value < 1000:
            return f"{value:.0f} {unit}"
        value /= 1000
    return f"{value:.1f} GB"


def process_table(processes: Iterable[ProcessInfo]) -> Table:
    """What `ps` and `top` show. Columns in which all are as by default are left out: a terminal is narrow."""
    shown = list(processes)
    columns: dict[str, Callable[[ProcessInfo], str]] = {
        "PID": lambda p: str(p.pid),
        "NAME": lambda p: escape(p.name),
        "GROUP": lambda p: escape(p.group),
        "STATE": lambda p: f"[{STYLES.get(p.state, 'default')}]{p.state}[/]",
        "CLASS": lambda p: p.scheduling_class,
        "NI": lambda p: str(p.nice),
        "CALLS": lambda p: str(p.usage.calls),
        "PROMPT": lambda p: str(p.usage.prompt_tokens),
        "CACHED": lambda p: str(p.usage.cached_tokens),
        "OUT": lambda p: str(p.usage.completion_tokens),
        "WORK": lambda p: str(p.attained),
        "LVL": lambda p: "" if p.level is None else str(p.level),
        "WAIT": lambda p: seconds(p.waiting_s) if p.waiting_s else "",
        "INT": lambda p: str(p.usage.interrupts),
        "KV": lambda p: f"{p.kv} {p.kv_tokens}" if p.kv else "",
    }
    plain = {
        "GROUP": {"default", "admin"},
        "CLASS": {"normal"},
        "NI": {"0"},
        "WAIT": {""},
        "LVL": {""},
        "INT": {"0"},
    }
    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0), header_style="bold")
    for name, cell in list(columns.items()):
        if {cell(p) for p in shown} <= plain.get(name, set()):
            del columns[name]
            continue
        left = name in ("NAME", "GROUP", "STATE", "CLASS", "KV")
        named = name == "NAME"
        table.add_column(
            name, justify="left" if left else "right", no_wrap=not named, min_width=8 if named else None
        )
    for p in shown:
        table.add_row(*(cell(p) for cell in columns.values()))
    return table


def context_table(context: ContextInfo) -> Table:
    """The parts of a window, with bars, and where KV was found."""
    table = Table(
        box=None, pad_edge=False, header_style="bold", title=f"process {context.pid}", title_justify="left"
    )
    table.add_column("PART")
    table.add_column("TOKENS", justify="right")
    table.add_column("")
    for part in ("system", "blocks", "tools", "history", "free"):
        tokens: int = getattr(context, part)
        table.add_row(part, str(tokens), "█" * round(40 * tokens / context.window) if context.window else "")
    stats = context.stats
    found = {
        "slot": stats.from_slot,
        "RAM": stats.from_ram,
        "disk": stats.from_disk,
        "computed": stats.computed,
    }
    table.caption_justify = "left"
    table.caption = (
        f"{stats.contexts} contexts, {size(stats.bytes)}; tokens of KV from "
        + ", ".join(f"{place} {tokens}" for place, tokens in found.items())
        + (f"; {seconds(stats.mean_gap_s)} between calls" if stats.mean_gap_s else "")
    )
    return table


def kv_table(contexts: Iterable[ContextState]) -> Table:
    """Where the KV of each context is."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("CONTEXT", "CORE", "PLACE", "TOKENS", "SIZE", "IDLE"):
        table.add_column(name, justify="left" if name in ("CORE", "PLACE") else "right")
    for each in contexts:
        place = f"{each.place}, copied" if each.copied and each.place == "parked" else each.place
        table.add_row(
            str(each.context),
            escape(each.core),
            place,
            str(each.tokens),
            size(each.bytes),
            seconds(each.idle_s),
        )
    return table


def group_table(groups: Iterable[GroupInfo]) -> Table:
    """Limits, and what is left of them."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in (
        "GROUP",
        "WEIGHT",
        "CALLS",
        "AT ONCE",
        "CALLS/MIN",
        "TOKENS/MIN",
        "SPENT",
        "REFILLS",
        "POLICIES",
    ):
        table.add_column(name, justify="left" if name in ("GROUP", "POLICIES") else "right")
    for group in groups:
        table.add_row(
            escape(group.name), f"{group.weight:g}", _used(group.calls, group.max_queue),
            "" if group.concurrency is None else str(group.concurrency),
            _left(group.requests_left, group.requests_per_min), _left(group.tokens_left, group.tokens_per_min),
            _used(group.spent, group.spend), "" if group.refills_in_s is None else seconds(group.refills_in_s),
            escape(", ".join(group.policies or ())),
        )  # fmt: skip
    return table


def _used(used: float, most: float | None) -> str:
    return f"{used:g}" if most is None else f"{used:g} of {most:g}"


def _left(left: float | None, most: float | None) -> str:
    return "" if left is None or most is None else f"{left:.0f} of {most:g} left"


def core_table(cores: Iterable[dict[str, Any]]) -> Table:
    """The cores of the kernel's status."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("CORE", "KIND", "MODELS", "POLICY", "RUNNING", "WAITING"):
        table.add_column(name, justify="right" if name in ("RUNNING", "WAITING") else "left")
    for core in cores:
        table.add_row(
            escape(core["name"]), core.get("kind", ""), escape(", ".join(core.get("models", ()))),
            escape(", ".join([core.get("policy", ""), *core.get("chosen", ())])),
            f"{core.get('running', 0)}/{core.get('capacity', 0)}", str(core.get("waiting", 0)),
        )  # fmt: skip
    return table
