"""In a box: rows of CSV, JSON and JSON lines files. See `table`."""

import csv
import json
import sys
from collections.abc import Callable
from typing import Any, cast

Row = dict[str, Any]
COMPARE: dict[str, Callable[[Any, Any], bool]] = {
    "==": lambda a, b: a == b,
    "!=": lambda a, b: a != b,
    "<": lambda a, b: a < b,
    "<=": lambda a, b: a <= b,
    ">": lambda a, b: a > b,
    ">=": lambda a, b: a >= b,
    "contains": lambda a, b: str(b).lower() in str(a).lower(),
    "in": lambda a, b: a in b,
}


class Wrong(Exception):
    """(what, mend)"""


def main(file: str, limit: int, **what: Any) -> Row:
    try:
        rows = read(file)
        columns = list(dict.fromkeys(name for row in rows for name in row))
        rows = [row for row in rows if all(meets(row, condition, columns) for condition in what["where"])]
        total = len(rows)
        if what["group_by"] or what["aggregate"]:
            rows = grouped(rows, what["group_by"], what["aggregate"], columns)
        elif what["select"]:
            rows = [{name: row.get(name) for name in what["select"] if known(name, columns)} for row in rows]
        if what["order_by"]:
            known(what["order_by"], list(rows[0]) if rows else [what["order_by"]])
            rows.sort(key=lambda row: order(row.get(what["order_by"])), reverse=what["descending"])
    except Wrong as error:
        return {"error": error.args[0], "mend": error.args[1]}
    return {"columns": columns, "matching": total, "rows": rows[:limit], "more": len(rows) > limit}


def read(path: str) -> list[Row]:
    try:
        with open(path, encoding="utf-8-sig", newline="") as file:
            if path.endswith((".jsonl", ".ndjson")):
                found = [json.loads(line) for line in file if line.strip()]
            elif path.endswith(".json"):
                found = json.load(file)
            else:
                sample = file.read(8192)
                file.seek(0)
                rows = csv.DictReader(file, dialect=dialect(sample), restval=None)
                return [{k: number(v) for k, v in row.items() if k is not None} for row in rows]
    except (OSError, ValueError, csv.Error) as error:
        raise Wrong(f"{path} can't be read: {error}.", "Name a CSV, JSON or JSON lines file.") from error
    if not isinstance(found, list) or not all(isinstance(row, dict) for row in cast("list[Any]", found)):
        raise Wrong(f"{path} is no list of objects.", "Use python for other shapes.")
    return cast("list[Row]", found)


def dialect(sample: str) -> type[csv.Dialect]:
    try:
        return csv.Sniffer().sniff(sample, ",;\t|")
    except csv.Error:
        return csv.excel


def number(text: Any) -> Any:
    """What a cell says: a number if it is written as one (and not as a code like 007)."""
    if not isinstance(text, str) or (text[:1] == "0" and text[1:2].isdigit()):
        return text
    for kind in (int, float):
        try:
            value = kind(text)
        except ValueError:
            continue
        return value if text.strip() == text and "_" not in text and value == value else text
    return text


def meets(row: Row, condition: Row, columns: list[str]) -> bool:
    known(condition["column"], columns)
    value, op, wanted = row.get(condition["column"]), condition["op"], condition.get("value")
    if op == "in" and not isinstance(wanted, list):
        raise Wrong("The value of `in` must be a list.", "Give several values.")
    try:
        return COMPARE[op](value, wanted)
    except TypeError:
        return False  # a text is neither more nor less than a number, nor is nothing


def grouped(rows: list[Row], names: list[str], wanted: list[Row], columns: list[str]) -> list[Row]:
    groups: dict[tuple[Any, ...], list[Row]] = {} if names else {(): rows}
    for name in names:
        known(name, columns)
    for row in rows if names else ():
        groups.setdefault(tuple(repr(row.get(name)) for name in names), []).append(row)
    return [
        {name: group[0].get(name) for name in names}
        | {label(one): aggregate(one["op"], one.get("column", ""), group, columns) for one in wanted}
        for group in groups.values()
    ]


def label(one: Row) -> str:
    return f"{one['op']}({one['column']})" if one.get("column") else one["op"]


def aggregate(op: str, column: str, rows: list[Row], columns: list[str]) -> Any:
    if op == "count" and not column:
        return len(rows)
    known(column, columns)
    values = [row[column] for row in rows if row.get(column) not in (None, "")]
    if op in ("count", "distinct"):
        return len({repr(value) for value in values}) if op == "distinct" else len(values)
    if op in ("sum", "mean") and not all(isinstance(value, int | float) for value in values):
        raise Wrong(f"Column {column!r} holds what is no number.", "Filter those rows out first.")
    if not values:
        return 0 if op == "sum" else None
    if op in ("sum", "mean"):
        return sum(values) / (len(values) if op == "mean" else 1)
    return (min if op == "min" else max)(values, key=order)


def order(value: Any) -> tuple[int, Any]:
    if value is None:
        return (0, 0)
    return (1, value) if isinstance(value, int | float) else (2, str(value))


def known(name: str, columns: list[str]) -> bool:
    if name not in columns:
        raise Wrong(f"There is no column {name!r}.", f"Columns: {', '.join(columns)}.")
    return True


json.dump(main(**json.load(sys.stdin)), sys.stdout)
