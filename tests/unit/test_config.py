import pytest

from aios import config
from aios.errors import ConfigError


def write(tmp_path, text):
    path = tmp_path / "aios.toml"
    path.write_text(text)
    return path


def test_file_then_environment_then_flags(tmp_path):
    path = write(tmp_path, '[server]\nport = 1\nhost = "0.0.0.0"\n[scheduler]\npolicy = "fifo"\n')
    env = {"AIOS_SERVER_PORT": "2", "AIOS_STATE_DIR": "/somewhere", "UNRELATED": "x"}
    settings = config.load(path, env, {"server.port": 3, "state.dir": None})
    assert settings.server.port == 3
    assert settings.server.host == "0.0.0.0"
    assert settings.state.dir == "/somewhere"
    assert settings.scheduler.policy == "fifo"
    assert config.load(path, env).server.port == 2
    assert config.load(path, {}).server.port == 1


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[server]\nprot = 1", "'port'"),
        ("[sever]\nport = 1", "'server'"),
        ('[[cores]]\nname = "a"\nkind = "llama"\nslot = 4', "'slots'"),
        ('[server]\nport = "many"', "server.port"),
        ("[server", "not TOML"),
        ('[[cores]]\nname = "a"\n[[cores]]\nname = "a"', "Two cores"),
        ('[[cores]]\nname = "a"\nkind = "openai"\nslots = 4', "not for kind"),
        ('[[cores]]\nkind = "llama"', "name"),
    ],
)
def test_mistakes_are_named_with_the_mend(tmp_path, text, says):
    with pytest.raises(ConfigError) as caught:
        config.load(write(tmp_path, text), {})
    assert says in str(caught.value)
    assert caught.value.mend


def test_a_missing_file_is_an_error_only_when_it_was_named(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert config.load(None, {}) == config.Settings()
    with pytest.raises(ConfigError, match="no file"):
        config.load(tmp_path / "no.toml", {})


def test_an_unknown_environment_key_is_an_error_too():
    with pytest.raises(ConfigError, match="nearest known one is 'port'"):
        config.load(None, {"AIOS_SERVER_PORTT": "1"})


def test_the_state_folder_is_the_same_from_everywhere(tmp_path, monkeypatch):
    """Boxes are made elsewhere, over folders in it."""
    monkeypatch.chdir(tmp_path)
    assert config.parse({"state": {"dir": "here"}}).state_dir() == tmp_path / "here"
