"""What memory there is, and that a core takes no more. The readings are made up: no memory is filled."""

from __future__ import annotations

import mmap
import os
from pathlib import Path

import msgspec
import pytest

from aios.config import parse
from aios.cores.llama.gauge import Gauge
from aios.cores.llama.messages import Options
from aios.cores.llama.parking import ParkingMemory, untouched
from aios.cores.ram import Promise, Ram
from aios.errors import ConfigError, ModelError

MB = 2**20
V1_FREE = 9223372036854771712


def machine(root: Path, *, available_mb: int | None = 8000, groups: str = "") -> Ram:
    (root / "proc/self").mkdir(parents=True)
    if available_mb is not None:
        kb = available_mb * 1024
        (root / "proc/meminfo").write_text(f"MemTotal:  99999999 kB\nMemFree:   5 kB\nMemAvailable: {kb} kB\n")
    (root / "proc/self/cgroup").write_text(groups)
    return Ram(root)


def group(
    folder: Path, limit: object, used_mb: int, files_mb: tuple[int, int] = (0, 0), *, v1: bool = False
) -> None:
    """One whose usage has so many MB of inactive and active pages of files."""
    folder.mkdir(parents=True, exist_ok=True)
    names = ("memory.limit_in_bytes", "memory.usage_in_bytes") if v1 else ("memory.max", "memory.current")
    total = "total_" if v1 else ""
    (folder / names[0]).write_text(f"{limit}\n")
    (folder / names[1]).write_text(f"{used_mb * MB}\n")
    lines = [
        f"{total}{name} {mb * MB}" for name, mb in zip(("inactive_file", "active_file"), files_mb, strict=True)
    ]
    (folder / "memory.stat").write_text("\n".join(["anon 77", *lines, "shmem 5"]))


def test_without_groups_it_is_what_the_machine_has(tmp_path: Path) -> None:
    assert machine(tmp_path).free() == 8000 * MB


def test_a_system_that_does_not_tell_is_not_asked_again(tmp_path: Path) -> None:
    assert machine(tmp_path, available_mb=None).free() is None
    assert Ram(tmp_path / "nothing").free() is None


def test_a_group_is_held_to_its_limit_and_its_pages_of_files_can_go(tmp_path: Path) -> None:
    ram = machine(tmp_path, groups="0::/work/aios\n")
    top = tmp_path / "sys/fs/cgroup"
    group(top / "work/aios", 1000 * MB, 700, (100, 50))
    assert ram.free() == 450 * MB
    group(top / "work/aios", "max", 700)
    assert ram.free() == 8000 * MB
    group(top / "work", 900 * MB, 800)  # the group above it counts too
    assert ram.free() == 100 * MB
    group(top / "work", 900 * MB, 950)
    assert ram.free() == 0


def test_version_1_has_other_names(tmp_path: Path) -> None:
    ram = machine(tmp_path, groups="9:name=systemd:/\n4:cpu,memory:/docker/abc\n0::/\n")
    top = tmp_path / "sys/fs/cgroup/memory"
    group(top, V1_FREE, 3000, v1=True)
    assert ram.free() == 8000 * MB
    group(top / "docker/abc", 600 * MB, 500, (30, 20), v1=True)
    assert ram.free() == 150 * MB


def test_in_a_container_that_sees_the_path_of_its_host_the_top_is_its_own(tmp_path: Path) -> None:
    ram = machine(tmp_path, groups="4:memory:/docker/abc\n")
    group(tmp_path / "sys/fs/cgroup/memory", 512 * MB, 12, v1=True)
    assert ram.free() == 500 * MB


@pytest.mark.parametrize(("room", "size"), [(4096, 1024), (2048, 1024), (1000, 500), (0, 0), (-300, 0)])
def test_parking_memory_that_nobody_asked_for_is_at_most_half_of_the_room(room: int, size: int) -> None:
    parking = ParkingMemory(1024 * MB)
    parking.fit(room * MB, asked=False)
    assert parking.size == size * MB
    parking.close()


def test_what_is_asked_for_is_had_or_refused() -> None:
    parking = ParkingMemory(1024 * MB)
    parking.fit(1024 * MB, asked=True)
    assert parking.size == 1024 * MB
    with pytest.raises(ConfigError) as caught:
        parking.fit(1024 * MB - 1, asked=True)
    assert "kv_ram_mb" in str(caught.value)
    assert "1,024 MB" in str(caught.value)
    parking.close()


