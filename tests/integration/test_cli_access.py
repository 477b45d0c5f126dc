"""The commands of access control against a kernel in this process."""

from __future__ import annotations

import asyncio
import json
import re
import threading
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest
from tests.kernels import ask, settings

from aios.cli.main import _run
from aios.kernel.kernel import Kernel
from aios.server.daemon import Daemon, announced
from aios.server.serve import listening

RULES = """
[[rules]]
id = "models"
effect = "ask"
actions = ["llm.generate"]
agents = ["ann"]
why = "Ann is new."
"""


class Running:
    """A kernel on a thread of its own, announced in `folder`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._ready = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()))

    async def _serve(self) -> None:
        (self.folder / "rules.toml").write_text(RULES)
        given = settings(self.folder / "state", access={"rules": [str(self.folder / "rules.toml")]})
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        async with Kernel(given) as self.kernel, listening(self.kernel, port=0, admin_token="aios-t") as at:
            with announced(self.folder / "state", Daemon(pid=1, url=at.url, token="aios-t")):
                self._ready.set()
                await self._stop.wait()

    def __enter__(self) -> Running:
        self._thread.start()
        assert self._ready.wait(10)
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(10)

    def asks(self, text: str) -> Any:
        """Ann's call, which is under way."""
        return asyncio.run_coroutine_threadsafe(self._ask(text), self._loop)

    async def _ask(self, text: str) -> Any:
        return await ask(self.kernel, self.kernel.processes.attach("ann"), text)


@pytest.fixture
def running(tmp_path: Path) -> Generator[Running]:
    with Running(tmp_path) as running:
        yield running


def run(running: Running, *words: str) -> int:
    return _run([*words, "--state-dir", str(running.folder / "state")])


def waiting(running: Running, capsys: pytest.CaptureFixture[str]) -> str:
    capsys.readouterr()
    for _ in range(500):
        assert run(running, "approve", "list", "--json") == 0
        if found := json.loads(capsys.readouterr().out):
            return found[0]["id"]
        threading.Event().wait(0.01)
    raise AssertionError("nothing waits")


def test_a_person_sees_what_would_run_and_answers(running: Running, capsys: pytest.CaptureFixture[str]) -> None:
    asked = running.asks("\x1b[2Jhidden")
    id = waiting(running, capsys)
    assert run(running, "approve", "show", id) == 0
    shown = capsys.readouterr().out
    assert "default:ann" in shown
    assert "Ann is new." in shown
    assert "hidden" in shown
    assert "\x1b" not in shown
    assert run(running, "approve", "allow", id, "--reason", "fine") == 0
    assert asked.result(10).choices[0].content == "\x1b[2Jhidden"
    asked = running.asks("again")
    id = waiting(running, capsys)
    assert run(running, "approve", "deny", id, "--reason", "enough") == 0
    with pytest.raises(Exception, match="enough"):
        asked.result(10)
    capsys.readouterr()
    assert run(running, "approve", "list", "--all") == 0
    assert re.findall(r" (used|denied) ", capsys.readouterr().out) == ["used", "denied"]
    assert run(running, "approve", "allow", id) != 0
    assert run(running, "approve", "show", "nothing") == 4


def test_always_can_be_taken_back(running: Running, capsys: pytest.CaptureFixture[str]) -> None:
    asked = running.asks("one")
    assert run(running, "approve", "allow", waiting(running, capsys), "--always") == 0
    asked.result(10)
    running.asks("two").result(10)
    assert run(running, "approve", "always") == 0
    assert "models  default:ann  by admin:operator" in capsys.readouterr().out
    assert run(running, "approve", "always", "models", "default:ann") == 0
    assert capsys.readouterr().out == ""


def test_secrets_agents_and_grants(
    running: Running, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    import io

    monkeypatch.setattr("sys.stdin", io.StringIO("a long secret\n"))
    assert run(running, "secrets", "set", "token", "--agent", "ann", "--group", "research") == 0
    assert run(running, "secrets", "list") == 0
    assert "token  ann, group research" in capsys.readouterr().out
    assert run(running, "secrets", "remove", "token") == 0
    assert run(running, "secrets", "remove", "token") == 4
    assert run(running, "agents", "grant", "default:ann", "memory:*", "default:bob", "--write") == 0
    assert "default:ann  memory:*  write to agent default:bob" in capsys.readouterr().out
    running.kernel.keys.create("ann")
    assert run(running, "agents") == 0
    assert re.search(r"default:ann  groups default  1 keys .*1 grants", capsys.readouterr().out)
    assert run(running, "agents", "revoke", "default:ann", "memory:*", "default:bob") == 0
    assert run(running, "agents", "grants", "--json") == 0
    assert json.loads(capsys.readouterr().out) == {"grants": []}


def test_the_log_is_shown_verified_and_exported(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "log.jsonl"
    with Running(tmp_path) as running:
        asked = running.asks("one")
        assert run(running, "approve", "deny", waiting(running, capsys)) == 0
        with pytest.raises(Exception, match="denied"):
            asked.result(10)
        assert run(running, "audit", "verify") == 0
        assert "intact: " in capsys.readouterr().out
        assert run(running, "audit", "show", "--denied") == 0
        assert "deny  default:ann llm.generate model:" in capsys.readouterr().out
        assert run(running, "audit", "export", str(file)) == 0
        key = capsys.readouterr().out.split()[-1]
    checkpoints = tmp_path / "state" / "audit.checkpoints"
    assert run(running, "audit", "verify") == 0  # from its files: no kernel runs
    words = ("audit", "verify", "--file", str(file), "--public-key", key, "--checkpoints", str(checkpoints))
    lines = file.read_text().splitlines()
    assert run(running, *words) == (0 if len(lines) == _signed(checkpoints) else 1)
    file.write_text("\n".join(lines).replace("ann", "eve"))
    assert run(running, *words) == 1
    assert "NOT intact" in capsys.readouterr().out


def test_old_rows_go_to_a_sealed_file_and_all_is_still_proved(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with Running(tmp_path) as running:
        asked = running.asks("one")
        assert run(running, "approve", "deny", waiting(running, capsys)) == 0
        with pytest.raises(Exception, match="denied"):
            asked.result(10)
        assert run(running, "audit", "archive", "--older-than-days", "1") == 4  # none is so old
        assert run(running, "audit", "export", str(tmp_path / "log")) == 0
        key = capsys.readouterr().out.split()[-1]
        assert run(running, "audit", "archive", "--older-than-days", "0", "--json") == 0
        done = json.loads(capsys.readouterr().out)
        assert done["first"] == 1
        assert run(running, "audit", "show") == 0
        assert f"audit.archive audit:{done['last']}" in capsys.readouterr().out  # it is itself on the log
    assert run(running, "audit", "verify") == 0  # from its files: no kernel runs
    assert f"from row {done['last'] + 1}" in capsys.readouterr().out
    sealed, checkpoints = Path(done["file"]), tmp_path / "state" / "audit.checkpoints"
    words = ("audit", "verify", "--file", str(sealed), "--public-key", key, "--checkpoints", str(checkpoints))
    assert run(running, *words) == 0
    sealed.write_text(sealed.read_text().replace("ann", "eve"))
    assert run(running, *words) == 1
    assert run(running, "audit", "verify") == 1
    assert sealed.name in capsys.readouterr().out


def _signed(checkpoints: Path) -> int:
    return json.loads(checkpoints.read_text().splitlines()[-1])["seq"]
