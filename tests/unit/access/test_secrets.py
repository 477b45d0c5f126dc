"""Secrets: at rest, in use, and kept out of what is told."""

from __future__ import annotations

import base64
import logging
from pathlib import Path

import pytest

from aios.access import master
from aios.access.decision import Subject
from aios.access.redact import Redactor
from aios.access.secrets import Vault
from aios.errors import BadRequest, ConfigError, NotFound
from aios.events import ProcessChanged

ANN = Subject("research:ann", "ann", "research", frozenset({"research"}))
VALUE = 'tok-"ü"/+5f3 secret'


@pytest.fixture
def redactor() -> Redactor:
    return Redactor()


@pytest.fixture
def vault(tmp_path: Path, redactor: Redactor) -> Vault:
    return Vault(tmp_path / "secrets.json", master.load(tmp_path / "access.key", {}), redactor)


def test_they_lie_encrypted_and_only_for_the_owner_of_the_machine(tmp_path: Path, vault: Vault) -> None:
    vault.put("token", VALUE, agents=("ann",))
    written = (tmp_path / "secrets.json").read_bytes()
    assert VALUE.encode() not in written
    for name in ("secrets.json", "access.key"):
        assert (tmp_path / name).stat().st_mode & 0o077 == 0
    again = Vault(tmp_path / "secrets.json", master.load(tmp_path / "access.key", {}), Redactor())
    assert again.inject("{{secret:token}}", ANN) == VALUE
    assert [(info.name, info.agents) for info in again.list()] == [("token", ("ann",))]


def test_another_key_or_an_edited_file_opens_nothing(tmp_path: Path, vault: Vault) -> None:
    vault.put("token", VALUE, agents=("ann",))
    file = tmp_path / "secrets.json"
    other = master.MasterKey(bytes(32))
    with pytest.raises(ConfigError, match="can't be opened"):
        Vault(file, other, Redactor())
    file.write_text(file.read_text().replace('"ann"', '"eve"'))  # who may use it is sealed with it
    with pytest.raises(ConfigError, match="can't be opened"):
        Vault(file, master.load(tmp_path / "access.key", {}), Redactor())


def test_a_name_that_looks_like_an_agent_of_another_group_gets_nothing(vault: Vault) -> None:
    vault.put("token", VALUE, agents=("research:ann",))
    assert vault.inject("{{secret:token}}", ANN) == VALUE
    with pytest.raises(NotFound):
        vault.inject(
            "{{secret:token}}", Subject("default:research:ann", "research:ann", "default", frozenset())
        )


def test_handles_become_values_for_those_who_may_use_them(vault: Vault) -> None:
    vault.put("token", VALUE, groups=("research",))
    vault.put("other", "xxxxxxxx", agents=("bob",))
    asked = {"headers": ["Bearer {{secret:token}}"], "n": 1}
    assert vault.handles(asked) == {"token"}
    assert vault.inject(asked, ANN) == {"headers": [f"Bearer {VALUE}"], "n": 1}
    with pytest.raises(NotFound):
        vault.inject("{{secret:other}}", ANN)
    with pytest.raises(NotFound):
        vault.inject("{{secret:none}}", ANN)
    assert vault.inject("{{secret:other}}", ANN, admin=True) == "xxxxxxxx"
    vault.remove("token")
    with pytest.raises(NotFound):
        vault.inject(asked, ANN)


def test_a_value_is_not_looked_into_for_handles(vault: Vault) -> None:
    vault.put("a", "{{secret:b}}", agents=("ann",))
    vault.put("b", "hidden-value", agents=("bob",))
    assert vault.inject("{{secret:a}}", ANN) == "{{secret:b}}"


def test_wrong_names_and_values_that_could_not_be_kept_out_are_refused(vault: Vault) -> None:
    for name, value in (("a b", "long enough"), ("", "long enough"), ("short", "12345")):
        with pytest.raises(BadRequest):
            vault.put(name, value)


def test_the_key_comes_from_the_environment_or_a_file_that_others_can_not_read(tmp_path: Path) -> None:
    file = tmp_path / "access.key"
    text = base64.b64encode(bytes(range(32))).decode()
    given = master.load(file, {master.VARIABLE: text})
    assert not file.exists()
    made = master.load(file, {})
    assert made.derive("x") == master.load(file, {}).derive("x") != given.derive("x")
    assert made.derive("x") != made.derive("y")
    for wrong in ("no base64", base64.b64encode(b"short").decode()):
        with pytest.raises(ConfigError):
            master.load(file, {master.VARIABLE: wrong})
    file.chmod(0o644)
    with pytest.raises(ConfigError, match="chmod 600"):
        master.load(file, {})


def test_nothing_that_is_told_holds_a_secret(vault: Vault, redactor: Redactor) -> None:
    event = ProcessChanged(name="ann", state="idle", reason=f"failed with {VALUE}")
    assert redactor.value(event) is event
    vault.put("token", VALUE)
    assert redactor.value(event).reason == "failed with [secret:token]"
    nested = {"a": [VALUE, ("x", VALUE.encode())], VALUE: 1}
    assert "5f3" not in str(redactor.value(nested))
    import json
    from urllib.parse import quote

    for written in (json.dumps({"a": VALUE}), json.dumps(VALUE, ensure_ascii=False), quote(VALUE, safe="")):
        assert "5f3" not in redactor.text(written)
    assert base64.b64encode(VALUE.encode()).decode()[:16] not in redactor.text(
        base64.b64encode(VALUE.encode()).decode()
    )


@pytest.mark.parametrize("before", [b"", b"a", b"ab", b"abc"])
def test_a_secret_is_found_in_base64_from_whichever_byte(
    vault: Vault, redactor: Redactor, before: bytes
) -> None:
    secret = "s3cr/t+V~lue?with>more-5f3"
    vault.put("token", secret)
    for encode in (base64.b64encode, base64.urlsafe_b64encode):
        text = encode(before + secret.encode() + b"tail").decode()
        cleaned = redactor.text(text)
        assert "[secret:token]" in cleaned
        assert not any(text[n : n + 8] in cleaned for n in range(4, len(text) - 16))
    assert redactor.text(secret.encode().hex()) == "[secret:token]"


def test_log_records_are_cleaned_with_their_tracebacks(
    vault: Vault, redactor: Redactor, caplog: pytest.LogCaptureFixture
) -> None:
    vault.put("token", VALUE)
    caplog.handler.addFilter(redactor)
    try:
        raise ValueError(VALUE)
    except ValueError:
        logging.getLogger("aios").exception("can't use %s", VALUE)
    finally:
        caplog.handler.removeFilter(redactor)
    assert VALUE not in caplog.text
    assert "can't use [secret:token]" in caplog.text
