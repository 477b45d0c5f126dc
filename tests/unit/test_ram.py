"""What memory there is, and that a core takes no more. The readings are made up: no memory is filled."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from aios.config import parse
from aios.cores.llama.gauge import Gauge
from aios.cores.llama.messages import Options
from aios.cores.llama.parking import ParkingMemory
from aios.cores.llama.ram import Ram
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
    gauge = Gauge(0, 0, 0.001, taken=500 * MB)
    gauge.check(options, 500 * MB)
    gauge.check(options, None)
    gauge._replace(taken=0).check(msgspec.structs.replace(options, gpu_layers=-1), 0)
    with pytest.raises(ModelError) as caught:
        gauge.check(options, 500 * MB - 1)
    assert "4 slots of 1000 tokens" in str(caught.value)
    assert "`slots`" in caught.value.mend
