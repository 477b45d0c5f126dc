"""Copy, move, delete and what the bin does: changes of names that leave contents as they are."""

from __future__ import annotations

from aios.errors import Conflict, NotFound
from aios.storage.change import Change
from aios.storage.paths import Parts, parse, show
from aios.storage.tree import Place, Tree
from aios.syscalls.storage_records import Binned, Stat


def copy(
    change: Change, source: Tree, place: Place, to: Parts, *, op: str = "copy", parents: bool = False
) -> Stat:
    """Copy `place` (as `source` sees it) with all that is in it to the free place `to`; the chunks are shared.
    Raises Conflict, NotFound, QuotaExceeded, LimitExceeded."""
    # All names first: the copy may be in the folder that is copied.
    inner = list(source.walk(place)) if place.kind == "dir" else []
    made = _copy_one(change, source, place, to, op, parents)
    for each in inner:
        _copy_one(change, source, each, (*made.path, *each.path[len(place.path) :]), op, False)
    return change.stat(made)


def _copy_one(change: Change, source: Tree, place: Place, to: Parts, op: str, parents: bool) -> Place:
    manifest, size, meta, target = source.state(place)
    made = change.make(to, place.kind, parents=parents)
    change.add_version(made, op, manifest=manifest, size=size, meta=meta, target=target)
    return made


def move(change: Change, place: Place, to: Parts, *, parents: bool) -> Stat:
    """Move `place` to the free place `to`: the same file with its history, unless it goes to another root.
    Raises Conflict, InvalidPath, NotFound, Forbidden, LimitExceeded."""
    change.check_writable(place)
    change.check_free(place)
    spot = change.spot(to, parents=parents)
    change.check_outside(place, spot)
    change.check_writable(spot)
    if spot.root != place.root:
        made = copy(change, change, place, to, op="move", parents=parents)
        delete(change, place)
        return made
    change.unname(place)
    change.stale(place.node)
    return change.stat(change.name(place.node, place.kind, spot))


def delete(change: Change, place: Place) -> Binned:
    """Put `place` into the bin of its root. Raises Conflict, Forbidden."""
    change.unname(place)
    # As its own root calls it: whoever empties the bin may see it elsewhere.
    path = show(place.path[len(place.base) :])
    id: int = change.db.execute(
        "INSERT INTO binned (root, node, path, at, author) VALUES (?, ?, ?, ?, ?) RETURNING id",
        (place.root, place.node, path, change.now, change.author),
    ).fetchone()[0]
    change.stale(place.node)
    size = change.stat(place).size
    return Binned(id=id, path=path, kind=place.kind, size=size, at=change.now, author=change.author)


def restore(change: Change, id: int, to: Parts | None) -> Stat:
    """Take `id` out of the bin of the change's root, to where it was or `to`. Raises NotFound, Conflict."""
    row = change.db.execute(
        "SELECT b.node, b.path, n.kind FROM binned b JOIN nodes n ON n.id = b.node"
        " WHERE b.id = ? AND b.root = ?",
        (id, change.root),
    ).fetchone()
    if row is None:
        raise not_in_bin(id)
    node, path, kind = row
    spot = change.spot(parse(path) if to is None else to, parents=True)
    change.check_writable(spot)
    if spot.root != change.root:
        raise Conflict("It belongs to this root, and that place is in another.", "Restore it, then copy it.")
    place = change.name(node, kind, spot)
    change.db.execute("DELETE FROM binned WHERE id = ?", (id,))
    change.stale(node)
    return change.stat(place)


def not_in_bin(id: int) -> NotFound:
    return NotFound(f"There is no {id} in the bin.", "List the bin.", param="id")
