"""In a box: one SQL statement. See `sql`."""

import json
import os
import sqlite3
import sys
from urllib.parse import quote


def main(
    database: str, query: str, parameters: list[str | int | float | None], write: bool, limit: int
) -> dict[str, object]:
    if not write and not os.path.isfile(database):
        return {"error": f"There is no file {database!r}.", "mend": "Name one, or set write to make it."}
    uri = f"file:{quote(database)}?mode={'rwc' if write else 'ro'}"
    try:
        with sqlite3.connect(uri, uri=True) as db:
            cursor = db.execute(query, parameters)
            rows = cursor.fetchmany(limit + 1)
            names = [column[0] for column in cursor.description or ()]
            values = [[_plain(value) for value in row] for row in rows[:limit]]
            answer: dict[str, object] = {
                "columns": names,
                "rows": values,
                "more": len(rows) > limit,
                "changed": max(0, cursor.rowcount),
            }
        db.close()
    except (sqlite3.Error, sqlite3.Warning) as error:
        readonly = "readonly" in str(error)
        mend = "Set write to true to change the database." if readonly else "Correct the query."
        return {"error": f"SQLite: {error}.", "mend": mend}
    return answer


def _plain(value: object) -> object:
    return f"<{len(value)} bytes>" if isinstance(value, bytes) else value


json.dump(main(**json.load(sys.stdin)), sys.stdout)
