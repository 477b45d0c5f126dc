"""Search: by words, by meaning, by what is known of files, by all at once; and what an owner must not find."""

from __future__ import annotations

import asyncio
import io
import re
import sqlite3
import tempfile
from collections.abc import Sequence
from contextlib import closing
from importlib.resources import files
from pathlib import Path

import hypothesis
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests import stores

from aios.errors import BadRequest, CoreUnavailable, LimitExceeded, NotFound
from aios.storage import groups
from aios.storage.extract import extract, passages
from aios.storage.manager import StorageManager
from aios.storage.search import fuse
from aios.syscalls.storage_records import Filter

pytestmark = pytest.mark.anyio

TOPICS = (
    {"cat", "kitten", "feline", "purr", "pet"},
    {"stock", "share", "market", "bond", "price"},
    {"soup", "bread", "recipe", "oven", "cook"},
)


class Topics:
    """Embeds a text as how much of each topic is in it: words of one topic mean the same."""

    def __init__(self) -> None:
        self.broken = False
        self.calls = 0

    async def embed(self, texts: Sequence[str]) -> np.ndarray:
        self.calls += 1
        if self.broken:
            raise CoreUnavailable("The embedder is down.")
        words = [re.findall("[a-z]+", text.lower()) for text in texts]
        rows = [[sum(word in topic for word in found) for topic in TOPICS] + [0.01] for found in words]
        return np.array(rows, np.float32)


@pytest.fixture
async def topics(tmp_path, clock):
    embedder = Topics()
    async with StorageManager(tmp_path / "storage", embedder=embedder, clock=clock) as manager:
        yield manager, embedder


async def paths(storage: StorageManager, query: str = "", owner: str = "ann", **how) -> list[str]:
    await storage.search.settled()
    where = Filter(**{name: how.pop(name) for name in list(how) if name in Filter.__struct_fields__})
    return [hit.stat.path for hit in (await storage.search.find(owner, query, where, **how)).hits]


async def test_files_are_found_by_words_in_their_text_and_name(storage):
    await storage.files.write("ann", "/a.md", b"The quick brown fox jumps.")
    await storage.files.write("ann", "/fox-report.txt", b"Nothing here but the name.")
    await storage.files.write("ann", "/c.txt", "Füchse und Hasen".encode())
    assert await paths(storage, "fox") == ["/fox-report.txt", "/a.md"]
    assert await paths(storage, "jumping foxes") == ["/a.md", "/fox-report.txt"]  # stems
    assert await paths(storage, "fuchse") == ["/c.txt"]
    assert await paths(storage, "elephant") == []
    assert await paths(storage, '"fox" OR (NEAR * AND owner:') == ["/fox-report.txt", "/a.md"]
    assert await paths(storage, "?!") == []
    found = await storage.search.find("ann", "fox")
    assert found.by == ("words",)
    assert "no embedder" in found.note
    assert found.hits[1].passage == "The quick brown fox jumps."
    assert found.hits[0].ranks == {"words": 1}


async def test_the_index_follows_every_change(storage):
    await storage.files.write("ann", "/d/a", b"apple")
    assert await paths(storage, "apple") == ["/d/a"]
    await storage.files.write("ann", "/d/a", b"banana")
    assert await paths(storage, "apple") == []
    assert await paths(storage, "banana") == ["/d/a"]
    await storage.versions.rollback("ann", "/d/a", steps=1)
    assert await paths(storage, "apple") == ["/d/a"]
    await storage.files.move("ann", "/d", "/e")
    assert await paths(storage, "apple") == ["/e/a"]
    await storage.files.move("ann", "/e/a", "/e/cherry")
    assert await paths(storage, "cherry") == ["/e/cherry"]
    await storage.files.copy("ann", "/e", "/f")
    assert sorted(await paths(storage, "apple")) == ["/e/cherry", "/f/cherry"]
    gone = await storage.files.delete("ann", "/e", recursive=True)
    assert (await storage.search.find("ann", "apple")).hits[
        0
    ].stat.path == "/f/cherry"  # before it is indexed too
    assert await paths(storage, "apple") == ["/f/cherry"]
    await storage.bin.restore("ann", gone.id, to="/back")
    assert sorted(await paths(storage, "apple")) == ["/back/cherry", "/f/cherry"]
    await storage.files.delete("ann", "/back", recursive=True)
    await storage.bin.purge("ann")
    await storage.search.settled()
    rows = await storage._index.read(lambda db: db.execute("SELECT count(*) FROM documents").fetchone())
    assert rows == (1,)


