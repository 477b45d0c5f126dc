from pathlib import Path

import pytest

from aios.errors import ModelCorrupt, ModelError, ModelNotInstalled
from aios.models import catalogue
from aios.models.store import ModelStore, data_home

SMALL = "smollm2-135m-instruct"


@pytest.fixture
def store(tmp_path: Path) -> ModelStore:
    return ModelStore(tmp_path / "models")


def lay(store: ModelStore, name: str, size: int) -> Path:
    """A file of that size (sparse) where the model belongs."""
    store.folder.mkdir(exist_ok=True)
    path = store.path_of(name)
    with path.open("wb") as file:
        file.truncate(size)
    return path


def test_every_catalogue_model_can_be_fetched_and_checked():
    known = catalogue.load()
    assert catalogue.default() in known
    for name, model in known.items():
        assert model.name == name
        assert model.file.endswith(".gguf")
        assert len(bytes.fromhex(model.sha256)) == 32
        assert model.hub or model.wheels
        assert len(model.wheels) == len(model.members)
        assert all("==" in wheel for wheel in model.wheels), "an unpinned package could change"


def test_models_lie_in_the_data_folder_of_the_user(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    assert ModelStore().path_of(SMALL).is_relative_to(tmp_path / "aios" / "models")
    monkeypatch.delenv("XDG_DATA_HOME")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert data_home() == tmp_path / "home" / ".local" / "share" / "aios"


def test_an_installed_model_is_found_by_its_name(store):
    path = lay(store, SMALL, store.model(SMALL).size)
    assert store.resolve(SMALL) == path
    assert store.installed() == {SMALL: path}


def test_no_name_is_the_default(store):
    name = catalogue.default()
    assert lay(store, name, store.model(name).size) == store.resolve("")


def test_a_model_that_is_not_here_says_how_to_get_it(store):
    with pytest.raises(ModelNotInstalled, match=f"aios pull {SMALL}"):
        store.resolve(SMALL)
    assert store.installed() == {}


def test_a_model_cut_short_is_corrupt_and_not_installed(store):
    lay(store, SMALL, 1000)
    with pytest.raises(ModelCorrupt, match=f"has 1000 bytes instead of .* aios pull {SMALL}"):
        store.resolve(SMALL)
    assert store.installed() == {}


def test_any_gguf_can_be_named_by_its_path(store, tmp_path, tiny_model, monkeypatch):
    assert store.resolve(str(tiny_model)) == tiny_model
    monkeypatch.chdir(tiny_model.parent)
    assert store.resolve(tiny_model.name) == Path(tiny_model.name)
    monkeypatch.setenv("HOME", str(tiny_model.parent))
    assert store.resolve(f"~/{tiny_model.name}") == tiny_model


@pytest.mark.parametrize("name", ["nowhere/model.gguf", "model.gguf", "/nowhere/model"])
def test_a_path_to_nothing_is_an_error(store, name):
    with pytest.raises(ModelError, match=f"There is no file {name}"):
        store.resolve(name)


def test_an_unknown_name_is_answered_with_the_nearest(store):
    with pytest.raises(ModelError, match=f"Did you mean {SMALL!r}"):
        store.resolve("smolm2-135m")
