"""The residency's plans against a model of the hardware: slots, extents and files that hold token lists."""

import asyncio
import itertools
import tempfile
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from aios.context.manager import Swapping
from aios.context.residency import Residency
from aios.context.swap import SwapSpace
from aios.cores.core import ContextSpec, Copy, Load, Read, Save, Sequence, SwapIn, SwapOut, Truncate
from aios.events import EventBus
from aios.syscalls import Generate

SLOTS = 3
PER_TOKEN = 64
SYSTEM = list(range(1000, 1040))


def shared(a: list[int], b: list[int]) -> int:
    return next((i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))


class Hardware:
    """What a worker does with a seat's operations; and the keeper of its contexts."""

    fingerprint = "model 1"

    def __init__(self) -> None:
        self.slots: list[list[int]] = [[] for _ in range(SLOTS)]
        self.memory: dict[int, list[int]] = {}  # extent serial -> tokens
        self.files: dict[Path, list[int]] = {}

    async def move(self, ops) -> None:
        for op in ops:
            self.apply(op)

    async def swap_out(self, extent, path) -> bool:
        self.files[path] = list(self.memory[extent.serial])
        path.touch()
        return True

    def damaged(self) -> list:
        return []

    def reads(self) -> list:
        return []

    def apply(self, op) -> None:
        match op:
            case Save(slot, extent):
                self.memory[extent.serial] = list(self.slots[slot])
            case Load(slot, extent, tokens):
                self.slots[slot] = self.memory[extent.serial][:tokens]
            case SwapIn(slot, path, tokens):
                assert path.exists(), "the plan reads a file that was deleted"
                self.slots[slot] = self.files[path][:tokens]
            case SwapOut(extent, path):
                assert not path.exists()
                self.files[path] = list(self.memory[extent.serial])
                path.touch()
            case Copy(slot, source, tokens):
                assert slot != source
                self.slots[slot] = self.slots[source][:tokens]
            case Truncate(slot, tokens):
                del self.slots[slot][tokens:]


