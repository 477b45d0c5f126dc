"""Where models lie on this disk."""

from __future__ import annotations

import difflib
import os
from collections.abc import Mapping
from pathlib import Path

from aios.errors import ModelCorrupt, ModelError, ModelNotInstalled
from aios.models import catalogue
from aios.models.catalogue import CatalogueModel


def data_home() -> Path:
    """`$XDG_DATA_HOME/aios`, by default below `~/.local/share`."""
    return Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share") / "aios"


class ModelStore:
    """Models of a catalogue (default: the one that ships) in one folder (default: `models` of the data
    folder), and any GGUF by path."""

    def __init__(self, folder: Path | None = None, known: Mapping[str, CatalogueModel] | None = None) -> None:
        self.folder = folder or data_home() / "models"
        self._known = catalogue.load() if known is None else known

    def model(self, name: str) -> CatalogueModel:
        """Raises ModelError naming the nearest one."""
        if name in self._known:
            return self._known[name]
        near = difflib.get_close_matches(name, self._known, n=1, cutoff=0.0)
        raise ModelError(
            f"There is no model {name!r} in the catalogue.",
            f"Did you mean {near[0]!r}? `aios models` lists them; any GGUF file can be named by its path.",
        )

    def path_of(self, name: str) -> Path:
        """Where a catalogue model lies, or will. Raises ModelError."""
        return self.folder / self.model(name).file

    def installed(self) -> dict[str, Path]:
        """Catalogue models that are here, whole by their size. `pull` checked the digest when they came."""
        return {
            name: path
            for name, model in self._known.items()
            if (path := self.folder / model.file).is_file() and path.stat().st_size == model.size
        }

    def resolve(self, name_or_path: str) -> Path:
        """The file of a catalogue name ("" is the default) or of a path.

        Raises ModelNotInstalled, ModelError (unknown name, no such file), ModelCorrupt (cut short)."""
        name = name_or_path or catalogue.default()
        if name not in self._known and (name.endswith(".gguf") or "/" in name or Path(name).is_file()):
            path = Path(name).expanduser()
            if not path.is_file():
                raise ModelError(f"There is no file {path}.", "Name a GGUF file, or a model of `aios models`.")
            return path
        model, path = self.model(name), self.path_of(name)
        if not path.is_file():
            raise ModelNotInstalled(f"The model {name} is not installed.", f"Fetch it: aios pull {name}")
        if path.stat().st_size != model.size:
            raise ModelCorrupt(
                f"{path} has {path.stat().st_size} bytes instead of {model.size}.",
                f"Fetch it again: aios pull {name}",
            )
        return path
