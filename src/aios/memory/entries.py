"""The table of entries: what is where, whose it is, and who else may see it.

Functions of a connection, to be run inside `Database.read` and `Database.write`. Whatever an agent may not
read does not exist for it: the same error, the same text.
"""

from __future__ import annotations

import dataclasses
import hashlib
import secrets
from dataclasses import dataclass
from typing import Any, Literal, cast

import msgspec

from aios.access.grants import Grants
from aios.errors import Conflict, Forbidden, LimitExceeded, NotFound
from aios.memory import sharing
from aios.memory.backing import digest
from aios.memory.database import Connection
from aios.memory.records import Identity, MemoryLimits
from aios.storage.words import marked
from aios.syscalls.memory_records import EntryInfo, Filter, Kind

Access = Literal["own", "write", "read"]
Place = Literal["ram", "disk", "swapped"]

INDEXED = 100_000
"""Characters of a text that are indexed by words."""

_COLUMNS = (
    "e.row, e.id, e.owner, o.name, e.kind, e.name, e.tags, e.size, e.version, e.pinned, e.created, e.changed,"
    " e.meta, e.digest, e.body IS NULL, e.labels"
)


@dataclass(frozen=True, slots=True)
class Row:
    """One entry without its body, and what the one who asks may do with it."""

    row: int
    id: str
    owner: int
    owner_name: str
    kind: Kind
    name: str
    tags: tuple[str, ...]
    size: int
    version: int
    pinned: bool
    created: float
    changed: float
    meta: str
    digest: bytes
    swapped: bool
    labels: frozenset[str] = frozenset()
    access: Access = "own"

    @property
    def swap_key(self) -> str:
        return f"{self.id}.{self.version}"


@dataclass(frozen=True, slots=True)
class Text:
    """What of an entry is found: its words, what they are about, and (with an embedder) their vector."""

    words: str
    about: str = ""
    embedder: str = ""
    vector: bytes | None = None


@dataclass(frozen=True, slots=True)
class Body:
    """A new state of an entry. `text` None: not to be found by searching."""

    data: bytes
    meta: str = "{}"
    text: Text | None = None
    why: str = "write"


def unknown(id: str) -> NotFound:
    return NotFound(f"There is no memory {id!r}.", "`list` shows what you have.")


def new_id(kind: Kind) -> str:
    return f"{kind[0]}_{secrets.token_hex(8)}"


def keyed_id(kind: Kind, agent: str, key: str) -> str:
    """The id of what `agent` makes under an idempotency key: always the same, so it is made once."""
    digest = hashlib.sha256(f"{agent}\0{key}".encode()).hexdigest()
    return f"{kind[0]}_{digest[:16]}"


def number_of(db: Connection, agent: str) -> int:
    """The number of an owner; makes one. Only inside `write`."""
    db.execute("INSERT INTO owners (name) VALUES (?) ON CONFLICT DO NOTHING", (agent,))
    return db.execute("SELECT number FROM owners WHERE name = ?", (agent,)).fetchone()[0]


def find(db: Connection, who: Identity, id: str, grants: Grants, need: Access = "read") -> Row:
    """Raises NotFound (unknown, or nothing this one may know of), Forbidden (it may read only)."""
    row = by_id(db, id)
    if row is None:
        raise unknown(id)
    if row.owner_name == who.agent:
        return row
    access = sharing.access(grants, who, row.owner_name, id)
    if access is None:
        raise unknown(id)
    if need == "own" or (need == "write" and access == "read"):
        what = "change it" if need == "write" else "do this"
        raise Forbidden(f"{id!r} is shared with you to {access}.", f"Its owner may {what}.")
    return dataclasses.replace(row, access=access)


def by_id(db: Connection, id: str) -> Row | None:
    """For the store's own use: whoever asks."""
    return _one(db, "e.id = ?", id)


def by_row(db: Connection, row: int) -> Row | None:
    """For the store's own use: whoever asks."""
    return _one(db, "e.row = ?", row)


