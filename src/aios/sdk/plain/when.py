"""Times in plain words: "yesterday", "a week ago", "until Friday", "older than a month", "version 2".

Weeks begin on Monday. A weekday is the last one when the past is meant and the next one when the future is. All
are of the time zone of `now`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime, timedelta

NUMBERS = {
    word: number
    for number, words in enumerate(
        ("zero no", "one a an single once", "two twice couple both", "three", "four", "five", "six", "seven",
         "eight", "nine", "ten", "eleven", "twelve")
    )
    for word in words.split()
}  # fmt: skip
ORDINALS = ("first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth", "ninth", "tenth")
WEEKDAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
MONTHS = ("january", "february", "march", "april", "may", "june", "july", "august", "september", "october",
          "november", "december")  # fmt: skip
UNITS = {"minute": 60.0, "min": 60.0, "hour": 3600.0, "day": 86_400.0, "night": 86_400.0, "week": 604_800.0,
         "fortnight": 1_209_600.0, "month": 2_592_000.0, "year": 31_536_000.0}  # fmt: skip

_COUNT = rf"(?P<count>\d+|half an?|(?:a )?couple(?: of)?|{'|'.join(NUMBERS)})"
_LENGTH = rf"(?:{_COUNT}[ -])?(?P<unit>{'|'.join(UNITS)})s?\b"
_WEEKDAY = rf"(?P<weekday>{'|'.join(WEEKDAYS)})"
_MONTH = "|".join(f"{month[:3]}(?:{month[3:]})?" for month in MONTHS)
_DATE = (
    rf"(?P<iso>\d{{4}}-\d\d-\d\d)|(?P<day>\d{{1,2}})(?:st|nd|rd|th)?\.?(?: of)? (?P<month>{_MONTH})\b"
    rf"|(?P<month2>{_MONTH}) (?P<day2>\d{{1,2}})(?:st|nd|rd|th)?\b"
)
_MOMENT = (
    rf"(?:on |at |in |from )?(?:(?P<ago>{_LENGTH} ago)|(?P<rel>today|yesterday|tomorrow|now)\b"
    rf"|(?P<which>last|this|past|next) (?P<span>week|month|year)\b|(?:last |this |next )?{_WEEKDAY}\b|{_DATE})"
)
_AGE = re.compile(rf"\b(?:older than|from before|over|more than) (?P<length>{_LENGTH})(?: old| ago)?", re.I)
_YOUTH = re.compile(
    rf"\b(?:newer than|younger than|less than|(?:in|within|during|for|over) the (?:last|past)) "
    rf"(?P<length>{_LENGTH})(?: old| ago)?", re.I,
)  # fmt: skip
_SINCE = re.compile(rf"\b(?:since|after) (?:{_MOMENT})", re.I)
_BEFORE = re.compile(rf"\b(?:before|until|till) (?:{_MOMENT})", re.I)
_AT = re.compile(rf"\b(?:{_MOMENT})", re.I)
_DAY = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Period:
    """From `start` up to `end`, Unix time; None: open on that side."""

    start: float | None = None
    end: float | None = None


def number(text: str) -> int | None:
    """Of "3", "three", "a couple of"; None if it is none."""
    text = text.lower().removeprefix("a ").removesuffix(" of").strip() or "a"
    return int(text) if text.isdecimal() else NUMBERS.get(text)


def length_s(text: str) -> float | None:
    """Seconds of "3 hours", "a week", "half an hour"; None if there is no length in it."""
    found = re.search(rf"\b{_LENGTH}", text, re.I)
    return None if found is None else _length(found)


def changed(text: str, now: datetime) -> tuple[Period | None, str]:
    """When files were changed, as a phrase has it, and the phrase without it."""
    for form, older in ((_AGE, True), (_YOUTH, False)):
        if found := form.search(text):
            edge = now.timestamp() - (_length(found) or 0.0)
            return (Period(end=edge) if older else Period(start=edge)), _cut(text, found)
    for form, after in ((_SINCE, True), (_BEFORE, False), (_AT, None)):
        if found := form.search(text):
            start, end = _bounds(found, now, past=True)
            if after is None:
                return Period(start, end), _cut(text, found)
            return (Period(start=start) if after else Period(end=start)), _cut(text, found)
    return None, text


def state_at(text: str, now: datetime) -> float | None:
    """The time whose state "on Monday", "a week ago" or "yesterday" means: a day's or year's last moment. None
    if no time is said."""
    if found := _BEFORE.search(text):
        return _bounds(found, now, past=True)[0]
    found = _AT.search(text)
    if found is None:
        return None
    start, end = _bounds(found, now, past=True)
    return start if found["ago"] else end - 0.001


def until_s(text: str, now: datetime) -> float | None:
    """Seconds from now that "for 2 days" or "until Friday" lasts: to the end of that day. None if no such time
    is said."""
    if not re.search(r"\bago\b", text) and (found := _AT.search(text)) and not found["ago"]:
        end = _bounds(found, now, past=False)[1] - now.timestamp()
        return end if end > 0 else None
    return length_s(text)


def version_of(text: str, count: int) -> int | None:
    """Which of `count` versions, 0 the oldest, "version 2", "the first version", "the previous one" or "two
    versions back" means. None if it says none, or one that never was."""
    text = text.lower()
    at: int | None = None
    steps = r"(?:versions?|steps?|changes?|edits?|times?|revisions?|saves?)"
    if found := re.search(rf"\b(\d+|{'|'.join(NUMBERS)}) {steps}(?: back| ago| earlier| before)?\b", text):
        at = count - 1 - (number(found[1]) or 0)
    elif found := re.search(r"\b(?:version|revision|v|no\.?|number)\s?#?(\d+)\b", text):
        at = int(found[1]) - 1
    elif re.search(r"\b(?:original|initial|oldest|very first)\b", text):
        at = 0
    elif found := re.search(rf"\b(?:{'|'.join(ORDINALS)})\b", text):
        at = ORDINALS.index(found[0])
    elif found := re.search(r"\b(\d+)(?:st|nd|rd|th)\b", text):
        at = int(found[1]) - 1
    elif re.search(r"\b(?:last|latest|previ?ous|prior|before|earlier|undo)\b", text):
        at = count - 2
    return at if at is not None and 0 <= at < count else None


