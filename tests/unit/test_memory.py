"""What an agent can do with its memory, and what others can't."""

import asyncio

import msgspec
import pytest
from tests.embedders import WordSums

from aios.errors import BadRequest, Conflict, Forbidden, LimitExceeded, NotFound, StorageUnavailable
from aios.memory.manager import MemoryManager
from aios.memory.records import Identity, MemoryLimits
from aios.syscalls import Message
from aios.syscalls.memory import AddNote, Alloc, Search, Share, Update, Write
from aios.syscalls.memory_records import Filter

pytestmark = pytest.mark.anyio

ANN, BOB, EVE = Identity(agent="ann", group="red"), Identity(agent="bob", group="blue"), Identity(agent="eve")


class Clock:
    def __init__(self):
        self.now = 1_000_000.0

    def __call__(self):
        self.now += 0.001
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
async def memory(tmp_path, clock):
    async with MemoryManager(tmp_path, clock=clock) as manager:
        yield manager


async def test_an_entry_is_written_read_changed_and_deleted(memory):
    made = await memory.alloc(ANN, Alloc(kind="data", name="blob", tags=("raw",), data=b"\x00\xff"))
    assert (await memory.read(ANN, made.id)).data == b"\x00\xff"
    written = await memory.write(ANN, Write(id=made.id, data=b"new", expect=1))
    assert (written.version, written.size, written.tags) == (2, 3, ("raw",))
    changed = await memory.update(ANN, Update(id=made.id, name="log", append=b"er"))
    assert (changed.name, changed.version) == ("log", 3)
    assert (await memory.read(ANN, made.id)).data == b"newer"
    await memory.delete(ANN, made.id)
    with pytest.raises(NotFound):
        await memory.read(ANN, made.id)


async def test_two_writers_that_read_the_same_version_do_not_overwrite_each_other(memory):
    made = await memory.alloc(ANN, Alloc(data=b"one"))
    await memory.write(ANN, Write(id=made.id, data=b"two", expect=1))
    with pytest.raises(Conflict, match="version 2, not 1"):
        await memory.write(ANN, Write(id=made.id, data=b"three", expect=1))
    assert (await memory.read(ANN, made.id)).data == b"two"


async def test_what_is_anothers_looks_exactly_like_what_is_not_there(memory):
    made = await memory.alloc(ANN, Alloc(data=b"secret"))
    block = await memory.blocks.create(ANN, "diary", "secret")
    talk = await memory.conversations.record(ANN, [Message(role="user", content="secret")])
    absent = "t_0123456789abcdef"

    async def said(action, id):
        with pytest.raises(NotFound) as raised:
            await action(id)
        return type(raised.value), str(raised.value).replace(id, "ID")

    actions = [
        lambda id: memory.read(EVE, id),
        lambda id: memory.stat(EVE, id),
        lambda id: memory.write(EVE, Write(id=id, data=b"x")),
        lambda id: memory.update(EVE, Update(id=id, tags=("x",))),
        lambda id: memory.delete(EVE, id),
        lambda id: memory.pin(EVE, id),
        lambda id: memory.unpin(EVE, id),
        lambda id: memory.share(EVE, Share(id=id, name="eve")),
        lambda id: memory.unshare(EVE, id, "ann"),
        lambda id: memory.history(EVE, id),
        lambda id: memory.notes.get(EVE, id),
        lambda id: memory.notes.revise(EVE, id, content="x"),
        lambda id: memory.blocks.get(EVE, id),
        lambda id: memory.blocks.append(EVE, id, "x"),
        lambda id: memory.conversations.messages(EVE, id),
        lambda id: memory.conversations.record(EVE, [], id=id),
    ]
    for action in actions:
        for foreign in (made.id, block.id, talk.id):
            assert await said(action, foreign) == await said(action, absent)
    assert (await memory.list(EVE)).entries == ()
    assert (await memory.search(EVE, Search(query="secret"))).hits == ()
    assert (await memory.clear(EVE)).ids == ()
    assert (await memory.conversations.prefix(EVE, [Message(role="user", content="secret")])).length == 0


