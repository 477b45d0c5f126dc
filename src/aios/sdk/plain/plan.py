"""The plan language: a flat list of steps, each one verb and a few short texts copied from the command.

It is made for very small models: they say which words of the command mean what. What those words mean in this
tree (which files "the notes about caching" are, when "a week ago" was) is found by code: phrases.py, when.py.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import msgspec

from aios.errors import BadRequest
from aios.sdk.plain.spans import spans

By = Literal["topic", "tag", "type", "month"]
STEPS = 4
GROUPS = 12


class Step(msgspec.Struct, frozen=True, tag_field="do", forbid_unknown_fields=True):
    """One step. Texts are words of the command; "" where it says nothing. "them" and the like in `what` mean
    what the step before was about."""


class Find(Step, frozen=True, tag="find"):
    """Answer by the files."""

    what: str


class Count(Step, frozen=True, tag="count"):
    """Answer by how many they are."""

    what: str


class Folder(Step, frozen=True, tag="folder"):
    """Make a folder."""

    to: str


class Write(Step, frozen=True, tag="write"):
    """Make `text` the content of the file `to`."""

    to: str
    text: str = ""


class Append(Step, frozen=True, tag="append"):
    """Add `text` to the end of the file `to`, as a line."""

    to: str
    text: str


class Move(Step, frozen=True, tag="move"):
    """Move files into a folder, or give one another name."""

    what: str
    to: str


class Copy(Step, frozen=True, tag="copy"):
    """Copy files into a folder, or one to another name."""

    what: str
    to: str


class Delete(Step, frozen=True, tag="delete"):
    """Put files into the bin."""

    what: str


class Undelete(Step, frozen=True, tag="undelete"):
    """Take files out of the bin."""

    what: str


class Rollback(Step, frozen=True, tag="rollback"):
    """Make an old version the newest: `when` says which."""

    what: str
    when: str = ""


class Share(Step, frozen=True, tag="share"):
    """Make links, good for as long as `until` says."""

    what: str
    until: str = ""
    password: str = ""


class Unshare(Step, frozen=True, tag="unshare"):
    """Take links back."""

    what: str


class Shares(Step, frozen=True, tag="shares"):
    """Answer by what is shared."""


class Group(Step, frozen=True, tag="group"):
    """Put files into `groups` groups (0: as many as fit best), and with `folders` each into its folder."""

    what: str
    by: By = "topic"
    groups: int = 0
    folders: bool = False


class Summarise(Step, frozen=True, tag="summarise"):
    """Answer by a summary of the files, or write it to `to`."""

    what: str
    to: str = ""


AnyStep = (
    Find | Count | Folder | Write | Append | Move | Copy | Delete | Undelete | Rollback | Share | Unshare
    | Shares | Group | Summarise
)  # fmt: skip
STEP_TYPES: tuple[type[Step], ...] = (
    Find, Count, Folder, Write, Append, Move, Copy, Delete, Undelete, Rollback, Share, Unshare, Shares, Group,
    Summarise,
)  # fmt: skip


class Plan(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a command says."""

    steps: tuple[AnyStep, ...]


def schema(command: str) -> dict[str, Any]:
    """JSON Schema of the plans of `command`: texts can only be words of it."""
    texts = spans(command)
    forms: dict[Any, dict[str, Any]] = {
        str: {"$ref": "#/$defs/words"}, int: {"type": "integer", "minimum": 0, "maximum": GROUPS},
        bool: {"type": "boolean"}, By: {"enum": ["topic", "tag", "type", "month"]},
    }  # fmt: skip
    steps: list[dict[str, Any]] = []
    for step in STEP_TYPES:
        info = msgspec.structs.fields(step)
        fields = {f.name: forms[f.type] for f in info}
        for f in info:
            if f.default == "":
                fields[f.name] = {"$ref": "#/$defs/words_or_none"}
        steps.append(_object({"do": {"const": step.__struct_config__.tag}, **fields}))
    plan = _object({"steps": {"type": "array", "minItems": 1, "maxItems": STEPS, "items": {"anyOf": steps}}})
    return {**plan, "$defs": {"words": {"enum": texts}, "words_or_none": {"enum": ["", *texts]}}}


def decoded(text: str) -> Plan:
    """Raises BadRequest for what is no plan."""
    try:
        return msgspec.json.decode(text, type=Plan)
    except (msgspec.DecodeError, msgspec.ValidationError) as error:
        raise BadRequest(f"This is no plan: {error}.", "Say it in other words.") from error


def encoded(steps: Sequence[AnyStep]) -> str:
    """As `schema` has it, and as a model writes it."""
    return msgspec.json.format(msgspec.json.encode(Plan(tuple(steps))), indent=0).decode()


def _object(properties: dict[str, Any]) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }
