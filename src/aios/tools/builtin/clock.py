"""The time."""

from __future__ import annotations

from datetime import datetime
from zoneinfo import ZoneInfo

from aios.errors import ToolError
from aios.syscalls import Record
from aios.tools.tool import tool


class Time(Record, frozen=True):
    iso: str
    weekday: str
    unix: float
    zone: str


@tool(effect="idempotent")
def clock(zone: str = "UTC") -> Time:
    """Tell the date and time now.

    zone: an IANA time zone, such as Europe/Paris
    """
    try:
        now = datetime.now(ZoneInfo(zone))
    except (LookupError, ValueError, OSError) as error:
        raise ToolError(f"There is no time zone {zone!r}.", "Use one such as UTC or Asia/Tokyo.") from error
    iso = now.isoformat(timespec="seconds")
    return Time(iso=iso, weekday=now.strftime("%A"), unix=round(now.timestamp(), 3), zone=zone)
