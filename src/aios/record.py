"""What all messages are made of."""

from __future__ import annotations

import msgspec


class Record(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Base of all messages: immutable, keyword-only, unset fields left out on the wire."""
