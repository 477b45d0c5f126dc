"""The store against a dict: whatever an owner does, what is read is what a plain tree of bytes would hold."""

from __future__ import annotations

import asyncio
import random
import tempfile
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from tests import stores

from aios.errors import Conflict, InvalidPath, NotFound
from aios.storage.chunking import AVERAGE, LARGEST, SMALLEST, cuts, gear_table
from aios.storage.contents import cut
from aios.storage.manager import StorageManager

GEAR = gear_table()
bodies = st.builds(
    lambda seed, size, low: bytes(b % 3 for b in random.Random(seed).randbytes(size)) if low
    else random.Random(seed).randbytes(size),
    st.integers(0, 3), st.sampled_from([0, 1, 100, 3_000, 20_000]), st.booleans(),
)  # fmt: skip
names = st.sampled_from(["a", "b", "é", "ü ü"])
paths = st.lists(names, min_size=1, max_size=3).map(lambda parts: "/" + "/".join(parts))

Tree = dict[str, bytes]


def inside(path: str, folder: str) -> bool:
    return path == folder or path.startswith(folder + "/")


class Model(RuleBasedStateMachine):
    """Files of one owner as path -> bytes; folders are what is above them, so empty ones are left out."""

    @initialize()
    def begin(self) -> None:
        self.loop = asyncio.new_event_loop()
        self.folder = tempfile.TemporaryDirectory()
        self.files: Tree = {}
        self.snapshots: dict[str, Tree] = {}
        self.storage = StorageManager(Path(self.folder.name))
        self.do(self.storage.__aenter__())

    def teardown(self) -> None:
        if hasattr(self, "storage"):
            self.do(self.storage.__aexit__(None, None, None))
            stores.check(Path(self.folder.name))
            self.folder.cleanup()
            self.loop.close()

    def do(self, call):
        return self.loop.run_until_complete(call)

    def attempt(self, call) -> bool:
        """Whether it was possible."""
        try:
            self.do(call)
        except (Conflict, NotFound, InvalidPath):
            return False
        return True

    @rule(path=paths, body=bodies, append=st.booleans())
    def write(self, path: str, body: bytes, append: bool) -> None:
        call = self.storage.files.append if append else self.storage.files.write
        if self.attempt(call("ann", path, body)):
            self.files[path] = (self.files.get(path, b"") if append else b"") + body

    @rule(path=paths, share=st.floats(0, 1))
    def truncate(self, path: str, share: float) -> None:
        size = int(len(self.files.get(path, b"")) * share)
        done = self.attempt(self.storage.files.truncate("ann", path, size))
        assert done == (path in self.files)
        if done:
            self.files[path] = self.files[path][:size]

    @rule(path=paths)
    def delete(self, path: str) -> None:
        if self.attempt(self.storage.files.delete("ann", path, recursive=True)):
            self.files = {p: body for p, body in self.files.items() if not inside(p, path)}

    @rule(path=paths, to=paths, replace=st.booleans(), copy=st.booleans())
    def move_or_copy(self, path: str, to: str, replace: bool, copy: bool) -> None:
        call = self.storage.files.copy if copy else self.storage.files.move
        if not self.attempt(call("ann", path, to, replace=replace)):
            return
        moved = {to + p[len(path) :]: body for p, body in self.files.items() if inside(p, path)}
        kept = {p: b for p, b in self.files.items() if copy or not inside(p, path)}
        self.files = {p: b for p, b in kept.items() if not inside(p, to)} | moved

    @precondition(lambda self: self.files)
    @rule(steps=st.integers(1, 3), data=st.data())
    def rollback(self, steps: int, data: st.DataObject) -> None:
        path = data.draw(st.sampled_from(sorted(self.files)))
        history = self.do(self.storage.versions.history("ann", path))
        if self.attempt(self.storage.versions.rollback("ann", path, steps=steps)):
            old = self.do(self.storage.files.read("ann", path, version=history[steps].version))
            self.files[path] = old.data
        else:
            assert len(history) <= steps

    @rule(name=st.sampled_from("xyz"))
    def snapshot(self, name: str) -> None:
        if self.attempt(self.storage.versions.snapshot("ann", name)):
            assert name not in self.snapshots
            self.snapshots[name] = dict(self.files)

    @precondition(lambda self: self.snapshots)
    @rule(data=st.data())
    def restore(self, data: st.DataObject) -> None:
        name = data.draw(st.sampled_from(sorted(self.snapshots)))
        self.do(self.storage.versions.restore("ann", name))
        self.files = dict(self.snapshots[name])
        assert self.do(self.storage.versions.compare("ann", name)) == ()

    @rule(purge=st.booleans())
    def tidy(self, purge: bool) -> None:
        if purge:
            self.do(self.storage.bin.purge("ann"))
        self.do(self.storage.collect())

    @invariant()
    def reads_what_the_dict_holds(self) -> None:
        if not hasattr(self, "storage"):
            return
        assert self.tree() == self.files
        for name, tree in self.snapshots.items():
            assert self.tree(snapshot=name) == tree

    def tree(self, **how) -> Tree:
        found = self.do(self.storage.files.glob("ann", "**", **how)).entries
        return {
            stat.path: self.do(self.storage.files.read("ann", stat.path, **how)).data
            for stat in found
            if stat.kind == "file"
        }


Model.TestCase.settings = settings(max_examples=25, stateful_step_count=20, deadline=None)
TestModel = Model.TestCase


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**32), size=st.integers(0, 400_000), kinds=st.integers(1, 256))
def test_cuts_cover_the_data_within_bounds_and_what_was_cut_is_cut_again_after_an_append(seed, size, kinds):
    data = bytes(byte % kinds for byte in random.Random(seed).randbytes(size))
    ends = cuts(data, GEAR)
    sizes = [end - start for start, end in zip([0, *ends], ends, strict=False)]
    assert sum(sizes) == size
    assert all(SMALLEST <= each <= LARGEST for each in sizes[:-1])
    assert all(0 < each <= LARGEST for each in sizes)
    shorter = random.Random(seed + 1).randint(0, size)
    again = cuts(data[:shorter], GEAR)[:-1]
    assert again == ends[: len(again)]


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**32), at=st.floats(0, 1), insert=st.binary(min_size=1, max_size=50))
def test_an_edit_changes_few_chunks(seed, at, insert):
    data = random.Random(seed).randbytes(300_000)
    place = int(len(data) * at)
    before = {piece.digest for piece in cut(data, GEAR).pieces}
    after = cut(data[:place] + insert + data[place:], GEAR).pieces
    changed = sum(piece.size for piece in after if piece.digest not in before)
    assert changed <= 3 * LARGEST
    assert 300_000 / len(after) > AVERAGE / 2