def visible(
    db: Connection,
    who: Identity,
    filter: Filter,
    grants: Grants,
    *,
    limit: int = -1,
    after: tuple[float, str] = (0.0, ""),
) -> list[Row]:
    """What `who` may read and `filter` lets through, oldest first."""
    where, parameters = conditions(filter)
    mine = "SELECT row FROM entries WHERE owner = (SELECT number FROM owners WHERE name = :agent)"
    scope = mine if filter.own else f"{mine} UNION SELECT row FROM ({sharing.GRANTED})"
    parameters |= {"agent": who.agent, "limit": limit} | ({} if filter.own else sharing.parameters(who, grants))
    parameters |= {"created": after[0], "id": after[1]}
    found = db.execute(
        f"SELECT {_COLUMNS} FROM entries e JOIN owners o ON o.number = e.owner WHERE e.row IN ({scope})"
        f" AND {where} AND (e.created, e.id) > (:created, :id) ORDER BY e.created, e.id LIMIT :limit",
        parameters,
    )
    rows = [_row(values) for values in found]
    foreign = {row.row for row in rows if row.owner_name != who.agent}
    if not foreign:
        return rows
    writable = {
        row for (row,) in db.execute(f"SELECT row FROM ({sharing.GRANTED}) WHERE write", parameters)
    } & foreign
    return [
        row
        if row.row not in foreign
        else dataclasses.replace(row, access="write" if row.row in writable else "read")
        for row in rows
    ]


def conditions(filter: Filter) -> tuple[str, dict[str, Any]]:
    """A WHERE clause over `entries e` and its parameters."""
    parts, parameters = ["1"], dict[str, Any]()
    if filter.kinds:
        parts.append("e.kind IN (SELECT value FROM json_each(:kinds))")
        parameters["kinds"] = msgspec.json.encode(filter.kinds).decode()
    for i, tag in enumerate(filter.tags):
        parts.append(f"EXISTS (SELECT 1 FROM json_each(e.tags) WHERE value = :tag{i})")
        parameters[f"tag{i}"] = tag
    if filter.changed_from is not None:
        parts.append("e.changed >= :changed_from")
        parameters["changed_from"] = filter.changed_from
    if filter.changed_before is not None:
        parts.append("e.changed < :changed_before")
        parameters["changed_before"] = filter.changed_before
    return " AND ".join(parts), parameters


def granted_rows(db: Connection, who: Identity, filter: Filter, grants: Grants) -> dict[int, list[int]]:
    """What others let `who` read, by the number of its owner."""
    where, parameters = conditions(filter)
    parameters |= {"agent": who.agent, **sharing.parameters(who, grants)}
    found: dict[int, list[int]] = {}
    statement = (
        f"SELECT e.owner, e.row FROM entries e JOIN owners o ON o.number = e.owner"
        f" WHERE e.row IN (SELECT row FROM ({sharing.GRANTED})) AND o.name != :agent AND {where}"
    )
    for owner, row in db.execute(statement, parameters):
        found.setdefault(owner, []).append(row)
    return found


# -- changes --------------------------------------------------------------------------------------------


def insert(
    db: Connection, id: str, owner: str, kind: Kind, name: str, tags: tuple[str, ...], pinned: bool,
    body: Body, *, limits: MemoryLimits, by: str, now: float, labels: frozenset[str],
) -> Row:  # fmt: skip
    """A new entry at version 1, with the labels of who makes it. Raises LimitExceeded, Conflict (a block of
    that name is there)."""
    number = number_of(db, owner)
    check_quota(db, number, len(body.data), 1, limits)
    if kind == "block":
        _check_block(db, number, name, limits)
    row = Row(
        0, id, number, owner, kind, name, tags, len(body.data), 1, pinned, now, now,
        body.meta, digest(body.data), False, labels,
    )  # fmt: skip
    text = body.text
    cursor = db.execute(
        "INSERT INTO entries (id, owner, kind, name, tags, size, version, pinned, created, changed, meta,"
        " digest, body, words, about, labels) VALUES (?, ?, ?, ?, ?, ?, 1, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (row.id, number, kind, name, as_json(tags), row.size, pinned, now, now, body.meta, row.digest,
         body.data,
         None if text is None else text.words[:INDEXED], None if text is None else text.about[:INDEXED],
         as_json(tuple(sorted(labels)))),
    )  # fmt: skip
    row = dataclasses.replace(row, row=cast(int, cursor.lastrowid))
    db.execute(
        "UPDATE owners SET entries = entries + 1, bytes = bytes + ? WHERE number = ?", (row.size, number)
    )
    if pinned:
        check_pins(db, number, limits)
    _index(db, row, text)
    _keep_version(db, row, body, by, now, limits)
    return row