async def test_what_is_not_indexed_yet_is_counted_and_run_indexes_it(storage):
    await storage.files.write("ann", "/a", b"apple")
    found = await storage.search.find("ann", "apple")
    assert (found.hits, found.pending) == ((), 1)
    async with asyncio.timeout(5), asyncio.TaskGroup() as tasks:
        running = tasks.create_task(storage.run())
        while not (await storage.search.find("ann", "apple")).hits:
            await asyncio.sleep(0.005)
        await storage.files.write("ann", "/b", b"apple")
        while len((await storage.search.find("ann", "apple")).hits) < 2:
            await asyncio.sleep(0.005)
        running.cancel()


async def test_nobody_finds_what_is_anothers_unless_it_is_mounted(storage):
    await storage.files.write("bob", "/secret", b"apple pie")
    await storage.files.write("team", "/plan", b"apple cake")
    await storage.files.write("ann", "/mine", b"apple tart")
    assert await paths(storage, "apple") == ["/mine"]
    assert await paths(storage, "apple owner ownedby2") == ["/mine"]
    await storage.mounts.mount("ann", "/shared/team", "team")
    assert sorted(await paths(storage, "apple")) == ["/mine", "/shared/team/plan"]
    assert await paths(storage, "apple", under="/shared") == ["/shared/team/plan"]
    assert await paths(storage, "apple", under="/shared/team") == ["/shared/team/plan"]
    assert await paths(storage, "", under="/shared") == ["/shared/team/plan"]
    await storage.mounts.unmount("ann", "/shared/team")
    assert await paths(storage, "apple") == ["/mine"]


OTHERS = ("apple", "banana", "apple banana", "cherry cherry cherry", "a long text of other words " * 9)


@given(others=st.lists(st.sampled_from(OTHERS), max_size=12), shared=st.booleans())
@hypothesis.settings(max_examples=15)
async def test_what_others_write_changes_no_order(others: list[str], shared: bool) -> None:
    with tempfile.TemporaryDirectory() as folder:
        async with StorageManager(Path(folder)) as storage:
            for name, text in (("a", "apple"), ("b", "banana"), ("c", "apple cherry"), ("d", "other other")):
                await storage.files.write("ann", f"/{name}", text.encode())
            if shared:
                await storage.files.write("lab", "/e", b"banana apple")
                await storage.mounts.mount("ann", "/lab", "lab")
            before = await ranked(storage)
            for number, text in enumerate(others):
                await storage.files.write(f"bob{number % 3}", f"/apple-{number}", text.encode())
            assert await ranked(storage) == before
            await storage.files.write("ann", "/f", b"banana banana")
            assert await ranked(storage) != before


async def ranked(storage: StorageManager) -> list[list[str]]:
    """Orders that hang on how common words are."""
    asked = ("apple banana", "banana cherry", "cherry apple other", "apple", "other banana")
    return [await paths(storage, query) for query in asked]


async def test_an_index_of_the_first_version_is_made_again(tmp_path: Path) -> None:
    async with StorageManager(tmp_path) as storage:
        await storage.files.write("ann", "/a", b"apple")
        await storage.search.settled()
    (tmp_path / "index.db").unlink()
    text = files("aios.storage").joinpath("index.sql").read_text()
    with closing(sqlite3.connect(tmp_path / "index.db")) as db:
        db.executescript(text.split("-- name: ")[1].partition("\n")[2] + "PRAGMA user_version = 1;")
        db.execute("INSERT INTO documents VALUES (1, 1, 1, 'a', '')")
        db.execute("INSERT INTO passages VALUES (1, 1, 1, 'ownedby1', 'a', 'an older apple', NULL)")
        db.commit()
    async with StorageManager(tmp_path) as storage:
        assert await paths(storage, "apple") == ["/a"]
        assert await paths(storage, "older") == []


async def test_filters_say_which_files_are_looked_at(storage, clock):
    for number, (path, tags) in enumerate(
        [("/a/x.md", ("red",)), ("/a/y.txt", ("red", "big")), ("/b/x.md", ("big",)), ("/b/c/z.md", ())]
    ):
        clock.now = 1_000_000.0 + number
        await storage.files.write("ann", path, b"apple")
        await storage.files.describe("ann", path, tags=tags, about={"n": str(number)})
    assert await paths(storage) == ["/b/c/z.md", "/b/x.md", "/a/y.txt", "/a/x.md"]  # newest first
    assert sorted(await paths(storage, "apple", tags=("red",))) == ["/a/x.md", "/a/y.txt"]
    assert await paths(storage, "apple", tags=("red", "big")) == ["/a/y.txt"]
    assert await paths(storage, about={"n": "2"}) == ["/b/x.md"]
    assert await paths(storage, about={"n": "9"}) == []
    assert await paths(storage, under="/b") == ["/b/c/z.md", "/b/x.md"]
    assert await paths(storage, "apple", name="x.*", under="/a") == ["/a/x.md"]
    assert await paths(storage, name="[!x].md") == ["/b/c/z.md"]
    assert await paths(storage, after=1_000_002.0) == ["/b/c/z.md", "/b/x.md"]
    assert await paths(storage, before=1_000_001.0) == ["/a/x.md"]
    assert (await storage.search.find("ann", "", Filter(tags=("red",)))).by == ("metadata",)
    with pytest.raises(NotFound):
        await storage.search.find("ann", "apple", Filter(under="/nowhere"))
    with pytest.raises(BadRequest):
        await storage.search.find("ann", "apple", limit=0)


