"""The residency's plans against a model of the hardware: slots and extents that hold real token lists."""

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from aios.context.residency import Residency
from aios.cores.core import ContextSpec, Copy, Load, Save, Sequence, Truncate
from aios.events import EventBus
from aios.syscalls import Generate

SLOTS = 3
PER_TOKEN = 64
SYSTEM = list(range(1000, 1040))


def shared(a: list[int], b: list[int]) -> int:
    return next((i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))


class Hardware:
    """What a worker does with a seat's operations."""

    def __init__(self) -> None:
        self.slots: list[list[int]] = [[] for _ in range(SLOTS)]
        self.memory: dict[int, list[int]] = {}  # extent serial -> tokens

    def apply(self, op) -> None:
        match op:
            case Save(slot, extent):
                self.memory[extent.serial] = list(self.slots[slot])
            case Load(slot, extent, tokens):
                self.slots[slot] = self.memory[extent.serial][:tokens]
            case Copy(slot, source, tokens):
                assert slot != source
                self.slots[slot] = self.slots[source][:tokens]
            case Truncate(slot, tokens):
                del self.slots[slot][tokens:]


class ResidencyMachine(RuleBasedStateMachine):
    """Agents of two groups come, run, are interrupted, grow their conversations and go."""

    @initialize(ram=st.integers(0, 40), align=st.sampled_from([1, 1, 16]))
    def begin(self, ram, align):
        spec = ContextSpec(bytes_base=64, bytes_per_token=PER_TOKEN, ram_bytes=ram * 1024, align=align)
        self.residency = Residency("core", spec, SLOTS, EventBus())
        self.align = align
        self.hardware = Hardware()
        self.running: dict[int, tuple[Sequence, int]] = {}
        self.interrupted: list[Sequence] = []
        self.history: dict[int, list[int]] = {}
        self.ids = iter(range(1, 10**6))

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
            else:
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
        self.start(Sequence(next(self.ids), Generate(), pid, group, tokens=tokens))

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

    @invariant()
    def budget_is_kept(self):
        if hasattr(self, "residency"):
            assert self.residency.parked_bytes <= self.residency._extents.size


TestResidency = ResidencyMachine.TestCase
TestResidency.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
