"""Where settings come from: defaults, then the TOML file, then `AIOS_*` of the environment, then flags.

An unknown key is an error that names the nearest known one, so a typing mistake can't silently change nothing.
"""

from __future__ import annotations

import difflib
import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast, get_args, get_type_hints

import msgspec

from aios.config.settings import CoreSettings, Section, Settings
from aios.errors import ConfigError

CORE_FIELDS: Mapping[str, frozenset[str]] = {
    "llama": frozenset(
        "model slots context threads gpu_layers kv_ram_mb exact deterministic"  # noqa: SIM905
        " prefill_chunk max_restarts".split()
    ),
    "openai": frozenset("base_url api_key_env models window timeout_s continues piece_tokens retries".split()),  # noqa: SIM905
    "scripted": frozenset("slots models tokens_per_s".split()),  # noqa: SIM905
}
"""Which fields of CoreSettings each built-in kind uses."""


def load(
    path: str | Path | None = None,
    env: Mapping[str, str] | None = None,
    flags: Mapping[str, Any] | None = None,
) -> Settings:
    """Read settings. `path` None: `aios.toml` in the working folder, if there. `flags` maps dotted names
    (`server.port`) to values; None values are skipped.

    Environment: `AIOS_SERVER_PORT` sets `server.port`; values are read as TOML, else as text.
    Raises ConfigError for a missing file, bad TOML, an unknown key (naming the nearest) or a wrong type.
    """
    raw = _read(path)
    for name, value in _from_env(os.environ if env is None else env):
        _put(raw, name, value)
    for name, value in (flags or {}).items():
        if value is not None:
            _put(raw, tuple(name.split(".")), value)
    return parse(raw)


def parse(raw: Mapping[str, Any]) -> Settings:
    """Check a mapping of tables and make Settings of it. Raises ConfigError."""
    _check_keys(raw, Settings, "")
    try:
        settings = msgspec.convert(raw, Settings)
    except msgspec.ValidationError as error:
        raise ConfigError(f"The configuration is wrong: {error}.", "Correct that value.") from error
    _check_cores(settings.cores, cast("list[dict[str, Any]]", raw.get("cores", [])))
    return settings


def _read(path: str | Path | None) -> dict[str, Any]:
    file = Path(path) if path is not None else Path("aios.toml")
    if path is None and not file.exists():
        return {}
    try:
        return tomllib.loads(file.read_text("utf-8"))
    except FileNotFoundError as error:
        raise ConfigError(f"There is no file {file}.", "Name an existing file with --config.") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{file} is not TOML: {error}.", "Correct that line.") from error


def _from_env(env: Mapping[str, str]) -> list[tuple[tuple[str, ...], Any]]:
    found: list[tuple[tuple[str, ...], Any]] = []
    for section, kind in get_type_hints(Settings).items():
        if not (isinstance(kind, type) and issubclass(kind, Section)):
            continue
        prefix = f"AIOS_{section.upper()}_"
        for name, text in env.items():
            if name.startswith(prefix):
                found.append(((section, name[len(prefix) :].lower()), _value(text)))
    return found


def _value(text: str) -> Any:
    try:
        return tomllib.loads(f"v = {text}")["v"]
    except tomllib.TOMLDecodeError:
        return text


def _put(raw: dict[str, Any], name: tuple[str, ...], value: Any) -> None:
    for part in name[:-1]:
        raw = raw.setdefault(part, {})
    raw[name[-1]] = value


def _check_keys(raw: Any, kind: Any, where: str) -> None:
    """Walk `raw` beside the Struct `kind` and name the nearest key for any that is unknown."""
    if isinstance(raw, list):
        inner = next((a for a in get_args(kind) if a is not Ellipsis), None)
        for i, entry in enumerate(cast("list[Any]", raw)):
            _check_keys(entry, inner, f"{where}[{i}]")
        return
    if not (isinstance(raw, dict) and isinstance(kind, type) and issubclass(kind, msgspec.Struct)):
        return
    hints = get_type_hints(kind)
    for key, value in cast("dict[str, Any]", raw).items():
        name = f"{where}.{key}".lstrip(".")
        if key not in kind.__struct_fields__:
            near = difflib.get_close_matches(key, kind.__struct_fields__, n=1, cutoff=0.0)
            raise ConfigError(f"Unknown setting {name!r}.", f"The nearest known one is {near[0]!r}.")
        _check_keys(value, hints[key], name)


def _check_cores(cores: tuple[CoreSettings, ...], raw: list[dict[str, Any]]) -> None:
    seen: set[str] = set()
    for core, given in zip(cores, raw, strict=True):
        if core.name in seen:
            raise ConfigError(f"Two cores are called {core.name!r}.", "Give each [[cores]] its own name.")
        seen.add(core.name)
        used = CORE_FIELDS.get(core.kind)
        if used is None:
            continue  # a plug-in's kind: it checks its own fields
        for field in given:
            if field not in used | {"name", "kind", "price_prompt", "price_completion"}:
                mend = f"Fields of {core.kind}: {', '.join(sorted(used))}."
                raise ConfigError(f"cores.{core.name}: {field!r} is not for kind {core.kind!r}.", mend)
