"""Writes docs/reference/config.md from the field docstrings of aios/config/settings.py. Run by `make docs`."""

from __future__ import annotations

import ast
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SOURCE = ROOT / "src" / "aios" / "config" / "settings.py"
TARGET = ROOT / "docs" / "reference" / "config.md"
SECTIONS = {
    "ServerSettings": "[server]",
    "StateSettings": "[state]",
    "SchedulerSettings": "[scheduler]",
    "ContextSettings": "[context]",
    "ProcessSettings": "[processes]",
    "MemorySettings": "[memory]",
    "StorageSettings": "[storage]",
    "SharedRoot": "[[storage.roots]]",
    "ToolSettings": "[tools]",
    "BrowserSettings": "[tools.browser]",
    "GroupSettings": "[[groups]]",
    "AccessSettings": "[access]",
    "CoreSettings": "[[cores]]",
}
HEAD = """# Configuration

`aios serve` reads `aios.toml` in the working folder, or the file named by `--config`; then the environment
(`AIOS_SERVER_PORT=9000` sets `port` of `[server]`), then its flags. An unknown key is an error that names the
nearest known one. Written from the docstrings in `src/aios/config/settings.py` by `make docs`.
"""


def text() -> str:
    """The page."""
    parts = [HEAD]
    for node in ast.parse(SOURCE.read_text("utf-8")).body:
        if isinstance(node, ast.ClassDef) and node.name in SECTIONS:
            parts.append(f"\n## `{SECTIONS[node.name]}`\n\n{_first_line(node)}")
            parts.append("| key | default | meaning |\n|---|---|---|\n")
            parts += [f"| `{name}` | {default} | {meaning} |\n" for name, default, meaning in _fields(node)]
    return "".join(parts)


def _first_line(node: ast.ClassDef) -> str:
    doc = ast.get_docstring(node)
    return f"{doc}\n\n" if doc else ""


def _fields(node: ast.ClassDef) -> list[tuple[str, str, str]]:
    rows: list[tuple[str, str, str]] = []
    for field, after in zip(node.body, [*node.body[1:], None], strict=True):
        if not isinstance(field, ast.AnnAssign) or not isinstance(field.target, ast.Name):
            continue
        documented = isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant)
        meaning = " ".join(str(after.value.value).split()) if documented else ""
        default = f"`{ast.unparse(field.value)}`" if field.value else "required"
        rows.append((field.target.id, default, meaning))
    return rows


if __name__ == "__main__":
    TARGET.write_text(text(), "utf-8")
    sys.stdout.write(f"wrote {TARGET.relative_to(ROOT)}\n")
