"""The manager against a dict: whatever agents do, each sees what it may, byte for byte, within the budgets."""

import asyncio
import tempfile
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from tests.embedders import WordSums

from aios.access.grants import Grants
from aios.errors import Forbidden, NotFound
from aios.memory.manager import MemoryManager
from aios.memory.records import Identity, MemoryLimits
from aios.syscalls.memory import Alloc, Search, Share, Update, Write
from aios.syscalls.memory_records import Filter

AGENTS = [
    Identity(agent="ann", group="red"),
    Identity(agent="bob", group="red"),
    Identity(agent="eve", group="blue"),
]
agents = st.sampled_from(AGENTS)
words = st.lists(st.sampled_from(["tea", "milk", "cat", "rust"]), min_size=1, max_size=12).map(" ".join)
LIMITS = MemoryLimits(ram_bytes=120, ram_agent_bytes=80)


class Known:
    def __init__(self, owner, text, tags):
        self.owner, self.text, self.tags = owner, text, tags
        self.version = 1
        self.grants: dict[tuple[str, str], bool] = {}

    def access(self, who: Identity):
        if who.agent == self.owner:
            return "own"
        given = [
            w
            for (whom, name), w in self.grants.items()
            if (whom, name) in {("agent", who.agent), ("group", who.group)}
        ]
        return None if not given else "write" if any(given) else "read"


class MemoryMachine(RuleBasedStateMachine):
    @initialize()
    def begin(self):
        self.folder = tempfile.TemporaryDirectory()
        self.loop = asyncio.Runner()
        self.model: dict[str, Known] = {}
        self.order: list[str] = []
        self.granted = Grants()  # access control keeps them: they outlive the manager
        self.open()

    def open(self):
        self.memory = MemoryManager(Path(self.folder.name), LIMITS, embedder=WordSums(), grants=self.granted)
        self.loop.run(self.memory.__aenter__())

    def close(self):
        self.loop.run(self.memory.__aexit__(None, None, None))

    def teardown(self):
        if hasattr(self, "memory"):
            self.close()
            self.loop.close()
            self.folder.cleanup()

    def do(self, work, allowed):
        """Run `work`; it must be refused in the way in which `allowed` says it is."""
        if allowed is True:
            return self.loop.run(work)
        with pytest.raises(NotFound if allowed is None else Forbidden):
            self.loop.run(work)
        return None

    def some(self, data):
        return data.draw(st.sampled_from(self.order)) if self.order else None

    @rule(who=agents, text=words, tag=st.sampled_from(["a", "b"]))
    def alloc(self, who, text, tag):
        made = self.loop.run(self.memory.alloc(who, Alloc(data=text.encode(), tags=(tag,))))
        self.model[made.id] = Known(who.agent, text, (tag,))
        self.order.append(made.id)

    @rule(data=st.data(), who=agents, text=words)
    def write(self, data, who, text):
        if id := self.some(data):
            known = self.model[id]
            access = known.access(who)
            allowed = {"own": True, "write": True, "read": False, None: None}[access]
            if self.do(self.memory.write(who, Write(id=id, data=text.encode(), expect=known.version)), allowed):
                known.text, known.version = text, known.version + 1

    @rule(data=st.data(), who=agents, text=words)
    def append(self, data, who, text):
        if id := self.some(data):
            known = self.model[id]
            allowed = {"own": True, "write": True, "read": False, None: None}[known.access(who)]
            if self.do(self.memory.update(who, Update(id=id, append=b" " + text.encode())), allowed):
                known.text, known.version = f"{known.text} {text}", known.version + 1

    @rule(
        data=st.data(),
        who=agents,
        write=st.booleans(),
        to=st.sampled_from([("agent", "bob"), ("group", "blue")]),
    )
    def share(self, data, who, write, to):
        if id := self.some(data):
            allowed = {"own": True, "write": False, "read": False, None: None}[self.model[id].access(who)]
            if self.do(self.memory.share(who, Share(id=id, whom=to[0], name=to[1], write=write)), allowed):
                self.model[id].grants[to] = write

    @rule(data=st.data(), who=agents, to=st.sampled_from([("agent", "bob"), ("group", "blue")]))
    def unshare(self, data, who, to):
        if id := self.some(data):
            allowed = {"own": True, "write": False, "read": False, None: None}[self.model[id].access(who)]
            if self.do(self.memory.unshare(who, id, to[1], to[0]), allowed):
                self.model[id].grants.pop(to, None)

    @rule(data=st.data(), who=agents)
    def delete(self, data, who):
        if id := self.some(data):
            allowed = {"own": True, "write": False, "read": False, None: None}[self.model[id].access(who)]
            self.do(self.memory.delete(who, id), allowed)
            if allowed:
                del self.model[id]
                self.order.remove(id)

    @rule(who=agents)
    def clear(self, who):
        mine = [id for id, known in self.model.items() if known.owner == who.agent and "a" in known.tags]
        assert len(self.loop.run(self.memory.clear(who, Filter(tags=("a",)))).ids) == len(mine)
        for id in mine:
            del self.model[id]
            self.order.remove(id)

    @rule()
    def restart(self):
        self.close()
        self.open()

    @rule(who=agents, query=words, by=st.sampled_from(["words", "meaning", "both"]))
    def search(self, who, query, by):
        hits = self.loop.run(self.memory.search(who, Search(query=query, by=by, limit=100))).hits
        seen = {id: known for id, known in self.model.items() if known.access(who)}
        assert {hit.id for hit in hits} <= set(seen)
        assert all(hit.text == seen[hit.id].text for hit in hits)
        assert [hit.score for hit in hits] == sorted((hit.score for hit in hits), reverse=True)
        if by == "words":
            assert {h.id for h in hits} == {
                i for i, k in seen.items() if set(k.text.split()) & set(query.split())
            }
        if by == "meaning":
            assert {hit.id for hit in hits} >= {id for id, known in seen.items() if known.text == query}

    @rule(who=agents)
    def look(self, who):
        page = self.loop.run(self.memory.list(who, limit=1000))
        seen = {id: known for id, known in self.model.items() if known.access(who)}
        assert [entry.id for entry in page.entries] == [id for id in self.order if id in seen]
        for entry in page.entries:
            content = self.loop.run(self.memory.read(who, entry.id))
            assert content.data.decode() == seen[entry.id].text
            assert (entry.access, entry.version) == (seen[entry.id].access(who), seen[entry.id].version)

    @invariant()
    def budgets_hold(self):
        if hasattr(self, "memory"):
            assert self.memory._store.pages.used <= 0.8 * LIMITS.ram_bytes


TestMemory = MemoryMachine.TestCase
TestMemory.settings = settings(max_examples=40, stateful_step_count=25, deadline=None)