async def test_files_are_found_by_meaning_and_the_ways_are_fused(topics):
    storage, _ = topics
    await storage.files.write("ann", "/pets.md", b"The kitten is a feline.")
    await storage.files.write("ann", "/money.md", b"A bond has a price.")
    await storage.files.write("ann", "/cat.csv", b"name,stock\nCat Inc,12\n")
    await storage.search.settled()
    found = await storage.search.find("ann", "cat")
    assert found.by == ("words", "meaning")
    assert not found.note
    ranks = {hit.stat.path: hit.ranks for hit in found.hits}
    assert ranks["/cat.csv"]["words"] == 1
    assert ranks["/pets.md"] == {"meaning": 1}  # no word of it
    assert found.hits[0].stat.path == "/cat.csv"
    assert [hit.stat.path for hit in (await storage.search.find("ann", "purr", limit=1)).hits] == ["/pets.md"]
    assert await paths(storage, "purr", meaning=False) == []
    assert await paths(storage, "purr", name="m*") == ["/money.md"]  # the nearest of those
    await storage.files.write("ann", "/pets.md", b"Bread recipe.")
    assert (await paths(storage, "oven", limit=1)) == ["/pets.md"]


async def test_without_its_embedder_a_search_goes_by_words_and_says_so(topics):
    storage, embedder = topics
    embedder.broken = True
    await storage.files.write("ann", "/a", b"a kitten")
    assert await paths(storage, "kitten") == ["/a"]
    assert "embedder is down" in (await storage.search.find("ann", "kitten")).note
    embedder.broken = False
    await storage.search.reindex()
    assert await paths(storage, "purr") == ["/a"]


async def test_a_lost_index_is_made_again_and_an_embedder_that_comes_later_is_caught_up_with(tmp_path):
    async with StorageManager(tmp_path) as storage:
        await storage.files.write("ann", "/a", b"a kitten")
        assert await paths(storage, "kitten") == ["/a"]
    async with StorageManager(tmp_path, embedder=Topics()) as storage:
        assert await paths(storage, "purr") == ["/a"]
    for path in tmp_path.glob("index.db*"):
        path.unlink()
    embedder = Topics()
    async with StorageManager(tmp_path, embedder=embedder) as storage:
        assert await paths(storage, "purr") == ["/a"]
    (tmp_path / "index.db").write_bytes(b"no database at all" * 1_000)
    async with StorageManager(tmp_path, embedder=embedder) as storage:
        assert await paths(storage, "purr") == ["/a"]
    calls = embedder.calls
    async with StorageManager(tmp_path, embedder=embedder) as storage:
        assert await paths(storage, "purr") == ["/a"]
    assert embedder.calls == calls + 1  # the query; nothing was indexed again


async def test_a_file_that_cant_be_read_holds_up_no_other(tmp_path):
    async with StorageManager(tmp_path) as storage:
        await storage.files.write("ann", "/corrupt", b"apple tree")
    stores.tamper(tmp_path, lambda data: data[::-1])
    async with StorageManager(tmp_path) as storage:
        await storage.files.write("ann", "/binary", bytes(range(256)))
        await storage.files.write("ann", "/broken.pdf", b"%PDF-1.7 and then nothing")
        await storage.files.write("ann", "/fine", b"apple")
        assert await paths(storage, "apple") == ["/fine"]
        assert await paths(storage, "corrupt") == ["/corrupt"]  # by its name
        assert await paths(storage, "broken") == ["/broken.pdf"]


async def test_files_are_grouped_by_meaning_and_the_groups_are_labelled(topics):
    storage, _ = topics
    for number in range(4):
        await storage.files.write("ann", f"/in/p{number}", f"feline kitten purr number{number}".encode())
        await storage.files.write("ann", f"/in/m{number}", f"bond market price number{number}".encode())
    await storage.files.write("ann", "/in/empty.bin", b"\x00")
    await storage.files.write("ann", "/elsewhere", b"soup")
    await storage.search.settled()
    made = await storage.grouping.group_by("ann", Filter(under="/in"))
    assert made.by == "meaning"
    assert [set(group.paths) - {"/in/empty.bin"} for group in made.groups[:2]] == [
        {f"/in/m{n}" for n in range(4)}, {f"/in/p{n}" for n in range(4)}
    ]  # fmt: skip
    assert made.groups[0].label == "bond market price"
    assert made.groups[1].label == "feline kitten purr"
    (one,) = (await storage.grouping.group_by("ann", groups=1)).groups
    assert len(one.paths) == 10
    with pytest.raises(BadRequest):
        await storage.grouping.group_by("ann", groups=0)
    assert (await storage.grouping.group_by("bob")).groups == ()


