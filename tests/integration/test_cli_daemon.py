"""The command line against a daemon of its own, as a user has it: `aios serve` in another process."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

import pytest

from aios.cli.main import _run
from aios.errors import LimitExceeded
from aios.sdk.client import Client

PARTS = ("system", "blocks", "tools", "history", "free")
EXAMPLES = Path(__file__).parents[2] / "examples"
CONFIG = """
[[cores]]
name = "main"
kind = "scripted"
models = ["parrot"]
tokens_per_s = 200
price_prompt = 1.0
price_completion = 1.0
"""


class Daemon:
    """`aios serve` with a scripted core, and its command line in this process."""

    def __init__(self, folder: Path, *, configured: bool = False) -> None:
        self.folder = folder
        if not configured:
            (folder / "aios.toml").write_text(CONFIG)
        command = [sys.executable, "-m", "aios.cli.main", "serve", "--port", "0"]
        self.process = subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout is not None
        self.said = self.process.stdout.readline()

    @property
    def url(self) -> str:
        return json.loads((self.folder / "state" / "aios" / "daemon.json").read_text())["url"]

    def stop(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(10)

    def end(self) -> None:
        self.process.kill()
        self.process.wait()
        assert self.process.stdout is not None
        self.process.stdout.close()


@pytest.fixture
def daemon(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Generator[Daemon]:
    for name in [name for name in os.environ if name.startswith("AIOS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    monkeypatch.chdir(tmp_path)
    running = Daemon(tmp_path)
    try:
        yield running
    finally:
        running.end()


@pytest.fixture
def aios(daemon: Daemon, capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Run a command that must succeed; what it printed."""

    def command(*arguments: str) -> str:
        assert _run(list(arguments)) == 0, capsys.readouterr().err
        return capsys.readouterr().out

    return command


def ask(text: str) -> list[dict[str, Any]]:
    return [{"role": "user", "content": text}]


def test_processes_are_listed_and_steered(daemon: Daemon, aios: Callable[..., str]) -> None:
    assert daemon.url in daemon.said
    assert "parrot" in daemon.said
    pid = json.loads(aios("spawn", "[bold]clerk", "--class", "batch", "--json"))["pid"]
    assert "[bold]clerk" in aios("ps")
    assert "paused" in aios("pause", str(pid))
    assert {p["pid"]: p["state"] for p in json.loads(aios("ps", "--json"))}[pid] == "paused"
    aios("resume", str(pid))
    assert json.loads(aios("nice", str(pid), "-5", "--json"))["nice"] == -5
    assert json.loads(aios("spawn", "bob", "--group", "research/web", "--json"))["group"] == "research/web"
    assert "killed" in aios("kill", str(pid))
    assert "[bold]clerk" not in aios("ps")
    assert "[bold]clerk" in aios("ps", "--all")
    assert "main" in aios("status")
    assert "main" in aios("top", "--once")
    assert (daemon.folder / "state" / "aios" / "daemon.json").stat().st_mode & 0o777 == 0o600
    assert (daemon.folder / "state" / "aios" / "journal.db").stat().st_mode & 0o777 == 0o600


def test_tools_are_listed_tried_added_and_removed(daemon: Daemon, aios: Callable[..., str]) -> None:
    assert "calculator" in aios("tools")
    assert "expression" in aios("tools", "show", "calculator")
    assert aios("tools", "test", "calculator", '{"expression": "6*7"}') == "42\n"
    (daemon.folder / "tool.toml").write_text('name = "polite"\nversion = "1"\n')
    (daemon.folder / "tools.py").write_text(
        "from aios.syscalls.tools import Flags\n"
        "from aios.tools.tool import tool\n@tool\ndef greet() -> str:\n    'Greet.'\n    return 'hello'\n"
        "@tool(flags=Flags(irreversible=True))\ndef send() -> str:\n    'Send.'\n    return 'sent'\n"
    )
    assert "nice__greet" in aios("tools", "add", "nice", "--package", ".")
    assert aios("tools", "test", "nice__greet") == "hello\n"
    assert aios("tools", "test", "nice__send") == "sent\n"  # it asks a person, who is there
    assert "nice__greet" in json.loads(aios("tools", "show", "nice__greet", "--json"))["name"]
    assert "removed" in aios("tools", "remove", "nice")
    assert "nice__greet" not in aios("tools", "list")


