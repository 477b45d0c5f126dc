"""The key ring: what is kept, what is told, what is forgotten."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from aios.access.keys import KeyRing
from aios.errors import BadRequest, ConfigError


def test_a_key_is_known_again_after_a_restart_and_only_its_digest_is_on_disk(tmp_path: Path) -> None:
    path = tmp_path / "state" / "keys.json"
    secret = KeyRing(path).create("alice", "writers")

    agent = KeyRing(path).identify(secret)

    assert agent is not None
    assert (agent.name, agent.group) == ("alice", "writers")
    assert secret.startswith("aios-alice-")
    assert len(secret) == len("aios-alice-") + 32
    assert secret.removeprefix("aios-alice-") not in path.read_text()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [p.name for p in path.parent.iterdir()] == ["keys.json"]


def test_unknown_keys_are_nobodys(tmp_path: Path) -> None:
    ring = KeyRing(tmp_path / "keys.json")
    secret = ring.create("alice")
    assert ring.identify(secret + "x") is None
    assert ring.identify("") is None


def test_revoking_takes_all_keys_of_an_agent_and_no_others(tmp_path: Path) -> None:
    ring = KeyRing(tmp_path / "keys.json")
    first, second, other = ring.create("alice"), ring.create("alice"), ring.create("bob")
    assert len(ring) == 3
    assert "alice" in ring

    assert ring.revoke("alice")
    assert not ring.revoke("alice")

    assert [ring.identify(key) is None for key in (first, second, other)] == [True, True, False]
    assert [agent.name for agent in ring.list()] == ["bob"]
    assert "alice" not in ring
    assert len(KeyRing(tmp_path / "keys.json")) == 1


@pytest.mark.parametrize("name", ["", "a/b", "a b", "-a", "ä", "x" * 65, "a\nb"])
def test_names_that_do_not_fit_in_a_key_are_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(BadRequest) as error:
        KeyRing(tmp_path / "keys.json").create(name)
    assert error.value.param == "agent"


@pytest.mark.parametrize("group", ["", "/", "a//b", "/a", "a/", "a/b c", "a/../b", "ä"])
def test_groups_that_are_no_path_are_refused(tmp_path: Path, group: str) -> None:
    with pytest.raises(BadRequest) as error:
        KeyRing(tmp_path / "keys.json").create("agent", group=group)
    assert error.value.param == "group"


def test_a_group_may_be_a_path(tmp_path: Path) -> None:
    ring = KeyRing(tmp_path / "keys.json")
    agent = ring.identify(ring.create("bob", group="research/web"))
    assert agent is not None
    assert agent.group == "research/web"


def test_a_damaged_file_is_an_error_that_says_so(tmp_path: Path) -> None:
    path = tmp_path / "keys.json"
    path.write_text("{")
    with pytest.raises(ConfigError, match=r"keys\.json can't be read"):
        KeyRing(path)


def test_a_key_that_cannot_be_stored_is_not_given_out(tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("")
    ring = KeyRing(tmp_path / "keys.json")
    ring._path = blocked / "keys.json"  # its folder is a file
    with pytest.raises(ConfigError, match="can't be written"):
        ring.create("alice")
    assert len(ring) == 0