def replace(
    db: Connection, row: Row, body: Body, *, name: str | None = None, tags: tuple[str, ...] | None = None,
    limits: MemoryLimits, by: str, now: float, labels: frozenset[str],
) -> Row:  # fmt: skip
    """The next version of `row`, with the labels of who makes it beside those it has. A swapped body of the
    old one is doomed. Raises LimitExceeded."""
    check_quota(db, row.owner, len(body.data) - row.size, 0, limits)
    _unindex(db, row)
    _doom(db, [row])
    new = dataclasses.replace(
        row, name=row.name if name is None else name, tags=row.tags if tags is None else tags,
        size=len(body.data), version=row.version + 1, changed=now, meta=body.meta,
        digest=digest(body.data), swapped=False, labels=row.labels | labels,
    )  # fmt: skip
    text = body.text
    db.execute(
        "UPDATE entries SET name = ?, tags = ?, size = ?, version = ?, changed = ?, meta = ?, digest = ?,"
        " body = ?, words = ?, about = ?, labels = ? WHERE row = ?",
        (new.name, as_json(new.tags), new.size, new.version, now, new.meta, new.digest, body.data,
         None if text is None else text.words[:INDEXED], None if text is None else text.about[:INDEXED],
         as_json(tuple(sorted(new.labels))), row.row),
    )  # fmt: skip
    db.execute("UPDATE owners SET bytes = bytes + ? WHERE number = ?", (new.size - row.size, row.owner))
    if new.pinned:
        check_pins(db, row.owner, limits)
    _index(db, new, text)
    _keep_version(db, new, body, by, now, limits)
    return new


def delete(db: Connection, rows: list[Row]) -> None:
    """These, with their versions, links and vectors. Their swapped bodies are doomed."""
    _doom(db, rows)
    for row in rows:
        _unindex(db, row)
        db.execute("DELETE FROM entries WHERE row = ?", (row.row,))
        db.execute(
            "UPDATE owners SET entries = entries - 1, bytes = bytes - ? WHERE number = ?", (row.size, row.owner)
        )


def check_quota(db: Connection, owner: int, size: int, entries: int, limits: MemoryLimits) -> None:
    """Raises LimitExceeded if the owner can't have so much more."""
    has, used = db.execute("SELECT entries, bytes FROM owners WHERE number = ?", (owner,)).fetchone()
    mend = "Delete some, or ask for a larger [memory] limit."
    if entries and has + entries > limits.agent_entries:
        raise LimitExceeded(f"You keep {has} memories, and may keep {limits.agent_entries}.", mend)
    if size > 0 and used + size > limits.agent_bytes:
        raise LimitExceeded(f"You keep {used} bytes of memory, and may keep {limits.agent_bytes}.", mend)


def check_pins(db: Connection, owner: int, limits: MemoryLimits) -> None:
    """Raises LimitExceeded if what is pinned leaves no room to page: more than `low` of a budget."""
    (name,) = db.execute("SELECT name FROM owners WHERE number = ?", (owner,)).fetchone()
    # With its sub-agents (`ann/web`): whoever makes more of them gets no more room.
    group, colon, agent = name.partition(":")
    above = f"{group}{colon}{agent.partition('/')[0]}"
    mine, total = db.execute(
        "SELECT coalesce(sum(e.size) FILTER (WHERE o.name = ?1 OR substr(o.name, 1, ?2) = ?1 || '/'), 0),"
        " coalesce(sum(e.size), 0) FROM entries e JOIN owners o ON o.number = e.owner WHERE e.pinned",
        (above, len(above) + 1),
    ).fetchone()
    room = int(limits.low * limits.ram_agent_bytes)
    if mine > room or total > limits.low * limits.ram_bytes:
        raise LimitExceeded(f"You may pin {room} bytes in RAM, if others leave the room.", "Unpin some.")