def test_settings_tell_what_was_asked_for() -> None:
    cores = parse(
        {"cores": [{"name": "a", "model": "m"}, {"name": "b", "model": "m", "kv_ram_mb": 1024.0}]}
    ).cores
    assert [core.kv_ram_mb for core in cores] == [None, 1024.0]


def test_a_model_with_more_slots_than_memory_is_refused() -> None:
    options = Options(
        model="m", slots=4, context=1000, threads=1, gpu_layers=0, exact=True, deterministic=False,
        prefill_chunk=128, arena_fd=-1, arena_bytes=0,
    )  # fmt: skip
    gauge = Gauge(0, 0, 5 * MB, 0.001, weights=100 * MB, taken=500 * MB)
    gauge.check(options, 500 * MB)
    gauge.check(options, None)
    gauge._replace(taken=0).check(msgspec.structs.replace(options, gpu_layers=-1), 0)
    with pytest.raises(ModelError) as caught:
        gauge.check(options, 500 * MB - 1)
    assert "4 slots of 1000 tokens" in str(caught.value)
    assert "`slots`" in caught.value.mend


def test_what_the_engine_asked_for_counts_where_it_is_more(tmp_path: Path) -> None:
    gauge = Gauge(0, 0, 5 * MB, 0.001, weights=100 * MB, taken=500 * MB)
    assert gauge.opened(470 * MB).taken == 585 * MB  # with its work space, and three contexts on their way
    assert gauge.opened(0).taken == 500 * MB  # a system that does not tell
    assert gauge._replace(weights=0, taken=0).opened(470 * MB).taken == 0  # on a GPU


def available(ram_root: Path, mb: int) -> None:
    (ram_root / "proc/meminfo").write_text(f"MemAvailable: {mb * 1024} kB\n")


def test_what_one_core_may_take_is_not_there_for_the_next(tmp_path: Path) -> None:
    ram = machine(tmp_path)
    assert ram.free("a.gguf") == 8000 * MB
    ram.promise("one", Promise(1000 * MB, "a.gguf", weights=3000 * MB))
    available(tmp_path, 7600)  # it touched 400 MB of its own; weights are pages of files
    assert ram.free("b.gguf") == 4000 * MB
    assert ram.free("a.gguf") == 7000 * MB  # the same weights are there once
    ram.promise("two", Promise(500 * MB, "a.gguf", weights=3000 * MB))
    assert ram.free("b.gguf") == 3500 * MB
    available(tmp_path, 900)  # somebody else took more than was left
    assert ram.free("b.gguf") == 900 * MB
    available(tmp_path, 8000)
    ram.release("one")
    assert ram.free("b.gguf") == 4500 * MB
    ram.release("two")
    ram.release("two")
    available(tmp_path, 9000)  # nobody is left: what there is now counts
    assert ram.free() == 9000 * MB


def test_more_was_promised_than_there_is(tmp_path: Path) -> None:
    ram = machine(tmp_path, available_mb=100)
    assert ram.free() == 100 * MB
    ram.promise("one", Promise(150 * MB))
    assert ram.free() == 0


def test_a_system_that_does_not_tell_promises_what_is_asked(tmp_path: Path) -> None:
    ram = machine(tmp_path, available_mb=None)
    ram.promise("one", Promise(150 * MB))
    assert ram.free() is None


def test_memory_counts_when_it_is_asked_for_and_not_when_it_is_touched(tmp_path: Path) -> None:
    ram = Ram()
    before = ram.asked_for()
    with mmap.mmap(-1, 64 * MB, flags=mmap.MAP_PRIVATE):
        assert 64 * MB <= ram.asked_for() - before < 80 * MB
    assert machine(tmp_path).asked_for() == 0


def test_parking_memory_knows_what_was_never_written() -> None:
    parking = ParkingMemory(64 * MB)
    assert untouched(parking.fd) == 64 * MB
    os.pwrite(parking.fd, b"x" * MB, 5 * MB)
    assert untouched(parking.fd) == 63 * MB
    parking.fit(20 * MB, asked=False)  # what is behind its end is gone
    assert (parking.size, untouched(parking.fd)) == (10 * MB, 9 * MB)
    parking.close()
