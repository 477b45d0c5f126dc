"""The command line, as far as it needs no kernel."""

import io
import json

import pytest
from rich.console import Console

from aios.cli import render, strace
from aios.cli.main import COMMANDS, _run, cli
from aios.errors import CoreRefused
from aios.events import WindowChanged
from aios.syscalls import ContextState, GroupInfo, ProcessInfo, ProcessUsage


@pytest.fixture(autouse=True)
def apart(tmp_path, monkeypatch):
    """No test sees this machine's kernel or models."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    monkeypatch.chdir(tmp_path)


def test_every_command_exists_and_has_help(capsys):
    for name in COMMANDS:
        assert _run([name, "--help"]) == 0
        assert "Usage:" in capsys.readouterr().out
    assert _run(["--help"]) == 0
    told = capsys.readouterr().out
    assert all(f"  {name} " in told for name in COMMANDS)


@pytest.mark.parametrize("command", [["ps"], ["top", "--once"], ["kill", "3"], ["strace", "3"], ["status"]])
def test_without_a_kernel_commands_say_how_to_start_one(command, capsys):
    assert _run(command) == 3
    assert "aios serve" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("command", "status", "says"),
    [
        (["nosuch"], 2, "nosuch"),
        (["pull", "smollm3"], 6, "smollm2-135m-instruct"),
        (["serve", "--config", "no.toml"], 7, "no.toml"),
        (["run", "nosuch.py"], 1, "nosuch.py"),
        (["bench", "nosuch"], 7, "demo"),
    ],
)
def test_mistakes_have_their_exit_status_and_one_line(command, status, says, capsys):
    assert _run(command) == status
    told = capsys.readouterr().err
    assert says in told
    assert "Traceback" not in told


def test_an_unknown_setting_is_named_with_the_nearest(tmp_path, capsys):
    (tmp_path / "aios.toml").write_text("[server]\nprot = 1\n")
    assert _run(["serve"]) == 7
    assert "'port'" in capsys.readouterr().err


def test_a_model_that_is_not_installed_says_how_to_get_it(tmp_path, capsys):
    (tmp_path / "aios.toml").write_text('[[cores]]\nname = "a"\nmodel = "smollm2-135m-instruct"\n')
    assert _run(["serve", "--port", "0"]) == 6
    assert "aios pull smollm2-135m-instruct" in capsys.readouterr().err


def test_json_is_for_programs(capsys):
    assert _run(["models", "--json"]) == 0
    names = {row["name"] for row in json.loads(capsys.readouterr().out)}
    assert "smollm2-135m-instruct" in names


def test_errors_inside_a_task_group_are_told_like_any_other(monkeypatch, capsys):
    def fail(*args, **kwargs):
        raise ExceptionGroup("tasks", [ExceptionGroup("more", [CoreRefused("It says no.", "Ask nicely.")])])

    monkeypatch.setattr(cli, "main", fail)
    assert _run(["ps"]) == 1
    assert capsys.readouterr().err == "aios: It says no. Ask nicely.\n"


@pytest.mark.parametrize(
    ("value", "told"),
    [(0.003, "3 ms"), (1.25, "1.25 s"), (99.999, "1:40"), (599.9, "10:00"), (7200, "2:00:00")],
)
def test_times_are_told_for_people(value: float, told: str) -> None:
    assert render.seconds(value) == told


def test_names_of_processes_can_be_read_on_a_narrow_terminal() -> None:
    busy = ProcessInfo(
        pid=12, name="researcher-7", parent=1, group="default", state="running", kv="resident",
        kv_tokens=1234, level=19, waiting_s=0.33, attained=12345,
        usage=ProcessUsage(calls=12, prompt_tokens=123456, cached_tokens=12345, interrupts=3),
    )  # fmt: skip
    console = Console(width=80, file=io.StringIO())
    console.print(render.process_table([busy]))
    assert "research" in console.file.getvalue()


def test_all_limits_of_groups_fit_on_a_hundred_columns() -> None:
    narrow = GroupInfo(
        name="research/web/crawlers", weight=2.5, calls=12, concurrency=8, max_queue=100, max_context=131072,
        requests_per_min=600, requests_left=599.6, tokens_per_min=200_000, tokens_left=-198_123.4, spend=50.0,
        spent=12.3456789, refills_in_s=86_399, classes=("interactive", "normal", "batch"),
        policies=("composed", "edf"),
    )  # fmt: skip
    console = Console(width=100, file=io.StringIO())
    console.print(render.group_table([narrow, GroupInfo(name="plain", policies=())]))
    told = console.file.getvalue()
    for part in ("12/100", "600/600", "-198k/200k", "131072", "12.3/50", "23:59:59", "interactive", "batch",
                 "composed", "none"):  # fmt: skip
        assert part in told
    console.print(render.group_table([GroupInfo(name="plain")]))
    heads, row = console.file.getvalue().removeprefix(told).splitlines()
    assert heads.split() == ["GROUP", "WEIGHT", "CALLS", "SPENT"]
    assert row.split() == ["plain", "1", "0", "0"]


def test_what_became_of_a_context_fits_on_a_hundred_columns() -> None:
    one = ContextState(
        context=12_345, core="main", place="parked", tokens=4096, bytes=94_000_000, copied=True, idle_s=86_399,
        computed=123_456, from_slot=234_567, from_ram=345_678, from_disk=45_678, restores=321, restore_s=12.345,
    )  # fmt: skip
    fresh = ContextState(context=2, core="main", place="resident", tokens=7, bytes=1000)
    console = Console(width=100, file=io.StringIO())
    console.print(render.kv_table([one, fresh]))
    told = console.file.getvalue()
    for part in ("parked, copied", "123456", "234567", "345678", "45678", "321x 12.35 s", "23:59:59"):
        assert part in told
    assert told.splitlines()[-1].split()[-5:] == ["0", "0", "0", "0", "0x"]


@pytest.mark.parametrize(("tokens", "told"), [(612, "(error): 612 tokens, refused"), (0, "(error): refused")])
def test_strace_tells_of_a_conversation_that_was_refused(tokens: int, told: str) -> None:
    event = WindowChanged(policy="error", left_out=0, kept=4, tokens=tokens, window=512, refused=True)
    assert strace.line(event).endswith(f"window of 512 outgrown {told}")
