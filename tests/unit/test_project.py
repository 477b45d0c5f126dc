"""What a fresh clone stands on: the lock, the Makefile, the pages."""

import os
import re
import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest

from aios.models import catalogue

ROOT = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]


@pytest.fixture(scope="module")
def locked() -> dict[str, list[str]]:
    """Requirements of the lock by name: the version, then the hashes."""
    text = (ROOT / "requirements.lock").read_text("utf-8").replace("\\\n", " ")
    lines = [line.split() for line in text.splitlines() if line and not line.lstrip().startswith("#")]
    return {
        name: [version, *rest] for (name, _, version), rest in ((w[0].partition("=="), w[1:]) for w in lines)
    }


def test_everything_in_the_lock_has_one_version_and_its_hashes(locked):
    for name, (version, *hashes) in locked.items():
        assert re.fullmatch(r"\d[\w.+!]*", version), name
        assert hashes, name
        assert all(re.fullmatch(r"--hash=sha256:[0-9a-f]{64}", found) for found in hashes), name


def test_the_lock_names_no_place_to_fetch_from():
    text = (ROOT / "requirements.lock").read_text("utf-8")
    assert not re.search(r"://|--(extra-)?index|--find-links|^-i ", text, re.MULTILINE)


def test_the_lock_holds_all_that_is_asked_for_and_what_builds_the_project(locked):
    asked = [
        *PROJECT["dependencies"],
        *(d for extra in PROJECT["optional-dependencies"].values() for d in extra),
    ]
    names = {re.match(r"[\w.-]+", dependency)[0].lower() for dependency in asked}
    assert names | {"setuptools", "wheel"} <= set(locked)
    for dependency in asked:
        if pinned := re.match(r"([\w.-]+)==(\S+)", dependency):
            assert locked[pinned[1]][0] == pinned[2]


def test_an_old_python_is_refused_with_what_to_do(tmp_path):
    for name in ("Makefile", "requirements.lock", "pyproject.toml"):
        shutil.copy(ROOT / name, tmp_path)
    old = tmp_path / "python3.8"
    old.write_text("#!/bin/sh\nexit 1\n")
    old.chmod(0o755)
    environment = {"PATH": os.environ["PATH"]}
    run = subprocess.run(
        ["make", f"PYTHON={old}", ".venv"],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode != 0
    assert "Python 3.11 or newer is needed" in run.stdout
    assert "make PYTHON=" in run.stdout
    assert not (tmp_path / ".venv").exists()


def test_continuous_integration_can_be_run_from_anywhere():
    script = ROOT / ".ci" / "run"
    assert os.access(script, os.X_OK)
    assert 'cd "$(dirname "$0")/.."' in script.read_text()


def test_the_page_about_models_names_models_that_exist():
    page = (ROOT / "docs" / "howto" / "models.md").read_text("utf-8")
    named = set(re.findall(r"aios pull ([a-z][\w.-]+)", page))
    assert named
    assert named <= set(catalogue.load())


def test_decisions_are_numbered_without_a_gap():
    numbers = sorted(int(path.name[:4]) for path in (ROOT / "docs" / "adr").glob("[0-9]*.md"))
    assert numbers == list(range(1, len(numbers) + 1))