def _length(found: re.Match[str]) -> float | None:
    text = (found["count"] or "a").lower()
    if text.startswith("half"):
        return UNITS[found["unit"].lower()] / 2
    count = number(text)
    return None if count is None else count * UNITS[found["unit"].lower()]


def _bounds(found: re.Match[str], now: datetime, *, past: bool) -> tuple[float, float]:
    """Start and end of what `_MOMENT` found."""
    midnight = now.replace(hour=0, minute=0, second=0, microsecond=0)
    part = {name: (value or "").lower() for name, value in found.groupdict().items()}
    if part["ago"]:
        at = now.timestamp() - (_length(found) or 0.0)
        if part["unit"] in ("minute", "min", "hour"):
            return at, at + UNITS[part["unit"]]
        day = datetime.fromtimestamp(at, now.tzinfo).replace(hour=0, minute=0, second=0, microsecond=0)
        return at, (day + _DAY).timestamp()
    if part["rel"]:
        start = midnight + _DAY * {"today": 0, "now": 0, "yesterday": -1, "tomorrow": 1}[part["rel"]]
        return start.timestamp(), (start + _DAY).timestamp()
    if part["span"]:
        return _calendar(part["span"], part["which"], midnight)
    if part["weekday"]:
        ahead = (WEEKDAYS.index(part["weekday"]) - now.weekday()) % 7
        start = midnight + _DAY * (ahead - 7 if past and ahead else ahead)
        return start.timestamp(), (start + _DAY).timestamp()
    return _date(part, midnight, past=past)


def _calendar(span: str, which: str, midnight: datetime) -> tuple[float, float]:
    step = {"last": -1, "past": -1, "this": 0, "next": 1}[which]
    if span == "week":
        start = midnight - _DAY * midnight.weekday() + 7 * step * _DAY
        return start.timestamp(), (start + 7 * _DAY).timestamp()
    if span == "month":
        month = midnight.year * 12 + midnight.month - 1 + step
        ends = [midnight.replace(year=m // 12, month=m % 12 + 1, day=1) for m in (month, month + 1)]
    else:
        ends = [midnight.replace(year=midnight.year + step + more, month=1, day=1) for more in (0, 1)]
    return ends[0].timestamp(), ends[1].timestamp()


def _date(part: dict[str, str], midnight: datetime, *, past: bool) -> tuple[float, float]:
    """A day of a month is of this year, or the one before (or after) it."""
    try:
        if part["iso"]:
            start = datetime.fromisoformat(part["iso"]).replace(tzinfo=midnight.tzinfo)
        else:
            name, day = part["month"] or part["month2"], int(part["day"] or part["day2"])
            month = next(n for n, full in enumerate(MONTHS, 1) if full.startswith(name[:3]))
            start = midnight.replace(month=month, day=day)
            if past and start > midnight:
                start = start.replace(year=start.year - 1)
            elif not past and start < midnight:
                start = start.replace(year=start.year + 1)
    except ValueError:  # there is no such day
        start = midnight
    return start.timestamp(), (start + _DAY).timestamp()


def _cut(text: str, found: re.Match[str]) -> str:
    return f"{text[: found.start()]} {text[found.end() :]}"
