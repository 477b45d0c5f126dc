"""How the command line shows things."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, get_args

import click
import msgspec
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from aios.syscalls import ContextInfo, ContextState, GroupInfo, ProcessInfo, SchedulingClass

WIDE = 160
"""Columns of what is no terminal: a file, a pipe."""
CLASSES = set(get_args(SchedulingClass))
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
    """Where the KV of each context is, and where its calls found it."""
    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0), header_style="bold")
    found = ("COMPUTED", "FROM\nSLOT", "FROM\nRAM", "FROM\nDISK", "BROUGHT\nBACK")
    for name in ("CONTEXT", "CORE", "PLACE", "TOKENS", "SIZE", "IDLE", *found):
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
            *map(str, (each.computed, each.from_slot, each.from_ram, each.from_disk)),
            f"{each.restores}x" + (f" {seconds(each.restore_s)}" if each.restore_s else ""),
        )
    return table


def group_table(groups: Iterable[GroupInfo]) -> Table:
    """Limits, and what is used of them or (LEFT) left. Columns in which nothing is limited are left out."""
    shown = list(groups)
    columns: dict[str, Callable[[GroupInfo], str]] = {
        "GROUP": lambda g: escape(g.name),
        "WEIGHT": lambda g: f"{g.weight:g}",
        "CALLS": lambda g: _of(g.calls, g.max_queue),
        "AT\nONCE": lambda g: "" if g.concurrency is None else _count(g.concurrency),
        "CALLS/\nMIN LEFT": lambda g: _left(g.requests_left, g.requests_per_min),
        "TOKENS/\nMIN LEFT": lambda g: _left(g.tokens_left, g.tokens_per_min),
        "MOST\nCONTEXT": lambda g: "" if g.max_context is None else str(g.max_context),
        "SPENT": lambda g: _of(g.spent, g.spend),
        "REFILLS\nIN": lambda g: "" if g.refills_in_s is None else seconds(g.refills_in_s),
        "CLASSES": lambda g: "" if set(g.classes) == CLASSES else " ".join(g.classes),
        "POLICIES": lambda g: "none" if g.policies == () else escape(" ".join(g.policies or ())),
    }
    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0), header_style="bold")
    always = ("GROUP", "WEIGHT", "CALLS", "SPENT")
    for name, cell in list(columns.items()):
        if name not in always and not any(cell(group) for group in shown):
            del columns[name]
            continue
        left = name in ("GROUP", "CLASSES", "POLICIES")
        table.add_column(name, justify="left" if left else "right", no_wrap=not left, overflow="fold")
    for group in shown:
        table.add_row(*(cell(group) for cell in columns.values()))
    return table


def _of(used: float, most: float | None) -> str:
    return _count(used) if most is None else f"{_count(used)}/{_count(most)}"


def _left(left: float | None, most: float | None) -> str:
    return "" if left is None else _of(round(left), most)


def _count(value: float) -> str:
    """A number for people: 999, 12.3k, 200k, 1.5M."""
    for unit in ("", "k", "M"):
        if abs(value) < 999.5:
            return f"{value:.3g}{unit}"
        value /= 1000
    return f"{value:.3g}G"


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