async def test_a_grant_to_read_lets_read_and_no_more(memory):
    made = await memory.alloc(ANN, Alloc(data=b"shared words"))
    await memory.share(ANN, Share(id=made.id, name="bob"))
    assert (await memory.read(BOB, made.id)).info.access == "read"
    assert [hit.id for hit in (await memory.search(BOB, Search(query="words"))).hits] == [made.id]
    with pytest.raises(Forbidden, match="shared with you to read"):
        await memory.write(BOB, Write(id=made.id, data=b"x"))
    with pytest.raises(Forbidden):
        await memory.delete(BOB, made.id)
    assert (await memory.stat(BOB, made.id)).grants == ()  # to whom else it is shared is not for guests
    await memory.unshare(ANN, made.id, "bob")
    with pytest.raises(NotFound):
        await memory.read(BOB, made.id)


async def test_a_grant_to_write_lets_a_group_write_until_it_expires(memory, clock):
    made = await memory.alloc(ANN, Alloc(data=b"draft"))
    await memory.share(ANN, Share(id=made.id, name="blue", whom="group", write=True, expires_s=60))
    await memory.write(BOB, Write(id=made.id, data=b"better"))
    assert (await memory.read(ANN, made.id)).data == b"better"
    assert (await memory.list(BOB)).entries[0].access == "write"
    with pytest.raises(Forbidden):
        await memory.share(BOB, Share(id=made.id, name="eve"))
    clock.now += 59
    await memory.read(BOB, made.id)
    clock.now += 1
    with pytest.raises(NotFound):
        await memory.read(BOB, made.id)
    assert (await memory.search(BOB, Search(query="better"))).hits == ()


async def test_a_listing_comes_in_pages_and_can_be_filtered(memory, clock):
    for i in range(7):
        clock.now += 1
        await memory.alloc(ANN, Alloc(name=str(i), tags=("even",) if i % 2 == 0 else ()))
    names, after = [], ""
    while True:
        page = await memory.list(ANN, limit=3, after=after)
        names.append([entry.name for entry in page.entries])
        after = page.next
        if not after:
            break
    assert names == [["0", "1", "2"], ["3", "4", "5"], ["6"]]
    even = await memory.list(ANN, Filter(tags=("even",), changed_from=clock.now - 3))
    assert [entry.name for entry in even.entries] == ["4", "6"]
    with pytest.raises(BadRequest):
        await memory.list(ANN, after="nonsense:x")


async def test_clear_takes_what_the_filter_lets_through_and_nothing_of_others(memory):
    await memory.alloc(ANN, Alloc(data=b"a", tags=("old",)))
    kept = await memory.alloc(ANN, Alloc(data=b"b"))
    other = await memory.alloc(BOB, Alloc(data=b"c", tags=("old",)))
    await memory.share(BOB, Share(id=other.id, name="ann", write=True))
    assert len((await memory.clear(ANN, Filter(tags=("old",)))).ids) == 1
    assert [entry.id for entry in (await memory.list(ANN)).entries] == [kept.id, other.id]


async def test_quotas_hold_and_what_is_deleted_makes_room(tmp_path):
    limits = MemoryLimits(agent_entries=3, agent_bytes=100, entry_bytes=60)
    async with MemoryManager(tmp_path, limits) as memory:
        first = await memory.alloc(ANN, Alloc(data=bytes(50), kind="data"))
        with pytest.raises(LimitExceeded, match="61 bytes"):
            await memory.alloc(ANN, Alloc(data=bytes(61), kind="data"))
        with pytest.raises(LimitExceeded, match="keep 50 bytes"):
            await memory.alloc(ANN, Alloc(data=bytes(51), kind="data"))
        with pytest.raises(LimitExceeded):
            await memory.conversations.record(ANN, [Message(role="user", content="x" * 60)])
        await memory.alloc(BOB, Alloc(data=bytes(60), kind="data"))  # a quota is each agent's own
        await memory.alloc(ANN, Alloc())
        await memory.alloc(ANN, Alloc())
        with pytest.raises(LimitExceeded, match="3 memories"):
            await memory.alloc(ANN, Alloc())
        await memory.delete(ANN, first.id)
        usage = await memory.usage(ANN)
        assert (usage.entries, usage.bytes) == (2, 0)


