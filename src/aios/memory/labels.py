"""What who wrote an entry had seen. It stands in the entry's own row, and only adds up; access control says
what it means (access/labels.py)."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from aios.memory import entries
from aios.memory.database import Connection
from aios.memory.entries import Row
from aios.memory.store import EntryStore


class EntryLabels:
    """Of all entries, whoever asks: who may is decided before."""

    def __init__(self, store: EntryStore) -> None:
        self._store = store

    async def owner_of(self, name: str) -> str:
        """The agent whose entry (an id) it is; "" if there is none."""
        row = await self._store.database.read(lambda db: entries.by_id(db, name))
        return "" if row is None else row.owner_name

    async def relabel(self, name: str, change: Callable[[frozenset[str]], frozenset[str]]) -> None:
        """Give an entry other labels, made from those it has. Raises NotFound."""

        def work(db: Connection) -> None:
            row = entries.by_id(db, name)
            if row is None:
                raise entries.unknown(name)
            relabel(db, row, change(row.labels))

        await self._store.database.write(work)


def relabel(db: Connection, row: Row, labels: frozenset[str]) -> None:
    """Give `row` exactly these labels."""
    text = entries.as_json(tuple(sorted(labels)))
    db.execute("UPDATE entries SET labels = ? WHERE row = ?", (text, row.row))


def labels_of(db: Connection, ids: Iterable[str]) -> set[str]:
    """All labels of these entries."""
    find = (
        "SELECT DISTINCT l.value FROM entries e, json_each(e.labels) l"
        " WHERE e.labels != '[]' AND e.id IN (SELECT value FROM json_each(?))"
    )
    return {label for (label,) in db.execute(find, (entries.as_json(tuple(ids)),))}
