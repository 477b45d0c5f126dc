"""Rows of a benchmark that takes long, kept as they come, so that a run that was stopped goes on."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any


class Progress:
    """Rows that were measured already, a JSON object a line."""

    def __init__(self, path: Path) -> None:
        self._path = path
        lines = path.read_text("utf-8").splitlines() if path.is_file() else []
        self._rows: list[dict[str, Any]] = [json.loads(line) for line in lines]

    def find(self, **what: Any) -> dict[str, Any] | None:
        """The row of which that is true."""
        return next((row for row in self._rows if what.items() <= row.items()), None)

    def add(self, row: dict[str, Any]) -> None:
        self._rows.append(row)
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")

    def over(self) -> None:
        self._path.unlink(missing_ok=True)
