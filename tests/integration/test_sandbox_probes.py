"""Every probe of tests/probes.py against every kind of box, as this uid and, for root, as another one."""

import json
import os
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path

import pytest
from tests.probes import PROBES, host, source

from aios.tools.sandbox.bubblewrap import binaries
from aios.tools.sandbox.host import python_prefix
from aios.tools.sandbox.landlock import ABI, abi

ROOT = Path(__file__).resolve().parents[2]
OTHER_UID = 65534
WAYS = [(way, who) for who in ("own", "other") for way in ("bubblewrap", "landlock")]


def _other_python() -> str:
    """A Python that another uid can start, for our version of the libraries."""
    if os.geteuid() != 0:
        pytest.skip("only root can become another uid")
    found = f"/usr/bin/python{sys.version_info.major}.{sys.version_info.minor}"
    if not os.path.exists(found):
        pytest.skip(f"another uid needs {found}")
    if not all(path.stat().st_mode & 1 for path in (ROOT, *ROOT.parents)):
        pytest.skip(f"another uid can't enter {ROOT}")
    return found


def _command(way: str, who: str, folder: str) -> list[str]:
    rest = ["-m", "tests.probes", way, folder]
    if who == "own":
        # Under Landlock a box takes a Python that its uid can enter, which root's own may not be.
        enterable = os.geteuid() or all(path.stat().st_mode & 1 for path in python_prefix().parents)
        return [sys.executable if way == "bubblewrap" or enterable else _other_python(), *rest]
    become = ["setpriv", f"--reuid={OTHER_UID}", f"--regid={OTHER_UID}", "--clear-groups"]
    return [*become, _other_python(), *rest]


@pytest.fixture(scope="module")
def outcomes():
    """All ways at once, for they mostly wait; a way that can't be used is the reason why."""
    usable = {"bubblewrap": bool(binaries()), "landlock": abi() >= ABI}
    running: dict[tuple[str, str], subprocess.Popen | str] = {}
    libraries = os.pathsep.join((str(ROOT), str(ROOT / "src"), sysconfig.get_path("purelib")))
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o777)
        for way, who in WAYS:
            try:
                command = _command(way, who, f"{folder}/{way}-{who}")
            except pytest.skip.Exception as skipped:
                running[way, who] = str(skipped)
                continue
            if not usable[way]:
                running[way, who] = f"there is no {way} here"
                continue
            running[way, who] = subprocess.Popen(
                command, cwd=ROOT, env={"PYTHONPATH": libraries, "PATH": os.environ["PATH"]},
                stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            )  # fmt: skip
        found = {}
        for key, process in running.items():
            if isinstance(process, str):
                found[key] = process
                continue
            out, err = process.communicate(timeout=100)
            found[key] = json.loads(out) if process.returncode == 0 else f"FAILED {err}"
        yield found


@pytest.mark.parametrize("name", PROBES)
@pytest.mark.parametrize(("way", "who"), WAYS)
def test_nothing_gets_out_of_a_box_or_over_its_limits(outcomes, way, who, name):
    tried = outcomes[way, who]
    if isinstance(tried, str):
        assert not tried.startswith("FAILED"), tried
        pytest.skip(tried)
    probe, outcome = PROBES[name], tried[name]
    assert not outcome["escaped"], outcome["escaped"]
    assert outcome["reason"] in probe.ends or (outcome["reason"] == "wall" and probe.ends != ("",))
    if probe.ends == ("",):
        assert outcome["held"], outcome["err"]
    assert outcome["again"] in ("'STILL HERE'\n", None), (
        "the next run in the same box works, or the box is gone"
    )
    assert outcome["beats"][0] == outcome["beats"][1], "what a run leaves behind is killed"
    assert outcome["size"] <= 2 * 100_000
    assert outcome["disk"] < 64 << 20


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may do all of these outside a box")
def test_the_probes_find_what_is_open(tmp_path):
    """Without a box they escape: so it is the box that holds them."""
    environment = {"AIOS_PROBE": "PLANTED", "LD_PRELOAD": "", "PATH": os.environ["PATH"]}
    with host(tmp_path, "none") as facts:
        for name, probe in PROBES.items():
            if probe.outside:
                command = [sys.executable, "-c", source(probe, facts)]
                run = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True)
                assert "ESCAPED" in run.stdout, (name, run.stdout, run.stderr)