async def test_an_export_comes_back_as_the_same_memory(memory):
    blue = await memory.notes.add(ANN, AddNote(content="The sky is blue", tags=("sky",)))
    red = await memory.notes.add(ANN, AddNote(content="Mars is red", importance=0.5))
    await memory.notes.link(ANN, red.id, blue.id, 0.7)
    await memory.blocks.create(ANN, "persona", "terse", about="how to speak", limit=50)
    await memory.alloc(ANN, Alloc(kind="data", data=b"\x00\x01", pinned=True))
    messages = (Message(role="user", content="hi\u2028there"), Message(role="assistant", content="ho"))
    await memory.conversations.record(ANN, messages, tokens=[7, 8, 9], name="talk")
    data = (await memory.export(ANN)).data
    ids = (await memory.import_(BOB, data)).ids
    copies = {entry.id: entry for entry in (await memory.list(BOB)).entries}
    assert set(ids) == set(copies)
    sky, mars, persona, blob, talk = ids
    assert (await memory.notes.get(BOB, sky)).tags == ("sky",)
    copy = await memory.notes.get(BOB, mars)
    assert (copy.content, copy.importance, [link.id for link in copy.links]) == ("Mars is red", 0.5, [sky])
    assert (await memory.blocks.get(BOB, "persona")).limit == 50
    assert copies[blob].pinned
    assert copies[persona].pinned
    assert await memory.conversations.messages(BOB, talk) == messages
    assert await memory.conversations.tokens(BOB, talk) == [7, 8, 9]
    assert (await memory.search(BOB, Search(query="sky"))).hits[0].id == sky


async def test_a_bad_import_leaves_nothing(memory):
    await memory.alloc(ANN, Alloc(data=b"good"))
    await memory.blocks.create(ANN, "twice", "")
    data = (await memory.export(ANN)).data
    await memory.blocks.create(BOB, "twice", "mine")
    with pytest.raises(Conflict):
        await memory.import_(BOB, data)
    for nonsense in (
        b"",
        b"{}",
        b'{"aios_memory":9}\n',
        data + b"{",
        data.replace(b'"kind":"text"', b'"kind":"x"'),
    ):
        with pytest.raises(BadRequest):
            await memory.import_(BOB, nonsense)
    assert [entry.name for entry in (await memory.list(BOB)).entries] == ["twice"]


async def test_text_that_is_no_text_is_refused(memory):
    with pytest.raises(BadRequest, match="UTF-8"):
        await memory.alloc(ANN, Alloc(data=b"\xff"))
    made = await memory.alloc(ANN, Alloc(data=b"fine"))
    with pytest.raises(BadRequest, match="UTF-8"):
        await memory.update(ANN, Update(id=made.id, append=b"\xff"))
    assert (await memory.read(ANN, made.id)).data == b"fine"


async def test_without_an_embedder_recall_goes_by_words_and_says_so(memory):
    made = await memory.alloc(ANN, Alloc(data=b"Running shoes"))
    hits = await memory.search(ANN, Search(query="who runs?"))
    assert hits.how == "words"
    assert [(hit.id, hit.by_words, hit.by_meaning) for hit in hits.hits] == [(made.id, 1, 0)]
    assert (await memory.search(ANN, Search(query='"OR* ('))).hits == ()  # no syntax of the index gets through


async def test_with_an_embedder_recall_finds_other_words_for_the_same(tmp_path):
    async with MemoryManager(tmp_path, embedder=WordSums({"car", "automobile"})) as memory:
        car = await memory.alloc(ANN, Alloc(data=b"red automobile"))
        tea = await memory.alloc(ANN, Alloc(data=b"green tea"))
        found = await memory.search(ANN, Search(query="car", limit=1))
        assert found.how == "words and meaning"
        assert [(hit.id, hit.by_words, hit.by_meaning) for hit in found.hits] == [(car.id, 0, 1)]
        await memory.write(ANN, Write(id=car.id, data=b"white sugar"))
        await memory.write(ANN, Write(id=tea.id, data=b"old automobile"))
        assert (await memory.search(ANN, Search(query="car", limit=1))).hits[0].id == tea.id
        await memory.delete(ANN, tea.id)
        assert tea.id not in {hit.id for hit in (await memory.search(ANN, Search(query="car"))).hits}


async def test_what_others_write_does_not_change_what_is_found(tmp_path, clock):
    async def found(folder, *, crowd):
        async with MemoryManager(folder, clock=clock, embedder=WordSums()) as memory:
            for i in range(crowd):
                await memory.alloc(EVE, Alloc(data=f"tea tea tea {i}".encode()))
            for text in ("green tea", "black tea and milk", "milk", "coffee"):
                await memory.alloc(ANN, Alloc(data=text.encode()))
            shared = await memory.alloc(BOB, Alloc(data=b"mint tea"))
            await memory.alloc(BOB, Alloc(data=b"tea of my own"))
            await memory.share(BOB, Share(id=shared.id, name="red", whom="group"))
            hits = (await memory.search(ANN, Search(query="tea with milk"))).hits
            return [(hit.text, hit.score, hit.by_words, hit.by_meaning) for hit in hits]

    alone = await found(tmp_path / "alone", crowd=0)
    assert alone == await found(tmp_path / "crowd", crowd=40)
    assert {text for text, *_ in alone} >= {"green tea", "black tea and milk", "milk", "mint tea"}
    assert "tea of my own" not in {text for text, *_ in alone}


