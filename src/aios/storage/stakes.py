"""What is at stake in a call: what it would delete or write over. It is looked up before the call is decided,
and is still so in the transaction that does it, or nothing is done."""

from __future__ import annotations

import hashlib
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from itertools import islice
from types import MappingProxyType
from typing import Any, NamedTuple

from aios.errors import AiosError
from aios.storage import contents
from aios.storage.chunking import gear_table
from aios.storage.database import Retry
from aios.storage.paths import Parts, parse, parse_inner
from aios.storage.store import Store, moment
from aios.storage.tree import Place, Tree
from aios.storage.versions import DIFF_BYTES, differences, earlier, unified
from aios.syscalls import Call
from aios.syscalls import storage as s

LISTED = 100
"""Things that a person is shown by name."""
SHOWN_CHARS = 20_000
"""Of a diff."""
MOST = 1_000_000
"""Entries that are compared for one decision: the change itself is refused for far fewer."""
DONE: Mapping[str, int] = MappingProxyType({"": -1})
"""`seen` of a call whose key has a result already: its change must not be made again."""
LOST: Mapping[str, bool] = MappingProxyType({"irreversible": True, "deletes": True})
"""What is true of calls that nothing brings back."""
MAY: Mapping[type[Call[Any]], tuple[str, ...]] = MappingProxyType({
    s.WriteFile: ("overwrites",), s.TruncateFile: ("overwrites",), s.Move: ("overwrites",),
    s.Copy: ("overwrites",), s.Rollback: ("overwrites",), s.DeleteFile: ("deletes",),
    s.RestoreSnapshot: ("deletes", "overwrites"), s.Purge: tuple(LOST), s.ForgetVersions: tuple(LOST),
    s.DropSnapshot: tuple(LOST),
})  # fmt: skip
"""What calls may do to what is there. Appending leaves it as it is."""


class Stake(NamedTuple):
    """`facts`: `deletes`, `overwrites`, or none. `seen`: what the call is about, with the version that is there
    (0: nothing; of a folder a number that changes with anything in it)."""

    facts: Mapping[str, bool] = MappingProxyType({})
    seen: Mapping[str, int] = MappingProxyType({})


class Outdated(Retry):
    """What is at stake is no longer what was looked up: the call is to be decided again."""


class Stakes:
    """Of calls on the roots of `store`. Whoever acts is the owner of the root."""

    may = MAY

    def __init__(self, store: Store) -> None:
        self._store, self._gear = store, gear_table()

    async def of(self, owner: str, call: Call[Any]) -> Stake:
        """What `call` would lose. A call that can't be done loses nothing. Raises StorageUnavailable."""
        if await self._store.settled(owner, getattr(call, "idempotency_key", "") or ""):
            return Stake(seen=DONE)

        def look(tree: Tree) -> Stake:
            try:
                facts = self._facts(tree, call)
            except AiosError:
                facts = {}
            return Stake(facts, _seen(tree, call))

        return await self._store.look(owner, look)

    @contextmanager
    def standing_on(self, call: Call[Any], stake: Stake) -> Generator[None]:
        """A change of `call` in here raises Outdated, and changes nothing, if something else is at stake by
        then."""

        def check(tree: Tree) -> None:
            if _seen(tree, call) != stake.seen:
                raise Outdated

        with self._store.fenced(check):
            yield

    async def shown(self, owner: str, call: Call[Any]) -> str:
        """What `call` would change, for a person. Raises StorageUnavailable."""

        def look(tree: Tree) -> str:
            try:
                text = _shown(tree, call)
            except AiosError as error:  # of damaged content there is no diff
                return error.what
            return text if len(text) <= SHOWN_CHARS else f"{text[:SHOWN_CHARS]}\n(and more)"

        return await self._store.look(owner, look)

    def _facts(self, tree: Tree, call: Call[Any]) -> Mapping[str, bool]:
        match call:
            case s.WriteFile() | s.TruncateFile() | s.Rollback():
                place = tree.look(parse_inner(call.path))
                if place is None or place.kind != "file" or _refused(tree, place, call.expect):
                    return {}
                return {"overwrites": True} if self._differs(tree, place, call) else {}
            case s.Move() | s.Copy() if call.replace:
                there = tree.look(parse_inner(call.to), follow=False)
                return {"overwrites": True} if there is not None else {}
            case s.DeleteFile():
                place = tree.find(parse_inner(call.path), follow=False)
                return {} if _refused(tree, place, call.expect) else {"deletes": True}
            case s.RestoreSnapshot():
                found = list(_restored(tree, call))
                facts = {
                    "deletes": any(old is None for _, old, _ in found),
                    "overwrites": any(old is not None and new is not None for _, old, new in found),
                }
                return {name: True for name, so in facts.items() if so}
            case s.Purge():
                binned = tree.db.execute("SELECT id FROM binned WHERE root = ?", (tree.root,))
                return LOST if any(call.ids is None or id in call.ids for (id,) in binned) else {}
            case s.ForgetVersions():
                tree.file(parse_inner(call.path))
                return LOST
            case s.DropSnapshot():
                moment(tree.db, tree.root, call.name)
                return LOST
            case _:
                return {}

    def _differs(self, tree: Tree, place: Place, call: s.WriteFile | s.TruncateFile | s.Rollback) -> bool:
        manifest, size = tree.manifest(place)
        match call:
            case s.WriteFile():
                data = call.data or call.text.encode()
                if size != len(data):
                    return True
                return tree.stat(place).digest != contents.cut(data, self._gear).digest.hex()
            case s.TruncateFile():
                return call.size < size
            case s.Rollback():
                return manifest != earlier(tree, place, call.steps, call.version, call.time)[0]


