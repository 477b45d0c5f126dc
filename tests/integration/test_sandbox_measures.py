"""Each measure of a box, taken away: the probes that it holds must then get through.

So a probe that fails in a whole box fails because of the box, and not because it is broken."""

import asyncio
import os
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.probes import PROFILE, attempt

from aios.errors import SandboxUnavailable
from aios.syscalls.tools import Profile
from aios.tools.sandbox import box as boxes
from aios.tools.sandbox import host
from aios.tools.sandbox.bubblewrap import Bubblewrap, binaries

pytestmark = pytest.mark.anyio
Change = Callable[[list[str]], list[str]]


class Weaker(Bubblewrap):
    """A sandbox that lacks something."""

    def __init__(self, change: Change) -> None:
        super().__init__(binaries()[0])
        self._change = change

    def _command(self, *arguments) -> list[str]:
        return self._change(super()._command(*arguments))


@pytest.fixture(scope="module", autouse=True)
def bubblewrap():
    if not binaries() or not asyncio.run(Bubblewrap(binaries()[0]).strength()).usable:
        pytest.skip("bubblewrap can't be used here")


def without(option: str, values: int = 0, *, first: int = 0) -> Change:
    """The command without each `option` from the `first` on, and the values that follow it."""

    def change(argv: list[str]) -> list[str]:
        places = [i for i, word in enumerate(argv) if word == option][first:]
        assert places
        for i in reversed(places):
            argv = argv[:i] + argv[i + 1 + values :]
        return argv

    return change


def inside(old: str, new: str) -> Change:
    """The program of the box with a piece of its text changed."""

    def change(argv: list[str]) -> list[str]:
        assert old in argv[-1]
        return [*argv[:-1], argv[-1].replace(old, new)]

    return change


def whole_host(argv: list[str]) -> list[str]:
    """A folder of the host's that is not the agent's is there to be read."""
    at = argv.index("--ro-bind", argv.index("--unshare-net"))
    return [*argv[:at], "--ro-bind", "/var", "/var", *argv[at:]]


def both(first: Change, second: Change) -> Change:
    return lambda argv: second(first(argv))


APART = "Landlock().protect_parent()"
ESCAPES = {
    "seccomp": (
        without("--seccomp", 1),
        ("ptrace", "keyctl", "io_uring", "memory outside all limits", "pidfd_getfd", "clone into a namespace",
         "netlink, vsock and crypto sockets", "nested user namespace", "a program without a file",
         "semaphores and messages of System V"),
    ),
    "network namespace": (without("--unshare-net"), ("tcp to the host", "abstract socket of the host")),
    "own mounts": (
        whole_host,
        ("read a secret in the host's tmp", "read another agent's folder", "list another agent's folder"),
    ),
    "read-only mounts": (without("--remount-ro", 1), ("write to the root folder", "fill /dev")),
    "rlimits": (
        inside('for name, most in config[\\"limits\\"].items()', "for name, most in ()"),
        ("ulimit raise", "memory bomb", "shared memory bomb", "use all descriptors", "many threads",
         "many timers"),
    ),
    "size of /tmp": (without("--size", 1), ("fill /tmp",)),
    "a zygote that can't be read": (
        both(inside("prctl(PR_SET_DUMPABLE, 0)", "0"), inside(APART, "0")),
        ("memory of the parent", "descriptors of the parent"),
    ),
    "Landlock within": (inside(APART, "0"), ("memory and descriptors of the box's first process",)),
}  # fmt: skip


@pytest.mark.parametrize("measure", ESCAPES)
async def test_without_a_measure_its_probes_get_out(measure):
    change, names = ESCAPES[measure]
    roomy = Profile(wall_s=30.0, cpu_s=20.0, memory_mb=4096, disk_mb=64, files=5000)
    with tempfile.TemporaryDirectory(dir="/var/tmp") as folder:  # for boxes cover /tmp with one of their own
        os.chmod(folder, 0o755)
        outcomes = await attempt(Weaker(change), Path(folder, "probes"), names, roomy)
    assert [name for name in names if not outcomes[name]["escaped"]] == []


async def test_without_the_host_s_watch_all_of_a_box_together_goes_over_its_limits(tmp_path, monkeypatch):
    monkeypatch.setattr(boxes.Watch, "processes", lambda self: "")
    monkeypatch.setattr(boxes.Watch, "folder", lambda self: "")
    names = ("memory bomb of many", "many empty files")
    outcomes = await attempt(Weaker(list), tmp_path / "probes", names, PROFILE)
    assert [outcomes[name]["reason"] for name in names] == ["wall", "wall"]


async def test_without_the_sweep_a_daemon_stays(tmp_path):
    change = inside("self._sweep()\\n        out, err", "out, err")
    outcome = (await attempt(Weaker(change), tmp_path / "probes", ["a daemon that stays"]))[
        "a daemon that stays"
    ]
    assert outcome["beats"][1] > outcome["beats"][0]


async def test_a_box_that_would_see_the_host_s_processes_does_not_start(tmp_path):
    within = without("--unshare-pid", first=1 if host.own_uid(tmp_path) else 0)
    with pytest.raises(SandboxUnavailable, match="processes of the host"):
        await Weaker(within).open(Path(tmp_path), PROFILE)