def test_the_policy_is_shown_and_changed(aios: Callable[..., str], capsys: pytest.CaptureFixture[str]) -> None:
    assert "composed" in aios("scheduler", "show")
    assert json.loads(aios("scheduler", "set", "fair", "--json"))[0]["policy"] == "fair"
    assert "composed" in aios("scheduler", "set", "composed", "--core", "main")
    assert _run(["scheduler", "set", "nosuch"]) == 7
    assert _run(["scheduler", "set", "fifo", "--core", "other"]) == 4
    assert "main" in capsys.readouterr().err


def test_groups_are_limited_and_what_they_spent_outlives_the_daemon(
    daemon: Daemon, aios: Callable[..., str]
) -> None:
    key = aios("keys", "create", "bob", "--group", "research/web").strip()
    limits = ["--spend", "0.00001", "--spend-period-s", "3600", "--weight", "2"]
    assert json.loads(aios("groups", "set", "research", *limits, "--json"))["weight"] == 2
    with Client(daemon.url, api_key=key, retries=0) as client:
        client.chat(ask("one two"), max_tokens=2)
        with pytest.raises(LimitExceeded, match="'research'") as refused:
            client.chat(ask("one two"), max_tokens=7)
        assert refused.value.retry_after
    changed = json.loads(
        aios("groups", "set", "research", "--weight", "none", "--policies", "edf,srpt", "--json")
    )
    assert (changed["weight"], changed["spend"], changed["policies"]) == (1, 0.00001, ["edf", "srpt"])
    assert "research" in aios("groups")
    assert "POLICIES" in aios("groups")
    spent = json.loads(aios("groups", "--json"))[0]["spent"]
    assert spent > 0
    assert daemon.stop() == 0
    (daemon.folder / "aios.toml").write_text(CONFIG + '[[groups]]\nname = "research"\nspend = 1.0\n')
    again = Daemon(daemon.folder, configured=True)
    try:
        assert json.loads(aios("groups", "--json"))[0]["spent"] == spent
    finally:
        again.end()


def test_a_held_call_goes_on_after_resume(daemon: Daemon, aios: Callable[..., str]) -> None:
    with Client(daemon.url, agent="talker") as client:
        words = ["a", *map(str, range(400))]  # two seconds: it must not end before it is held
        stream = client.chat(ask(" ".join(words)), stream=True)
        assert next(stream).content == "a"
        pid = next(p.pid for p in client.processes() if p.name == "talker")
        aios("pause", str(pid))
        resumed = threading.Timer(0.3, client.resume, [pid])
        resumed.start()
        rest = "".join(delta.content for delta in stream)
        resumed.join()
        assert rest.split() == words[1:]
        assert stream.completion.timings.interrupts >= 1


def test_strace_shows_calls_as_they_happen(daemon: Daemon, aios: Callable[..., str]) -> None:
    command = [sys.executable, "-m", "aios.cli.main", "strace"]
    with Client(daemon.url, agent="seen") as client:
        client.chat(ask("first"))
        pid = next(p.pid for p in client.processes() if p.name == "seen")
        tracer = subprocess.Popen([*command, str(pid)], cwd=daemon.folder, stdout=subprocess.PIPE, text=True)
        assert tracer.stdout is not None
        lines: list[str] = []
        reader = threading.Thread(target=lambda: lines.extend(tracer.stdout or ()))
        reader.start()
        deadline = time.monotonic() + 10
        wanted = ("slot 0 of main", "llm.generate = ok")
        while not all(any(text in line for line in lines) for text in wanted):  # until it follows
            assert time.monotonic() < deadline, lines
            client.chat(ask("second call"))
            time.sleep(0.05)
        assert daemon.stop() == 0
        reader.join(10)
        assert tracer.wait(10) == 0  # the kernel is gone: nothing more can come
        tracer.stdout.close()


def test_what_happened_can_be_exported_and_drawn(daemon: Daemon, aios: Callable[..., str]) -> None:
    with Client(daemon.url, agent="seen") as client:
        client.chat(ask("one two three"))
        client.tools.call("calculator", expression="6*7")
    aios("trace", "export", "trace.json")
    told = json.loads((daemon.folder / "trace.json").read_text())["traceEvents"]
    assert {"run", "wait", "tool calculator"} <= {event["name"] for event in told}
    tracks = {event["args"]["name"] for event in told if event["name"] in ("process_name", "thread_name")}
    assert {"agents", "tools", "calculator", "core main", "slot 0"} <= tracks
    (window,) = [p for p in json.loads(aios("ps", "--json")) if p["name"] == "seen"]
    assert f"{window['pid']} seen" in tracks
    assert "3 rows" in aios("timeline", "--png", "trace.png")
    told = json.loads(aios("context", str(window["pid"]), "--json"))
    assert (told["pid"], told["messages"]) == (window["pid"], 1)