def _check_block(db: Connection, owner: int, name: str, limits: MemoryLimits) -> None:
    names = {n for (n,) in db.execute("SELECT name FROM entries WHERE owner = ? AND kind = 'block'", (owner,))}
    if name in names:
        raise Conflict(f"There is a block {name!r} already.", "Append to it, or replace its text.")
    if len(names) >= limits.blocks:
        raise LimitExceeded(f"You have {len(names)} blocks, the most there may be.", "Delete one.")


def _doom(db: Connection, rows: list[Row]) -> None:
    keys = [(row.swap_key,) for row in rows if row.swapped]
    db.executemany("INSERT OR IGNORE INTO doomed (key) VALUES (?)", keys)


def _index(db: Connection, row: Row, text: Text | None) -> None:
    if text is None:
        return
    words, about = (marked(row.owner, part[:INDEXED]) for part in (text.words, text.about))
    db.execute("INSERT INTO fts (rowid, words, about) VALUES (?, ?, ?)", (row.row, words, about))
    if text.vector is not None:
        db.execute(
            "INSERT OR REPLACE INTO vectors (row, owner, embedder, vector) VALUES (?, ?, ?, ?)",
            (row.row, row.owner, text.embedder, text.vector),
        )


def _unindex(db: Connection, row: Row) -> None:
    old = db.execute("SELECT words, about FROM entries WHERE row = ?", (row.row,)).fetchone()
    if old is None or old[0] is None:
        return
    words, about = (marked(row.owner, part) for part in old)
    db.execute("INSERT INTO fts (fts, rowid, words, about) VALUES ('delete', ?, ?, ?)", (row.row, words, about))
    db.execute("DELETE FROM vectors WHERE row = ?", (row.row,))


def _keep_version(db: Connection, row: Row, body: Body, by: str, now: float, limits: MemoryLimits) -> None:
    if row.kind not in ("note", "block"):
        return
    db.execute(
        "INSERT INTO versions (row, version, at, by, why, body, tags, meta) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        (row.row, row.version, now, by, body.why, body.data.decode(), as_json(row.tags), body.meta),
    )
    db.execute(
        "DELETE FROM versions WHERE row = ? AND version <= ?", (row.row, row.version - limits.versions_kept)
    )


# -- reading --------------------------------------------------------------------------------------------


def info(row: Row, place: Place, grants: Grants) -> EntryInfo:
    mine = row.access == "own"
    return EntryInfo(
        id=row.id, owner=row.owner_name, kind=row.kind, name=row.name, tags=row.tags, size=row.size,
        version=row.version, pinned=row.pinned, created=row.created, changed=row.changed, access=row.access,
        place=place, grants=grants.on(row.owner_name, sharing.resource(row.id)) if mine else (),
        labels=tuple(sorted(row.labels)),
    )  # fmt: skip


def _one(db: Connection, where: str, value: str | int) -> Row | None:
    statement = f"SELECT {_COLUMNS} FROM entries e JOIN owners o ON o.number = e.owner WHERE {where}"
    found = db.execute(statement, (value,)).fetchone()
    return None if found is None else _row(found)


def _row(values: tuple[Any, ...]) -> Row:
    (
        row,
        id,
        owner,
        owner_name,
        kind,
        name,
        tags,
        size,
        version,
        pinned,
        created,
        changed,
        meta,
        sha,
        swapped,
        labels,
    ) = values
    return Row(
        row, id, owner, owner_name, kind, name, tuple(msgspec.json.decode(tags, type=list[str])), size, version,
        bool(pinned), created, changed, meta, sha, bool(swapped),
        frozenset(msgspec.json.decode(labels, type=list[str])),
    )  # fmt: skip


def as_json(value: tuple[str, ...]) -> str:
    return msgspec.json.encode(value).decode()
