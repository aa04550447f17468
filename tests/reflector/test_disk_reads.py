"""Disk reads are counted once, on the physical disks, and not again on the devices that are built on them."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

from hypothesis import given, settings
from hypothesis import strategies as st

from mirror_stage.reflector.collector import DiskReads
from mirror_stage.reflector.container import Container
from mirror_stage.reflector.machine import Machine
from tests.reflector.recorded import RecordedPsutil

SECTOR = 512
DEVICES = {
    "sda": "0:0:0:0", "sdaa": "9:0:0:0", "vdb": "virtio3", "xvda": "vbd-768", "mmcblk0": "mmc0:aaaa", "sr0": "4:0:0:0",
    "nvme0n1": "nvme0", "nvme1c0n1": "nvme1", "nvme1c1n1": "nvme2", "dasda": "0.0.0100", "cciss/c0d0": "c0d0",
}  # fmt: skip
LAYERS = (
    "sda1", "sdaa15", "vdb2", "xvda1", "mmcblk0p1", "nvme0n1p3", "dasda1", "cciss/c0d0p1", "dm-0", "dm-17", "md0", "md127",
    "loop0", "zram0", "ram3", "zd16", "bcache0", "drbd1",
)  # fmt: skip

sectors = st.integers(0, 2**40)


class Disks(Machine):
    """A machine with these disks; the value is the number of sectors that the disk has read."""

    def __init__(self, root: Path, **read: int) -> None:
        super().__init__(root, RecordedPsutil(root))
        self._folder = root
        for name, device in {**DEVICES, "nvme1n1": "nvme-subsys1"}.items():
            file = root / "sys/block" / name.replace("/", "!") / "device"
            file.parent.mkdir(parents=True)
            file.write_text(f"{device}\n")
        self.read(read)

    def read(self, read: dict[str, int]) -> None:
        lines = [
            f"8 {n} {name} 9 0 {sectors} 5 0 0 0 0 0 5 5 0 0 0 0 0 0\n"
            for n, (name, sectors) in enumerate(read.items())
        ]
        (self._folder / "proc").mkdir(exist_ok=True)
        (self._folder / "proc/diskstats").write_text("".join(lines))


def reads_of(machine: Machine) -> DiskReads:
    return DiskReads(machine, Container(machine))


@settings(deadline=None)
@given(
    disks=st.dictionaries(st.sampled_from(sorted(DEVICES)), sectors, min_size=1),
    layers=st.dictionaries(st.sampled_from([*LAYERS, "nvme1n1"]), sectors),
)
def test_physical_disks_are_summed_and_the_devices_on_top_of_them_are_not(
    disks: dict[str, int], layers: dict[str, int]
) -> None:
    with TemporaryDirectory() as folder:
        machine = Disks(Path(folder), **disks, **layers)
        assert reads_of(machine).read() == {"disk_read_bytes": sum(disks.values()) * SECTOR % 2**53}


def test_while_disks_come_and_go_the_counter_is_unknown_for_a_sample(tmp_path: Path) -> None:
    machine = Disks(tmp_path, sda=1000)
    reads = reads_of(machine)
    found = []
    for read in (
        {"sda": 1000},
        {"sda": 1001, "loop4": 5},
        {"sda": 1002, "sdaa": 9},
        {"sda": 1003, "sdaa": 9},
        {"sdaa": 9},
    ):
        machine.read(read)
        found.append(reads.read().get("disk_read_bytes"))
    assert found == [1000 * SECTOR, 1001 * SECTOR, None, 1012 * SECTOR, None]


def test_a_machine_without_disks_has_no_counter(tmp_path: Path) -> None:
    assert reads_of(Disks(tmp_path, loop0=5)).read() == {}


def test_a_container_does_not_report_the_disks_of_its_machine(tmp_path: Path) -> None:
    machine = Disks(tmp_path, sda=1000)
    (tmp_path / ".dockerenv").touch()
    assert reads_of(machine).read() == {}
