"""What must hold of every store, whatever happened to it: read from the file, not from the manager."""

from __future__ import annotations

import resource
import sqlite3
from collections.abc import Callable, Generator
from contextlib import closing, contextmanager
from pathlib import Path

LIVE = 1 << 62

RULES = {
    "a root is charged for what its versions and blobs reach": """
        SELECT root, chunk FROM holdings EXCEPT SELECT root, chunk FROM (
            SELECT v.root, p.chunk FROM versions v JOIN pieces p ON p.manifest = v.manifest
            UNION SELECT r.root, p.chunk FROM refs r JOIN pieces p ON p.manifest = r.manifest)""",
    "and for all of that": """
        SELECT v.root, p.chunk FROM versions v JOIN pieces p ON p.manifest = v.manifest
        UNION SELECT r.root, p.chunk FROM refs r JOIN pieces p ON p.manifest = r.manifest
        EXCEPT SELECT root, chunk FROM holdings""",
    "the sum is right": """
        SELECT id FROM roots r WHERE used <> (SELECT coalesce(sum(c.size), 0)
            FROM holdings h JOIN chunks c ON c.id = h.chunk WHERE h.root = r.id)""",
    "a node's head is its newest version": """
        SELECT id FROM nodes n WHERE head <> (SELECT max(seq) FROM versions v WHERE v.node = n.id)""",
    "what lives has one name": f"""
        SELECT node FROM entries WHERE died = {LIVE} GROUP BY node HAVING count(*) > 1""",
    "what is in the bin has none": f"""
        SELECT b.node FROM binned b JOIN entries e ON e.node = b.node WHERE e.died = {LIVE}""",
    "a content is as long as its pieces": """
        SELECT id FROM manifests m WHERE size <> (SELECT coalesce(sum(c.size), 0)
            FROM pieces p JOIN chunks c ON c.id = p.chunk WHERE p.manifest = m.id)""",
}
LEFT_OVERS = {
    "chunks": "SELECT id FROM chunks WHERE id NOT IN (SELECT chunk FROM pieces)",
    "manifests": """SELECT id FROM manifests WHERE id NOT IN (SELECT manifest FROM versions
        WHERE manifest IS NOT NULL) AND id NOT IN (SELECT manifest FROM refs)""",
    "nodes": "SELECT node FROM doomed",
}


def check(folder: Path, *, tidy: bool = False) -> None:
    """Assert the rules on a closed store; `tidy`: and that nothing unreachable is left."""
    with closing(sqlite3.connect(folder / "storage.db")) as db:
        assert db.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        assert db.execute("PRAGMA foreign_key_check").fetchall() == []
        for rule, query in {**RULES, **(LEFT_OVERS if tidy else {})}.items():
            assert db.execute(query).fetchall() == [], rule


class Broken(sqlite3.Connection):
    """A connection on which every statement after the next `left` fails, as on a dead disk."""

    left = -1

    def execute(self, *args):
        self._step()
        return super().execute(*args)

    def executemany(self, *args):
        self._step()
        return super().executemany(*args)

    def _step(self) -> None:
        if self.left == 0:
            raise sqlite3.OperationalError("disk I/O error")
        self.left -= self.left > 0


class BreakingDisk:
    """Makes connections; the first, which is the writer's, breaks when told to."""

    def __init__(self) -> None:
        self.made: list[Broken] = []

    def __call__(self, path: Path) -> sqlite3.Connection:
        db = sqlite3.connect(path, timeout=10.0, isolation_level=None, check_same_thread=False, factory=Broken)
        self.made.append(db)
        return db

    def break_after(self, statements: int) -> None:
        self.made[0].left = statements

    def mend(self) -> None:
        self.made[0].left = -1

    @property
    def broken(self) -> bool:
        return self.made[0].left == 0


@contextmanager
def full_disk(room: int = 1) -> Generator[None]:
    """No file of this process can grow beyond `room` bytes."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (room, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def tamper(folder: Path, change: Callable[[bytes], bytes], where: str = "1") -> list[str]:
    """Change the stored bytes of chunks behind the manager's back. Returns their digests."""
    with closing(sqlite3.connect(folder / "storage.db")) as db:
        rows = db.execute(f"SELECT id, digest, data FROM chunks WHERE {where}").fetchall()
        db.executemany("UPDATE chunks SET data = ? WHERE id = ?", ((change(data), id) for id, _, data in rows))
        db.commit()
    return [digest.hex() for _, digest, _ in rows]
