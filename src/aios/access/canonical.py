"""One text for one JSON value (RFC 8785, JCS), so that what was approved can be told by its digest.

Differs from the RFC in one point: integers beyond 2^53 are written in full, where the RFC would round them: two
different arguments must never have one digest.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from typing import Any, cast

from aios.errors import BadRequest


def canonical(value: Any) -> bytes:
    """The UTF-8 text of a JSON value (dicts, lists, tuples, str, numbers, bool, None).

    Raises BadRequest for what JSON does not have: NaN, infinities, lone surrogates, other types."""
    try:
        return _text(value).encode()
    except (UnicodeEncodeError, RecursionError) as error:
        raise BadRequest(f"The arguments can't be written as JSON: {error}.", "Send plain JSON.") from error


def digest(action: str, resource: str, arguments: Any) -> str:
    """SHA-256 of what an approval is bound to, in hex."""
    bound = {"action": action, "resource": resource, "arguments": arguments}
    return hashlib.sha256(canonical(bound)).hexdigest()


def _text(value: Any) -> str:
    if value is None or isinstance(value, bool):
        return json.dumps(value)
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False)
    if isinstance(value, int):
        return str(value)
    if isinstance(value, float):
        return _number(value)
    if isinstance(value, Mapping):
        items = cast("Mapping[str, Any]", value)
        if not all(isinstance(key, str) for key in cast("Mapping[Any, Any]", value)):
            raise BadRequest("The arguments have a key that is no string.", "Use strings as keys.")
        ordered = sorted(items, key=lambda key: key.encode("utf-16-be"))  # section 3.2.3
        return "{" + ",".join(f"{_text(key)}:{_text(items[key])}" for key in ordered) + "}"
    if isinstance(value, Sequence) and not isinstance(value, bytes | bytearray):
        return "[" + ",".join(map(_text, cast("Sequence[Any]", value))) + "]"
    raise BadRequest(f"The arguments hold a {type(value).__name__}, which JSON has not.", "Send plain JSON.")


def _number(value: float) -> str:
    """As ECMAScript writes it (section 3.2.2.3): the shortest digits that give the same double."""
    if not math.isfinite(value):
        raise BadRequest(f"The arguments hold {value}, which JSON has not.", "Send a finite number.")
    if value == 0:
        return "0"
    if value == int(value) and abs(value) < 1e21:
        return str(int(value))
    text = repr(value)
    mantissa, e, exponent = text.partition("e")
    if not e:
        return text
    power = int(exponent)
    if -7 < power < 0:  # Python goes over to exponents at 1e-5 already
        sign, digits = ("-", mantissa[1:]) if mantissa[0] == "-" else ("", mantissa)
        return f"{sign}0.{'0' * (-power - 1)}{digits.replace('.', '')}"
    return f"{mantissa.removesuffix('.0')}e{'+' if power > 0 else '-'}{abs(power)}"