class Store:
    """A store that outlives kernels: files, and those of them that have a label."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.names = folder, itertools.count()
        self.labels: dict[Path, bytes] = {}

    def reserve(self, size: int, owner: str) -> Path:
        return self.folder / f"{next(self.names)}.slab"

    async def seal(self, space: str, labels) -> None:
        self.labels |= {path: label for path, label in labels.items() if path.exists()}

    def remove(self, path: Path) -> None:
        self.labels.pop(path, None)
        path.unlink(missing_ok=True)

    async def find(self, space: str):
        for path in self.folder.iterdir():
            if path not in self.labels:
                path.unlink()  # collected
        return sorted(self.labels.items())


class ResidencyMachine(RuleBasedStateMachine):
    """Agents of two groups come, run, are interrupted, grow their conversations and go."""

    @initialize(
        ram=st.integers(0, 40), disk=st.sampled_from([0, 10, 100]), align=st.sampled_from([1, 1, 16]),
        eviction=st.sampled_from(["waste", "lru"]),
    )  # fmt: skip
    def begin(self, ram, disk, align, eviction):
        self.folder = tempfile.TemporaryDirectory()
        self.store = Store(Path(self.folder.name))
        self.hardware = Hardware()
        self.spec = ContextSpec(
            bytes_base=64, bytes_per_token=PER_TOKEN, ram_bytes=ram * 1024, align=align, keeper=self.hardware
        )
        self.disk, self.eviction = disk * 1024, eviction
        self.time = itertools.count()
        self.boot()
        self.align = align
        self.history: dict[int, list[int]] = {}
        self.ids = iter(range(1, 10**6))

    def boot(self) -> None:
        space = SwapSpace(self.store, "core", self.disk)
        self.residency = Residency(
            self.spec, SLOTS, EventBus(), swap=space, eviction=self.eviction, now=lambda: float(next(self.time))
        )
        self.swapping = Swapping(self.residency, self.hardware, space)
        self.running: dict[int, tuple[Sequence, int]] = {}
        self.interrupted: list[Sequence] = []

    def teardown(self) -> None:
        if hasattr(self, "folder"):
            self.folder.cleanup()

    def start(self, sequence: Sequence) -> None:
        context = sequence.tokens + sequence.generated
        seat = self.residency.seat(sequence)
        if len(self.running) == SLOTS:
            assert seat is None
            self.interrupted.append(sequence)
            return
        assert seat is not None
        assert seat.slot not in {slot for _, slot in self.running.values()}
        for op in seat.ops:
            # only the sequence's own slot may change; a save may read an idle slot or its own
            if isinstance(op, Save):
                assert op.slot not in {slot for _, slot in self.running.values()}
            elif not isinstance(op, SwapOut):
                assert op.slot == seat.slot
            self.hardware.apply(op)
        held = self.hardware.slots[seat.slot]
        there = min(shared(held, context), len(context) - 1)
        assert there >= seat.cached, "the plan promised KV that is not there"
        self.hardware.slots[seat.slot] = list(context)  # prefilled, last token included
        self.running[sequence.id] = (sequence, seat.slot)

    @rule(pid=st.integers(1, 6), more=st.lists(st.integers(0, 3), min_size=1, max_size=30), fresh=st.booleans())
    def call(self, pid, more, fresh):
        """A process goes on with its conversation, or begins another one."""
        tokens = (SYSTEM if fresh else self.history.get(pid, SYSTEM)) + more
        group = "even" if pid % 2 == 0 else "odd"
        sequence = Sequence(next(self.ids), Generate(), pid, group, tokens=tokens)
        self.residency.enter(sequence)
        self.start(sequence)

    @precondition(lambda self: self.interrupted)
    @rule(data=st.data())
    def go_on(self, data):
        sequence = self.interrupted.pop(data.draw(st.integers(0, len(self.interrupted) - 1)))
        self.start(sequence)

    @precondition(lambda self: self.running)
    @rule(data=st.data(), generated=st.lists(st.integers(0, 3), max_size=20), done=st.booleans())
    def leave(self, data, generated, done):
        sequence, slot = self.running.pop(data.draw(st.sampled_from(sorted(self.running))))
        sequence.generated.extend(generated)
        context = sequence.tokens + sequence.generated
        sequence.kv = len(context) - 1
        self.hardware.slots[slot] = context[: sequence.kv]
        self.residency.leave(sequence)
        if done:
            self.residency.exit(sequence)
            self.history[sequence.pid] = context
        else:
            self.interrupted.append(sequence)

    @rule(pid=st.integers(1, 6))
    def drop(self, pid):
        self.residency.drop(pid)
        self.history.pop(pid, None)

    @rule()
    def worker_dies(self):
        for sequence, _ in self.running.values():
            sequence.kv = 0
            self.residency.leave(sequence)
            self.interrupted.append(sequence)
        self.running.clear()
        self.residency.lost()
        self.hardware.slots = [[] for _ in range(SLOTS)]

    @rule()
    def swap(self):
        """The swapper copies what should be copied."""

        async def copy() -> None:
            entry = self.residency.parking.dirty(float(next(self.time)))
            if entry:
                await self.swapping.swapper.copy(entry)

        asyncio.run(copy())

    @precondition(lambda self: self.store.labels)
    @rule(data=st.data())
    def damage(self, data):
        """A file turns out not to be what was written: nothing is planned with it any more."""
        path = data.draw(st.sampled_from(sorted(self.store.labels)))
        if path not in {e.spent for e in self.residency._slots if e}:
            self.residency.discard(path)
            assert not path.exists()

    @rule(orderly=st.booleans())
    def restart(self, orderly):
        """The kernel stops, or is killed, and starts again."""

        async def stop() -> None:
            for sequence, _ in self.running.values():
                self.residency.leave(sequence)
            await self.swapping.save_all(10.0)

        if orderly:
            asyncio.run(stop())
        self.hardware.slots = [[] for _ in range(SLOTS)]
        self.hardware.memory = {}
        self.boot()
        asyncio.run(self.swapping.find(lambda pid: pid in self.history))

    @invariant()
    def budgets_are_kept(self):
        if hasattr(self, "residency"):
            parking, space = self.residency.parking, self.swapping.space
            held = sum(e.extent.size for e in parking.entries if e.extent)
            assert held == parking.extents.used <= parking.extents.size
            assert space.used <= space.size
            named = {e.file for e in parking.entries if e.file} | {
                e.spent for e in self.residency._slots if e and e.spent
            }
            assert named == set(Path(self.folder.name).iterdir())


TestResidency = ResidencyMachine.TestCase
TestResidency.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)


class Machine:
    """A residency with room for `ram` contexts of about 50 tokens in RAM, and as many in files."""

    def __init__(self, folder: Path, slots: int, ram: int = 1, *, swap: bool = True) -> None:
        self.hardware, size = Hardware(), ram * 60 * PER_TOKEN
        spec = ContextSpec(bytes_base=64, bytes_per_token=PER_TOKEN, ram_bytes=size, keeper=self.hardware)
        self.space = SwapSpace(Store(folder), "core", size)
        clock = itertools.count()
        space = self.space if swap else None
        self.residency = Residency(spec, slots, EventBus(), swap=space, now=lambda: float(next(clock)))
        self.ids = itertools.count(1)

    def enter(self, pid: int, tokens: list[int]) -> Sequence:
        sequence = Sequence(next(self.ids), Generate(), pid, "all", tokens=tokens)
        self.residency.enter(sequence)
        return sequence

    def run(self, pid: int, tokens: list[int]) -> Sequence:
        """It is in a slot now, with its KV."""
        sequence = self.enter(pid, tokens)
        seat = self.residency.seat(sequence)
        assert seat is not None
        for op in seat.ops:
            self.hardware.apply(op)
        assert self.hardware.slots[seat.slot][: seat.cached] == tokens[: seat.cached]
        self.hardware.slots[seat.slot] = list(tokens)
        sequence.kv = len(tokens)
        return sequence

    def over(self, sequence: Sequence) -> None:
        self.residency.leave(sequence)
        self.residency.exit(sequence)


def test_a_file_from_which_a_sequence_starts_makes_no_room_for_what_leaves_its_slot(tmp_path):
    machine = Machine(tmp_path, slots=1)
    ann, bob, eve = ([number, *range(length)] for number, length in ((2001, 40), (2002, 50), (2003, 45)))
    for pid, tokens in ((1, ann), (2, bob), (3, eve)):
        machine.over(machine.run(pid, tokens))
    assert machine.residency.place_of(1)[0] == "swapped"
    machine.enter(2, [*bob, 1])  # is wanted as soon, and is longer: its file would be worth more
    machine.run(1, [*ann, 1])
    assert machine.residency.stats(1).from_disk == len(ann)


def test_a_file_that_is_still_to_be_written_makes_no_room_for_another(tmp_path):
    machine = Machine(tmp_path, slots=3)
    running = [machine.run(pid, [2000 + pid, *range(35 + 5 * pid)]) for pid in (1, 2, 3)]
    for sequence in running:
        machine.over(sequence)
    for op in machine.residency.park_all():
        machine.hardware.apply(op)
    assert {entry.file for entry in machine.residency.parking.entries if entry.file} == set(tmp_path.iterdir())
    assert machine.space.used > 0


@pytest.mark.parametrize(("ann_s", "bob_s", "kept"), [(5.0, 10_000.0, 1), (10_000.0, 5.0, 2)])
def test_of_two_contexts_with_room_for_one_that_is_kept_which_is_wanted_sooner(tmp_path, ann_s, bob_s, kept):
    """Whether it is in RAM already or leaves its slot just now."""
    machine = Machine(tmp_path, slots=1, swap=False)
    for pid, away_s in ((1, ann_s), (2, bob_s), (3, 1.0)):
        machine.over(machine.run(pid, [2000 + pid, *range(50)]))
        machine.residency.declare(pid, away_s)
    places = {pid: machine.residency.place_of(pid)[0] for pid in (1, 2)}
    assert places == {kept: "parked", 3 - kept: "dropped"}


def test_who_is_wanted_sooner_goes_to_a_file_rather_than_that_another_is_lost(tmp_path):
    machine = Machine(tmp_path, slots=1)
    for pid, away_s in ((1, 5.0), (2, 10_000.0), (3, 1.0)):
        machine.over(machine.run(pid, [2000 + pid, *range(50)]))
        machine.residency.declare(pid, away_s)
    assert [machine.residency.place_of(pid)[0] for pid in (1, 2)] == ["swapped", "parked"]


def life_of(machine: Machine, pid: int) -> tuple[int, int, int, int, int]:
    (state,) = machine.residency.contexts(pid, "core")
    return state.computed, state.from_slot, state.from_ram, state.from_disk, state.restores


def test_what_became_of_a_context_is_counted_wherever_it_goes_on(tmp_path):
    machine = Machine(tmp_path, slots=1, ram=3)
    ann, bob, *others = ([number, *range(50)] for number in range(2001, 2006))
    machine.over(machine.run(1, ann))
    assert life_of(machine, 1) == (51, 0, 0, 0, 0)
    machine.over(machine.run(1, ann := [*ann, *range(5)]))  # on in its slot
    assert life_of(machine, 1) == (56, 51, 0, 0, 0)
    machine.over(machine.run(2, bob))
    machine.over(machine.run(1, ann := [*ann, *range(4)]))  # from RAM
    assert life_of(machine, 1) == (60, 51, 56, 0, 1)
    assert life_of(machine, 2) == (51, 0, 0, 0, 0)
    machine.residency.declare(1, 10_000.0)
    for pid, tokens in enumerate(others, 3):
        machine.over(machine.run(pid, tokens))
    assert machine.residency.place_of(1)[0] == "swapped"
    machine.over(machine.run(1, ann := [*ann, 7]))  # from disk
    assert life_of(machine, 1) == (61, 51, 56, 60, 2)
    stats = machine.residency.stats(1)
    assert (stats.computed, stats.from_slot, stats.from_ram, stats.from_disk) == life_of(machine, 1)[:4]


def test_a_context_that_was_dropped_goes_on_as_the_same_one(tmp_path):
    machine = Machine(tmp_path, slots=1, ram=0, swap=False)
    ann = [2001, *range(50)]
    machine.over(machine.run(1, ann))
    machine.over(machine.run(2, [2002, *range(50)]))
    assert machine.residency.place_of(1)[0] == "dropped"
    machine.over(machine.run(1, [*ann, 1]))
    assert life_of(machine, 1) == (51 + 52, 0, 0, 0, 0)


def test_another_conversation_of_a_process_is_another_context(tmp_path):
    machine = Machine(tmp_path, slots=1)
    machine.over(machine.run(1, [2001, *range(50)]))
    machine.over(machine.run(1, [2002, *range(40)]))
    states = machine.residency.contexts(1, "core")
    assert [state.computed for state in states] == [41, 51]
    assert machine.residency.stats(1).computed == 92


def test_a_fork_begins_anew_with_what_it_has_of_its_parent(tmp_path):
    machine = Machine(tmp_path, slots=2, ram=4)
    ann = [2001, *range(50)]
    machine.over(machine.run(1, ann))
    machine.over(machine.run(2, [*ann, *range(9)]))
    assert life_of(machine, 1) == (51, 0, 0, 0, 0)
    assert life_of(machine, 2) == (9, 51, 0, 0, 0)


def test_what_bringing_back_took_is_told_of_the_context_and_learned(tmp_path):
    machine = Machine(tmp_path, slots=1, ram=2)
    machine.over(machine.run(1, [2001, *range(50)]))
    machine.over(machine.run(2, [2002, *range(50)]))
    back = machine.run(1, [2001, *range(50), 1])
    before = machine.residency.worth.rates.ram.seconds(10**6)
    for _ in range(3):
        machine.residency.took(back.id, Read(False, 2**20, 0.5))
    machine.over(back)
    (state,) = machine.residency.contexts(1, "core")
    assert state.restore_s == 1.5
    assert machine.residency.worth.rates.ram.seconds(10**6) > before
    machine.residency.took(12345, Read(True, 2**20, 0.5))  # one that is gone: learned all the same
    assert [s.restore_s for pid in (1, 2) for s in machine.residency.contexts(pid, "core")] == [1.5, 0.0]


def test_what_takes_longest_to_get_back_stays_in_its_slot(tmp_path):
    """Without room in RAM what leaves a slot is computed again: the longer of two that are wanted together."""
    machine = Machine(tmp_path, slots=2, ram=0, swap=False)
    machine.over(machine.run(1, [2001, *range(200)]))
    machine.over(machine.run(2, [2002, *range(20)]))
    for pid in (1, 2):
        machine.residency.declare(pid, 100.0)
    machine.over(machine.run(3, [2003, *range(50)]))
    assert [machine.residency.place_of(pid)[0] for pid in (1, 2)] == ["resident", "dropped"]


@pytest.mark.parametrize("ram", [0, 1, 4])
@pytest.mark.parametrize(("ann_s", "bob_s", "leaves"), [(50.0, 10_000.0, 2), (10_000.0, 50.0, 1)])
def test_of_two_as_long_that_which_is_wanted_later_leaves_its_slot(tmp_path, ram, ann_s, bob_s, leaves):
    machine = Machine(tmp_path, slots=2, ram=ram, swap=False)
    for pid in (1, 2):
        machine.over(machine.run(pid, [2000 + pid, *range(50)]))
    machine.residency.declare(1, ann_s)
    machine.residency.declare(2, bob_s)
    machine.over(machine.run(3, [2003, *range(50)]))
    places = {pid: machine.residency.place_of(pid)[0] for pid in (1, 2)}
    assert places == {3 - leaves: "resident", leaves: "parked" if ram else "dropped"}
