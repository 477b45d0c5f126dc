"""Providers from what a configuration or an operator says of them."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import httpx

from aios.errors import ConfigError
from aios.syscalls.tools import ToolSource
from aios.tools.providers.mcp import McpServer
from aios.tools.providers.openapi import OpenApi
from aios.tools.providers.package import from_folder, installed
from aios.tools.registry import SEPARATOR, Provider


def provider(source: ToolSource, client: httpx.AsyncClient) -> Provider:
    """What `source` describes; it is not started yet. Blocks, shortly. Raises ConfigError."""
    if (
        not source.name
        or SEPARATOR in source.name
        or not source.name.replace("_", "").replace("-", "").isalnum()
    ):
        mend = f"Use letters, digits, '-' and '_', but no {SEPARATOR!r}."
        raise ConfigError(f"{source.name!r} can't be the name of a source of tools.", mend)
    match source.kind:
        case "package":
            return from_folder(Path(source.path), source.name) if source.path else _installed(source.name)
        case "mcp":
            filled = _filled(source.name, source.env), _filled(source.name, source.headers)
            return McpServer(source, env=filled[0], headers=filled[1])
        case "openapi":
            try:
                text = Path(source.path).read_text("utf-8")
            except (OSError, UnicodeDecodeError) as error:
                mend = "Give the path of its OpenAPI description (JSON)."
                raise ConfigError(f"{source.path!r} of {source.name} can't be read: {error}.", mend) from error
            headers = _filled(source.name, source.headers)
            return OpenApi(
                source.name, text, client, base_url=source.url, headers=headers, timeout_s=source.timeout_s
            )


def _installed(name: str) -> Provider:
    found = {package.name: package for package in installed()}
    if name not in found:
        known = ", ".join(sorted(found)) or "none"
        raise ConfigError(f"No tool package {name!r} is installed.", f"Installed: {known}. Or give its folder.")
    return found[name]


def _filled(name: str, values: Mapping[str, str]) -> dict[str, str]:
    """With `$NAME` replaced by the variable of the environment."""
    found: dict[str, str] = {}
    for key, value in values.items():
        if value.startswith("$"):
            if (told := os.environ.get(value[1:])) is None:
                raise ConfigError(f"{name} needs the variable {value[1:]}.", "Set it for the kernel.")
            value = told
        found[key] = value
    return found
