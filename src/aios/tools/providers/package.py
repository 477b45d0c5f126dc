"""Tool packages: a folder with a manifest and a module, or an entry point of an installed distribution.

A package is loaded when one of its tools is first called or listed. Its module runs in the kernel's process,
with the kernel's rights: only the owner of the machine adds one. What agents write belongs in a box.
"""

from __future__ import annotations

import asyncio
import hashlib
import importlib.util
import tomllib
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from importlib.metadata import entry_points
from pathlib import Path
from types import ModuleType
from typing import Any

import msgspec

from aios import plugins
from aios.errors import ConfigError, ToolUnavailable
from aios.syscalls import Record
from aios.tools.registry import SEPARATOR
from aios.tools.tool import Bound

MANIFEST = "tool.toml"
SKIPPED = ("__pycache__", ".git")


class Manifest(Record, frozen=True, forbid_unknown_fields=True):
    """`tool.toml`. `module`: the file beside it with the tools (`@tool`)."""

    name: str
    version: str
    module: str = "tools.py"
    description: str = ""


class Package:
    """Tools that `load` returns, named `name__tool`, of one version and with one digest."""

    def __init__(self, name: str, version: str, digest: Callable[[], str], load: Callable[[], Any]) -> None:
        self.name, self.version = name, version
        self._digest, self._load = digest, load
        self._tools: dict[str, Bound] | None = None
        self._loading = asyncio.Lock()

    def start(self, tasks: asyncio.TaskGroup) -> None: ...

    async def tools(self) -> Mapping[str, Bound]:
        """Raises ToolUnavailable if its code can't be loaded."""
        async with self._loading:
            if self._tools is None:
                self._tools = await asyncio.to_thread(self._read)
        return self._tools

    async def close(self) -> None:
        self._tools = None

    def _read(self) -> dict[str, Bound]:
        try:
            digest = self._digest()
            found = list(_bounds(self._load()))
        except Exception as error:
            # The supervisor of foreign code, which may raise whatever it likes.
            what = f"The tools of package {self.name} can't be loaded: {error!r}."
            raise ToolUnavailable(what, "Mend or remove the package.") from error
        return {bound.tool.name: bound for bound in (self._renamed(bound, digest) for bound in found)}

    def _renamed(self, bound: Bound, digest: str) -> Bound:
        name = f"{self.name}{SEPARATOR}{bound.tool.name}"
        facts = {"name": name, "version": self.version, "digest": digest, "provider": f"package:{self.name}"}
        return Bound(msgspec.structs.replace(bound.tool, **facts), bound.body, bound.keys)


def from_folder(folder: Path, name: str = "") -> Package:
    """The package in `folder`, called `name` or as it calls itself. Raises ConfigError for a missing or wrong
    manifest. Blocks, shortly."""
    file = folder / MANIFEST
    try:
        manifest = msgspec.convert(tomllib.loads(file.read_text("utf-8")), Manifest)
    except FileNotFoundError as error:
        mend = f"A tool package is a folder with {MANIFEST} (name, version) and tools.py."
        raise ConfigError(f"There is no {file}.", mend) from error
    except (OSError, ValueError) as error:  # msgspec's and tomllib's errors are ValueErrors
        mend = "It takes name and version, and may have module and description."
        raise ConfigError(f"{file} is no manifest of a tool package: {error}.", mend) from error

    def load() -> ModuleType:
        # Under a name of its own, so that two packages may have modules of one name.
        spec = importlib.util.spec_from_file_location(f"aios_tools_{manifest.name}", folder / manifest.module)
        if spec is None or spec.loader is None:
            raise ImportError(manifest.module)
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module

    return Package(name or manifest.name, manifest.version, lambda: digest_of(folder), load)


def installed() -> list[Package]:
    """A package for each entry point of the group `aios.tools`: a module, a tool, several, or their maker."""
    found: list[Package] = []
    for entry in entry_points(group=plugins.TOOLS):
        version = entry.dist.version if entry.dist else ""
        digest = partial(_digest_of_module, entry.module)
        found.append(Package(entry.name, version, digest, entry.load))
    return found


def _digest_of_module(name: str) -> str:
    """SHA-256 over a module's file, or all files of its folder if it is a package; "": it has none."""
    spec = importlib.util.find_spec(name)
    if spec is None or spec.origin is None or not Path(spec.origin).is_file():
        return ""
    file = Path(spec.origin)
    return digest_of(file.parent) if spec.submodule_search_locations else digest_of(file)


def digest_of(folder: Path) -> str:
    """SHA-256 over the names and contents of all files of a folder, or of the one file that it is."""
    total = hashlib.sha256()
    for path in sorted(folder.rglob("*")) if folder.is_dir() else [folder]:
        name = path.relative_to(folder if folder.is_dir() else folder.parent)
        if path.is_file() and not any(part in SKIPPED for part in name.parts):
            content = hashlib.sha256(path.read_bytes()).hexdigest()
            total.update(f"{name.as_posix()}\0{content}\n".encode())
    return total.hexdigest()


def _bounds(what: Any) -> Iterable[Bound]:
    if isinstance(what, Bound):
        return [what]
    if callable(what):
        what = what()
    values: Iterable[Any] = vars(what).values() if isinstance(what, ModuleType) else what
    return [value for value in values if isinstance(value, Bound)]
