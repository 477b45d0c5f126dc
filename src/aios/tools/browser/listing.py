"""A page as text with numbered elements, so that a small model can say what to click.

Made from Playwright's accessibility snapshot for models (`Page.aria_snapshot(mode="ai")`), which sees into
frames and shadow trees, leaves out what is hidden, and gives each element a reference."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import NamedTuple

LINE = re.compile(r"^( *)- (?:'((?:[^']|'')*)'|(.*?))(?::(?: (.*))?)?$")
NODE = re.compile(r'^(/?[\w-]+)(?: ("(?:[^"\\]|\\.)*"|/.*/))?((?: \[[^\]]*\])*)$')
ACTIVE = frozenset(
    [
        "button",
        "checkbox",
        "combobox",
        "gridcell",
        "link",
        "menuitem",
        "menuitemcheckbox",
        "menuitemradio",
        "option",
        "radio",
        "searchbox",
        "slider",
        "spinbutton",
        "switch",
        "tab",
        "textbox",
        "treeitem",
    ]
)
CELLS = frozenset({"cell", "columnheader", "rowheader", "gridcell"})
NAMED = frozenset({"alert", "alertdialog", "dialog", "form", "iframe", "img", "navigation", "region", "status"})
"""Roles that are worth a line although nothing can be done with them."""
STATES = ("checked", "disabled", "expanded", "pressed", "selected")
MOST = 300
"""Characters of one line."""


class Node(NamedTuple):
    """One line of a snapshot. `depth`: how far it is indented."""

    depth: int
    role: str
    name: str
    value: str
    facts: dict[str, str]


class Listing:
    """`lines` is the page, `elements` the references of those that have a number: that of 1 comes first."""

    def __init__(self, snapshot: str) -> None:
        self.lines: list[str] = []
        self.elements: list[str] = []
        self._inside: list[Node] = []
        """Elements with a number around the line that is read."""
        self._row: int | None = None
        """How far the row that is written is indented."""
        for node in parse(snapshot):
            self._add(node)

    def page(self, start: int, most_chars: int) -> tuple[str, int]:
        """Lines from `start` (of 1) that fit, at least one, and the number of the next; 0: there is none."""
        size, end = 0, start - 1
        while end < len(self.lines) and (end < start or size + len(self.lines[end]) < most_chars):
            size += len(self.lines[end]) + 1
            end += 1
        return "\n".join(self.lines[start - 1 : end]), end + 1 if end < len(self.lines) else 0

    def _add(self, node: Node) -> None:
        while self._inside and self._inside[-1].depth >= node.depth:
            self._inside.pop()
        holder = self._inside[-1] if self._inside else None
        ref = node.facts.get("ref", "")
        if node.role.startswith("/"):
            if holder is not None and node.depth == holder.depth + 1:
                self._more(f" ({node.value})" if node.role == "/placeholder" else f" -> {node.value}")
        elif holder is not None and holder.role == "combobox" and node.role == "option" and not ref:
            self._more(f" | {node.name}{' (selected)' if 'selected' in node.facts else ''}")
        elif ref and (node.role in ACTIVE or ("cursor" in node.facts and holder is None)):
            self.elements.append(ref)
            self._inside.append(node)
            self._write(f"[{len(self.elements)}] {_described(node)}", numbered=True)
        elif holder is None or not holder.name:
            self._text(node)

    def _text(self, node: Node) -> None:
        text = node.value or (node.name if node.role not in ("row", "rowgroup") else "")
        if node.role in CELLS and text:
            if self._row == node.depth:
                self._more(f" | {text}")
            else:
                self._write(f"| {text}")
                self._row = node.depth
            return
        if node.role == "heading":
            self._write(f"{'#' * int(node.facts.get('level', '1'))} {text}")
        elif node.role in NAMED and node.name:
            self._write(_described(node))
        elif text:
            self._write(f"- {text}" if node.role == "listitem" else text)
        elif node.role == "row":
            self._row = None

    def _write(self, line: str, *, numbered: bool = False) -> None:
        self._row = None
        self.lines.append("")
        # A page may write "[3]" too, to have the wrong thing clicked.
        self._more(line if numbered or not line.startswith("[") else f"\\{line}")

    def _more(self, text: str) -> None:
        whole = self.lines[-1] + text
        self.lines[-1] = whole if len(whole) <= MOST else whole[: MOST - 1] + "…"


def parse(snapshot: str) -> Iterator[Node]:
    """What is none of its lines is left out."""
    for line in snapshot.splitlines():
        if not (found := LINE.match(line)):
            continue
        indent, quoted, plain, value = found.groups()
        key = quoted.replace("''", "'") if quoted is not None else plain
        if node := NODE.match(key):
            role, name, facts = node.groups()
            told = dict(fact.partition("=")[::2] for fact in re.findall(r"\[([^\]]*)\]", facts))
            yield Node(len(indent) // 2, role, _unquoted(name or ""), _unquoted(value or ""), told)


def _described(node: Node) -> str:
    states = ", ".join(state for state in STATES if state in node.facts)
    name = f' "{node.name}"' if node.name else ""
    role = "clickable" if node.role == "generic" else node.role
    return f"{role}{name}{f' ({states})' if states else ''}{f': {node.value}' if node.value else ''}"


def _unquoted(text: str) -> str:
    if not text.startswith('"'):
        return text
    try:
        return str(json.loads(text))
    except ValueError:
        return text.strip('"')