def test_the_parts_of_a_window_that_are_shown_fill_it(
    daemon: Daemon, aios: Callable[..., str], tiny_model: Path
) -> None:
    assert daemon.stop() == 0
    core = {"name": "main", "model": str(tiny_model), "context": 1024, "slots": 2, "threads": 1}
    table = "".join(f"{key} = {json.dumps(value)}\n" for key, value in core.items())
    (daemon.folder / "aios.toml").write_text(f'[[cores]]\n{table}[memory]\nembedder = "none"\n')
    look = {"type": "function", "function": {"name": "look", "description": "Look somewhere up."}}
    talk = [{"role": "system", "content": "You are brief."}, *ask("hi")]
    again = Daemon(daemon.folder, configured=True)

    def told(**options: Any) -> dict[str, Any]:
        client.chat(talk, max_tokens=4, **options)
        info = json.loads(aios("context", str(pid), "--json"))
        parts = {part: info.get(part, 0) for part in PARTS}
        assert sum(parts.values()) == info["window"] == 1024
        shown = aios("context", str(pid))
        for part, tokens in parts.items():
            assert re.search(rf"^{part} +{tokens}\b", shown, re.MULTILINE), shown
        return parts | {"messages": info["messages"], "stats": info["stats"]}

    try:
        with Client(again.url, agent="seen") as client:
            pid = client.spawn("made").parent
            plain = told()
            assert (plain["blocks"], plain["tools"], plain["messages"]) == (0, 0, 2)
            assert min(plain["system"], plain["history"]) > 0
            equipped = told(tools=[look])
            assert equipped["tools"] > 10
            client.memory.block("me", "I am seen.")
            remembering = told(tools=[look], blocks=True)
            assert remembering["blocks"] > 10
            talk += [{"role": "assistant", "content": "hello"}, *ask("and then?")]
            longer = told(tools=[look], blocks=True)
            assert longer["history"] > remembering["history"]
            for part in ("system", "blocks", "tools"):
                assert longer[part] == remembering[part]
            assert longer["stats"]["computed"] > 0
    finally:
        again.end()


def test_a_process_that_is_not_there_is_told(daemon: Daemon, capsys: pytest.CaptureFixture[str]) -> None:
    for command in (["strace", "77"], ["kill", "77"], ["pause", "77"]):
        assert _run(command) == 4
        assert "no process 77" in capsys.readouterr().err


def test_keys_are_made_used_and_revoked(daemon: Daemon, aios: Callable[..., str]) -> None:
    key = aios("keys", "create", "bob.the-builder", "--group", "builders").strip()
    assert "bob.the-builder  builders" in aios("keys", "list")
    with Client(daemon.url, api_key=key) as client:
        client.chat(ask("hello"))
    assert "bob.the-builder" in aios("ps")
    aios("keys", "revoke", "bob.the-builder")
    assert "bob" not in aios("keys", "list")


def test_run_on_the_daemon_and_on_a_kernel_of_its_own(
    daemon: Daemon, aios: Callable[..., str], tmp_path: Path
) -> None:
    agent = tmp_path / "asker.py"
    agent.write_text(
        "async def main(client, task):\n"
        "    done = await client.chat([{'role': 'user', 'content': task}])\n"
        "    return done.choices[0].content\n"
    )
    assert aios("run", str(agent), "say this") == "say this\n"
    assert "asker" in aios("ps")
    assert aios("run", str(agent), "and this", "--config", "aios.toml") == "and this\n"
    assert daemon.stop() == 0
    assert not (daemon.folder / "state" / "aios" / "daemon.json").exists()
    assert aios("run", str(agent), "and now this") == "and now this\n"


@pytest.mark.parametrize(
    ("example", "says"),
    [
        (["hello.py"], "France"),
        (["stream.py"], "Count from one to ten."),
        (["aios", "run", "react_tools.py", "how much?"], "Answer:"),
        (["aios", "run", "sixteen_agents.py"], "all in"),
    ],
)
def test_examples_run(daemon: Daemon, example: list[str], says: str) -> None:
    at = [str(EXAMPLES / word) if word.endswith(".py") else word for word in example]
    command = [sys.executable, "-m", "aios.cli.main", *at[1:]] if at[0] == "aios" else [sys.executable, *at]
    done = subprocess.run(command, cwd=daemon.folder, capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 0, done.stderr
    assert says in done.stdout