async def test_search_filters_by_kind_tag_and_time(memory, clock):
    old = await memory.alloc(ANN, Alloc(data=b"tea", tags=("drink", "hot")))
    clock.now += 100
    note = await memory.notes.add(ANN, AddNote(content="tea", tags=("drink",)))

    async def ids(**filter):
        hits = (await memory.search(ANN, Search(query="tea", filter=Filter(**filter)))).hits
        return {hit.id for hit in hits}

    assert await ids() == {old.id, note.id}
    assert await ids(kinds=("note",)) == {note.id}
    assert await ids(tags=("drink", "hot")) == {old.id}
    assert await ids(changed_from=clock.now - 50) == {note.id}
    assert await ids(changed_before=clock.now - 50) == {old.id}
    assert await ids(tags=("nope",)) == set()


async def test_messages_are_plain_data(memory):
    made = await memory.alloc(ANN, Alloc(data=b"x"))
    for record in (made, await memory.list(ANN), await memory.search(ANN, Search(query="x"))):
        assert msgspec.json.decode(msgspec.json.encode(record), type=type(record)) == record


@pytest.mark.parametrize("steps", range(0, 14, 2))
async def test_a_caller_that_goes_away_leaves_nothing_half_done(tmp_path, steps):
    async with MemoryManager(tmp_path, embedder=WordSums({"car", "automobile"})) as memory:
        made = await memory.alloc(ANN, Alloc(data=b"green tea"))
        talk = await memory.conversations.record(ANN, [Message(role="user", content="a")])
        longer = [Message(role="user", content="a"), Message(role="assistant", content="b")]
        writing = asyncio.create_task(memory.write(ANN, Write(id=made.id, data=b"old automobile")))
        recording = asyncio.create_task(memory.conversations.record(ANN, longer, id=talk.id))
        for _ in range(steps):
            await asyncio.sleep(0.0005)
        writing.cancel()
        recording.cancel()
        await asyncio.gather(writing, recording, return_exceptions=True)
        content = await memory.read(ANN, made.id)
        assert content.data == (b"green tea" if content.info.version == 1 else b"old automobile")
        by_meaning = (await memory.search(ANN, Search(query="car", by="meaning", limit=1))).hits
        assert [hit.id for hit in by_meaning if hit.score] == ([] if content.info.version == 1 else [made.id])
        said = await memory.conversations.messages(ANN, talk.id)
        assert said == tuple(longer)[: (await memory.stat(ANN, talk.id)).version]
        await memory.conversations.record(ANN, [*longer, Message(role="user", content="c")], id=talk.id)
    async with MemoryManager(tmp_path) as memory:
        assert len(await memory.conversations.messages(ANN, talk.id)) == 3


async def test_a_full_disk_refuses_writes_and_heals(memory):
    kept = await memory.alloc(ANN, Alloc(data=b"kept"))
    pages = await memory._database.read(lambda db: db.execute("PRAGMA page_count").fetchone()[0])
    await memory._database.write(lambda db: db.execute(f"PRAGMA max_page_count = {pages + 2}").fetchone())
    with pytest.raises(StorageUnavailable, match="full"):
        await memory.alloc(ANN, Alloc(kind="data", data=bytes(100_000)))
    assert (await memory.read(ANN, kept.id)).data == b"kept"
    assert (await memory.usage(ANN)).entries == 1
    await memory._database.write(lambda db: db.execute(f"PRAGMA max_page_count = {pages + 1000}").fetchone())
    assert (await memory.alloc(ANN, Alloc(kind="data", data=bytes(100_000)))).size == 100_000


async def test_a_closed_memory_says_so(tmp_path):
    async with MemoryManager(tmp_path) as memory:
        pass
    for work in (memory.list(ANN), memory.alloc(ANN, Alloc())):
        with pytest.raises(StorageUnavailable, match="closed"):
            await work
