"""`aios fs` and `aios memory` against a daemon, as a user has it."""

from __future__ import annotations

import io
import json
import sys
import time
from collections.abc import Callable, Generator
from pathlib import Path

import httpx
import pytest
from tests.integration.test_cli_daemon import CONFIG, Daemon

from aios.cli.main import _run

EXTRACT = '\n[memory]\nthinking = "extract"\nembedder = "none"\n'


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Generator[Daemon]:
    folder = tmp_path_factory.mktemp("daemon")
    (folder / "aios.toml").write_text(CONFIG + EXTRACT)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("XDG_STATE_HOME", str(folder / "state"))
        running = Daemon(folder, configured=True)
        yield running
        running.end()


@pytest.fixture
def aios(daemon: Daemon, capfdbinary: pytest.CaptureFixture[bytes]) -> Callable[..., str]:
    def run(*words: str, status: int = 0) -> str:
        capfdbinary.readouterr()
        assert _run(list(words)) == status
        return capfdbinary.readouterr().out.decode()

    return run


def test_files_are_written_listed_and_taken_back(
    aios: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    aios("fs", "write", "/notes/a.md", "first", "line")
    aios("fs", "append", "/notes/a.md", "second")
    assert aios("fs", "cat", "/notes/a.md") == "first line\nsecond\n"
    assert aios("fs", "ls", "/notes") == "a.md\n"
    versions = json.loads(aios("fs", "--json", "history", "/notes/a.md"))
    assert "+second" in aios("fs", "diff", "/notes/a.md", str(versions[-1]["version"]))
    aios("fs", "rollback", "--yes", "/notes/a.md")
    assert aios("fs", "cat", "/notes/a.md") == "first line\n"
    later = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(time.time() + 60))
    aios("fs", "rollback", "--yes", "/notes/a.md", "--at", later)
    assert aios("fs", "cat", "/notes/a.md") == "first line\n"
    aios("fs", "rollback", "--yes", "/notes/a.md", "--version", str(versions[0]["version"]))
    assert aios("fs", "cat", "/notes/a.md") == "first line\nsecond\n"
    aios("fs", "rollback", "--yes", "/notes/a.md", "--version", str(versions[-1]["version"]))
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"\x00\x01")))
    aios("fs", "write", "/raw")
    assert aios("fs", "cat", "/raw") == "\x00\x01"
    assert aios("fs", "grep", "fir.t") == "/notes/a.md:1: first line\n"
    assert "bin" in aios("fs", "rm", "-ry", "/notes")
    (gone,) = json.loads(aios("fs", "--json", "bin"))
    aios("fs", "restore", str(gone["id"]))
    aios("fs", "cp", "/raw", "/notes")
    assert aios("fs", "ls", "/notes").split() == ["a.md", "raw"]
    aios("fs", "rm", "-y", "/raw")
    assert "1 files" in aios("fs", "purge", "--yes")
    assert json.loads(aios("fs", "--json", "bin")) == []


def test_the_shell_keeps_its_folder_and_survives_mistakes(
    aios: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = iter(
        ["mkdir deep/er", "cd deep", "write x hello", "nonsense", "cat none", "rm", "'", "pwd", "cat x"]
    )

    def typed(_: str) -> str:
        try:
            return next(lines)
        except StopIteration:
            raise EOFError from None

    monkeypatch.setattr("builtins.input", typed)
    assert aios("fs", "--agent", "shell").endswith("/deep\nhello\n\n")


def test_a_link_is_made_for_people_and_taken_back(aios: Callable[..., str]) -> None:
    aios("fs", "write", "/pub.txt", "for all")
    link = aios("fs", "share", "/pub.txt").split()[0]
    assert httpx.get(link).text == "for all\n"
    (share,) = json.loads(aios("fs", "--json", "shares"))
    aios("fs", "unshare", str(share["id"]))
    assert httpx.get(link).status_code == 404


def test_a_folder_is_mounted(aios: Callable[..., str], tmp_path: Path) -> None:
    (tmp_path / "b.txt").write_text("from outside")
    aios("fs", "mount", str(tmp_path), "/out", "--name", "outside")
    for _ in range(100):
        if "b.txt" in aios("fs", "ls", "/out"):
            break
    assert aios("fs", "cat", "/out/b.txt") == "from outside"


def test_memory_is_kept_found_shared_and_deleted(aios: Callable[..., str], tmp_path: Path) -> None:
    id = aios("memory", "note", "The cache is full of tea leaves", "--tag", "kitchen").split()[0]
    aios("memory", "note", "Tea leaves and the cache policy")
    assert id in aios("memory", "search", "tea", "cache")
    assert "kitchen" in aios("memory", "show", id)
    aios("memory", "block", "persona", "I am terse.", "--new")
    assert "I am terse." in aios("memory", "block")
    assert "agent default:bob: read" in aios("memory", "share", id, "bob")
    assert "tea leaves" in aios("memory", "--agent", "bob", "search", "tea")
    assert "linked" not in aios("memory", "graph")
    (user,) = [each["pid"] for each in json.loads(aios("ps", "--json")) if each["name"] == "user"]
    assert "Tea leaves and the cache" in aios("memory", "--agent", "bob", "graph", str(user))
    aios("memory", "graph", str(user), "--png", str(tmp_path / "graph.png"))
    assert (tmp_path / "graph.png").read_bytes().startswith(b"\x89PNG")
    aios("memory", "export", str(tmp_path / "all.jsonl"))
    assert "3 entries" in aios("memory", "--agent", "eve", "import", str(tmp_path / "all.jsonl"))
    aios("memory", "rm", id, "--yes")
    assert id not in aios("memory", "list")
    assert "entries" in aios("memory", "usage")