def _refused(tree: Tree, place: Place, expect: int | None) -> bool:
    """Whether the change will be, for its caller expects another version."""
    return expect is not None and tree.head(place) != expect


def _seen(tree: Tree, call: Call[Any]) -> Mapping[str, int]:
    """Empty for what can't be done: it says itself why not."""
    try:
        match call:
            case s.WriteFile() | s.TruncateFile() | s.Rollback():
                return {call.path: _number(tree, tree.look(parse_inner(call.path)))}
            case s.Move() | s.Copy() if call.replace:
                there = tree.look(parse_inner(call.to), follow=False)
                if there is None:
                    return {call.to: 0}
                moment_of = moment(tree.db, tree.root, call.snapshot if isinstance(call, s.Copy) else "")
                source = Tree(tree.db, tree.root, tree.now, moment_of)
                given = source.look(parse(call.path), follow=False)
                return {call.path: _number(source, given), call.to: _number(tree, there)}
            case s.DeleteFile():
                return {call.path: _number(tree, tree.look(parse_inner(call.path), follow=False))}
            case s.RestoreSnapshot():
                found = [(where, _number(tree, new)) for where, _, new in _restored(tree, call)]
                return {call.path: _digest(found)}
            case _:
                return {}
    except AiosError:
        return {}


def _number(tree: Tree, place: Place | None) -> int:
    if place is None or place.kind != "dir":
        return 0 if place is None else tree.head(place)
    return _digest([(each.path, tree.head(each)) for each in (place, *tree.walk(place))])


def _digest(found: list[tuple[Parts, int]]) -> int:
    # 52 bits: a number in JSON is exact up to there.
    return int(hashlib.sha256(repr(found).encode()).hexdigest()[:13], 16)


def _restored(tree: Tree, call: s.RestoreSnapshot) -> list[tuple[Parts, Place | None, Place | None]]:
    past = Tree(tree.db, tree.root, tree.now, moment(tree.db, tree.root, call.snapshot))
    return list(differences(past, tree, parse(call.path), MOST))


def _shown(tree: Tree, call: Call[Any]) -> str:
    match call:
        case s.WriteFile():
            return _changed(tree, tree.file(parse_inner(call.path)), call.data or call.text.encode())
        case s.TruncateFile():
            place = tree.file(parse_inner(call.path))
            data = _read(tree, place, None)
            return _changed(tree, place, None if data is None else data[: call.size])
        case s.Rollback():
            place = tree.file(parse_inner(call.path))
            seq = earlier(tree, place, call.steps, call.version, call.time)[3]
            return _changed(tree, place, _read(tree, place, seq))
        case s.Move() | s.Copy():
            return _gone(tree, tree.find(parse_inner(call.to), follow=False))
        case s.DeleteFile():
            return _gone(tree, tree.find(parse_inner(call.path), follow=False))
        case s.RestoreSnapshot():
            became = {(True, False): "made again", (False, True): "to the bin", (True, True): "as it was"}
            found = _restored(tree, call)
            lines = [
                f"/{'/'.join(where)}: {became[old is not None, new is not None]}"
                for where, old, new in found[:LISTED]
            ]
            return "\n".join([*lines, *_more(len(found))])
        case s.Purge():
            query = "SELECT id, path FROM binned WHERE root = ? ORDER BY id"
            rows = tree.db.execute(query, (tree.root,)).fetchall()
            found = [f"- {id} {path}" for id, path in rows if call.ids is None or id in call.ids]
            return "\n".join([*found[:LISTED], *_more(len(found))])
        case _:
            return ""


def _changed(tree: Tree, place: Place, after: bytes | None) -> str:
    head = tree.head(place)
    before = _read(tree, place, head)
    kind, text = unified(place.shown, head, "new", before, after, 3)
    if kind == "text":
        return text
    size = "other bytes" if after is None else f"{len(after)} bytes"
    return f"{place.shown}: {tree.stat(place).size} bytes become {size}"


def _gone(tree: Tree, place: Place) -> str:
    if place.kind == "file":
        kind, text = unified(place.shown, tree.head(place), "gone", _read(tree, place, None), b"", 0)
        return text if kind == "text" and text else f"- {place.shown} ({tree.stat(place).size} bytes)"
    if place.kind == "link":
        return f"- {place.shown} -> {place.target}"
    inside = list(islice(tree.walk(place), LISTED))
    return "\n".join([f"- {place.shown}/", *(f"- {each.shown}" for each in inside), *_more(-1, len(inside))])


def _more(found: int, shown: int = 0) -> list[str]:
    return ["(and more)"] if found > LISTED or shown == LISTED else []


def _read(tree: Tree, place: Place, version: int | None) -> bytes | None:
    """None: too much to show. Raises StorageCorrupt."""
    manifest, size = tree.manifest(place, version)
    if size > DIFF_BYTES:
        return None
    return contents.read(tree.db, manifest, 0, size) if size else b""
