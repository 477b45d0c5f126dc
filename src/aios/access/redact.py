"""Takes secrets out of whatever is told: events, logs, the journal, traces, errors, answers to models."""

from __future__ import annotations

import base64
import json
import logging
import re
from collections.abc import Mapping
from typing import Any, TypeVar, cast
from urllib.parse import quote, quote_plus

import msgspec

T = TypeVar("T")
SHORTEST = 6
"""Characters; what is shorter is not looked for, for it would be found everywhere."""


class Redactor(logging.Filter):
    """Replaces each secret by `[secret:NAME]`, also as JSON, URLs, base64 and hexadecimal digits write it. As a
    logging filter it does so with log records. Safe to use from several threads."""

    def __init__(self) -> None:
        super().__init__()
        self._known: tuple[re.Pattern[str], dict[str, str]] | None = None

    def know(self, secrets: Mapping[str, str]) -> None:
        """Look for these (value by name) from now on, and for no others."""
        forms = {form: name for name, value in secrets.items() for form in _forms(value)}
        if not forms:
            self._known = None
            return
        longest_first = sorted(forms, key=len, reverse=True)
        self._known = re.compile("|".join(map(re.escape, longest_first))), forms

    @property
    def idle(self) -> bool:
        """There is nothing to look for."""
        return self._known is None

    def text(self, text: str) -> str:
        if self._known is None:
            return text
        pattern, forms = self._known
        return pattern.sub(lambda found: f"[secret:{forms[found[0]]}]", text)

    def value(self, value: T) -> T:
        """The same for plain data and structs, all the way down."""
        if self._known is None:
            return value
        return cast("T", self._cleaned(value))

    def filter(self, record: logging.LogRecord) -> bool:
        if self._known is not None:
            record.msg, record.args = self.text(record.getMessage()), ()
            if record.exc_info and not record.exc_text:
                record.exc_text = logging.Formatter().formatException(record.exc_info)
            record.exc_info = None
            # An earlier handler may have written the traceback down already.
            record.exc_text = self.text(record.exc_text) if record.exc_text else None
            record.stack_info = self.text(record.stack_info) if record.stack_info else None
        return True

    def _cleaned(self, value: Any) -> Any:
        match value:
            case str():
                return self.text(value)
            case bytes():
                return self.text(value.decode("utf-8", "surrogateescape")).encode("utf-8", "surrogateescape")
            case msgspec.Raw():
                return msgspec.Raw(self._cleaned(bytes(value)))
            case dict():
                items = cast("dict[Any, Any]", value).items()
                return {self._cleaned(key): self._cleaned(each) for key, each in items}
            case list():
                return [self._cleaned(each) for each in cast("list[Any]", value)]
            case tuple():
                return tuple(self._cleaned(each) for each in cast("tuple[Any, ...]", value))
            case msgspec.Struct():
                fields = {name: getattr(value, name) for name in value.__struct_fields__}
                changed = {n: after for n, each in fields.items() if (after := self._cleaned(each)) != each}
                return msgspec.structs.replace(value, **changed) if changed else value
            case _:
                return value


def _forms(secret: str) -> set[str]:
    """How a secret may be written. Base64 of it is found wherever it begins, but for the characters at its ends
    that other bytes have a part in."""
    if len(secret) < SHORTEST:
        return set()
    plain = {
        secret,
        json.dumps(secret)[1:-1],
        json.dumps(secret, ensure_ascii=False)[1:-1],
        quote(secret, safe=""),
        quote(secret),
        quote_plus(secret),
        quote_plus(secret, safe="/"),
    }
    raw = secret.encode()
    coded = {raw.hex(), raw.hex().upper()}
    for shift, known in enumerate((0, 2, 3)):  # characters that what stands before has a part in
        usable = (shift + len(raw)) // 3 * 3 - shift
        text = base64.b64encode(b"\0" * shift + raw[:usable]).decode()[known:]
        coded |= {text, text.replace("+", "-").replace("/", "_")}
    return {form for form in plain | coded if len(form) >= SHORTEST}