async def test_without_an_embedder_words_group_and_join(storage, monkeypatch):
    for name, text in {
        "a/cats": "kitten purr kitten feline whiskers",
        "a/stocks": "bond market price yield market",
        "b/felines": "the feline kitten has whiskers",
        "b/funds": "market price of a bond fund",
        "b/other": "entirely different subject matter",
    }.items():
        await storage.files.write("ann", f"/{name}", text.encode())
    await storage.search.settled()
    joined = await storage.grouping.join("ann", "/a", "/b", least=0.3)
    assert joined.by == "words"
    assert {(match.left, match.right) for match in joined.matches} == {
        ("/a/cats", "/b/felines"), ("/a/stocks", "/b/funds")
    }  # fmt: skip
    assert joined.matches[0].score >= joined.matches[1].score >= 0.3
    made = await storage.grouping.group_by("ann", groups=3)
    assert {frozenset(group.paths) for group in made.groups} == {
        frozenset({"/a/cats", "/b/felines"}), frozenset({"/a/stocks", "/b/funds"}), frozenset({"/b/other"})
    }  # fmt: skip
    monkeypatch.setattr(groups, "FILES", 2)
    with pytest.raises(LimitExceeded):
        await storage.grouping.group_by("ann")


def test_fusion_sums_reciprocal_ranks():
    fused = dict(fuse({"words": [1, 2], "meaning": [2, 3]}))
    assert fused == pytest.approx({1: 1 / 61, 2: 1 / 62 + 1 / 61, 3: 1 / 62})
    assert [item for item, _ in fuse({"words": [1, 2], "meaning": [2, 3]})] == [2, 1, 3]


def pdf(text: str) -> bytes:
    """A PDF with one page that says `text`."""
    from pypdf import PdfWriter
    from pypdf.generic import DecodedStreamObject, DictionaryObject, NameObject

    writer = PdfWriter()
    page = writer.add_blank_page(200, 200)
    stream = DecodedStreamObject()
    stream.set_data(f"BT /F1 12 Tf 10 100 Td ({text}) Tj ET".encode())
    page[NameObject("/Contents")] = writer._add_object(stream)
    font = DictionaryObject({
        NameObject("/Type"): NameObject("/Font"), NameObject("/Subtype"): NameObject("/Type1"),
        NameObject("/BaseFont"): NameObject("/Helvetica"),
    })  # fmt: skip
    page[NameObject("/Resources")] = DictionaryObject({
        NameObject("/Font"): DictionaryObject({NameObject("/F1"): font})
    })  # fmt: skip
    out = io.BytesIO()
    writer.write(out)
    return out.getvalue()


@pytest.mark.parametrize(
    ("name", "data", "text"),
    [
        ("a.txt", "naïve".encode(), "naïve"),
        ("a.md", b"\xef\xbb\xbf# Title", "# Title"),
        ("a.csv", "a,b".encode("utf-16"), "a,b"),
        ("a.py", b"def f(): ...", "def f(): ..."),
        ("a.json", b'{"key": 1}', '{"key": 1}'),
        ("a.bin", b"\x00\x01\xff", ""),
        ("a.latin1", b"na\xefve", ""),
        (
            "a.html",
            b"<html><head><title>t</title></head><body><h1>A &amp; B</h1><script>var x = '<p>no</p>';</script>"
            b"<p>one   two<br>three<p>unclosed",
            "A & B\none two\nthree\nunclosed",
        ),
    ],
)
def test_text_is_taken_out_of_files(name, data, text):
    assert extract(name, data)[0] == text


def test_text_is_taken_out_of_pdf_and_a_damaged_one_says_so():
    data = pdf("Hello from a page")
    assert extract("a.pdf", data) == ("Hello from a page", "")
    assert extract("renamed", data)[0] == "Hello from a page"
    text, note = extract("a.pdf", data[: len(data) // 3])
    assert text == ""
    assert "can't be read" in note


def test_passages_are_cut_where_text_pauses_and_lose_nothing():
    text = "\n\n".join(f"Paragraph {n}. " + "word " * (n * 7 % 90) for n in range(60)) + "x" * 5_000
    cut = passages(text)
    assert all(0 < len(passage) <= 1_000 for passage in cut)
    assert "".join("".join(cut).split()) == "".join(text.split())
    assert passages("") == passages(" \n ") == []
