"""Which disks count: none that is always full, and none twice."""

from __future__ import annotations

from typing import Any

import pytest

from mirror_stage.metrics.domain import Sample
from tests.builders import decoded, make_sample


def sample_with(*disks: dict[str, Any]) -> Sample:
    return decoded(make_sample("a", disks=list(disks)))[0]


def disk(
    mountpoint: str, percent: float | None, device: str = "", fstype: str = "ext4", total: int = 0
) -> dict[str, Any]:
    return {"mountpoint": mountpoint, "used_percent": percent, "device": device, "fstype": fstype, "total_bytes": total}


@pytest.mark.parametrize(
    ("mountpoint", "fstype"),
    [
        ("/snap/core22/1380", "squashfs"),
        ("/snap/core22/1380", "fuse.snapfuse"),
        ("/media/cdrom", "iso9660"),
        ("D:\\", "CDFS"),
        ("/sys/firmware/efi/efivars", "efivarfs"),
        ("/dev", "devtmpfs"),
        ("/var/lib/docker/overlay2/1a2b/merged", "overlay"),
        ("/run/containers/merged", "overlay"),
        ("/home/a/.local/share/containers/storage/overlay/1a2b/merged", "fuse.fuse-overlayfs"),
        ("/tmp/.mount_kritaXyZ", "fuse.krita.AppImage"),
        ("/opt/app", "fuse.squashfuse_ll"),
        ("/dev/fd", "fdescfs"),
        ("/proc", "procfs"),
        ("/compat/linux/proc", "linprocfs"),
        ("/compat/linux/sys", "linsysfs"),
        ("/usr/jails/www/usr/ports", "nullfs"),
        ("/kern", "kernfs"),
        ("/etc/mnttab", "mntfs"),
        ("/Library/Developer/CoreSimulator/Volumes/watchOS_22T572", "apfs"),
    ],
)
def test_a_disk_that_is_always_full_does_not_count(mountpoint: str, fstype: str) -> None:
    sample = sample_with(disk("/", 40), disk(mountpoint, 100, fstype=fstype))
    assert (sample.disks_used_percent, sample.fullest_disk_percent) == ({"/": 40}, 40)


def test_the_root_of_a_container_is_its_disk() -> None:
    assert sample_with(disk("/", 93, "overlay", "overlay")).disks_used_percent == {"/": 93}


def test_the_image_of_a_system_that_is_updated_as_a_whole_is_always_full() -> None:
    host = sample_with(disk("/", 100, "composefs", "overlay"), disk("/var", 31, "/dev/sda4", "xfs"))
    assert (host.disks_used_percent, host.fullest_disk_percent) == ({"/var": 31}, 31)


def test_what_nothing_can_write_to_does_not_count() -> None:
    host = sample_with(disk("/", 31), disk("/usr", 97, fstype="btrfs") | {"is_read_only": True})
    assert (host.disks_used_percent, host.fullest_disk_percent) == ({"/": 31}, 31)


@pytest.mark.parametrize("order", [1, -1])
def test_a_disk_that_is_mounted_several_times_is_one_disk_with_its_shortest_mountpoint(order: int) -> None:
    mounts = [disk("/home", 92.1, "/dev/sda2", "btrfs", 10**12), disk("/", 92, "/dev/sda2", "btrfs", 10**12)]
    mounts.append(disk("/var/lib/x", 92.2, "/dev/sda2", "btrfs", 10**12))
    assert sample_with(*mounts[::order]).disks_used_percent == {"/": 92}


def dataset(name: str, used: int, free: int, mountpoint: str = "") -> dict[str, Any]:
    row = disk(mountpoint or f"/{name}", round(100 * used / (used + free), 1), name, "zfs", used + free)
    return row | {"used_bytes": used}


@pytest.mark.parametrize("order", [1, -1])
def test_the_datasets_of_a_pool_are_one_disk_that_they_fill_together(order: int) -> None:
    datasets = [dataset("tank", 0, 50_000), dataset("tank/a", 450_000, 50_100), dataset("tank/b", 500_000, 49_900)]
    datasets += [dataset("tank/b", 500_000, 49_900, "/srv/b"), dataset("backup", 10, 90)]
    host = sample_with(disk("/", 40), *datasets[::order])
    assert host.disks_used_percent == {"/": 40, "/tank": 95.0, "/backup": 10.0}
    assert host.fullest_disk_percent == 95.0


def test_a_dataset_with_a_quota_is_a_disk_of_its_own() -> None:
    host = sample_with(dataset("tank", 100_000, 900_000), dataset("tank/a", 97, 3), dataset("tank/b", 100_000, 900_000))
    assert host.disks_used_percent == {"/tank": 18.2, "/tank/a": 97.0}


def test_a_full_pool_is_full() -> None:
    host = sample_with(dataset("tank", 1, 0), dataset("tank/a", 10, 0), dataset("tank/b", 5, 0))
    assert host.disks_used_percent == {"/tank": 100.0}


def test_two_disks_of_one_size_are_two() -> None:
    both = sample_with(disk("/a", 50, "/dev/sda1", total=10), disk("/b", 60, "/dev/sdb1", total=10))
    assert both.disks_used_percent == {"/a": 50, "/b": 60}


def test_one_mountpoint_named_twice_is_one() -> None:
    twice = sample_with(disk("/a", 50, "/dev/sda1", total=10), disk("/a", 51, "/dev/sda1", total=10))
    assert twice.disks_used_percent == {"/a": 51}


def test_a_disk_without_a_figure_is_unknown() -> None:
    assert sample_with(disk("/", None)).fullest_disk_percent is None


@pytest.mark.parametrize("percent", [-5, -0.1, 200.1, 65_535, 1e300])
def test_a_disk_that_says_what_cannot_be_is_unknown(percent: float) -> None:
    odd = sample_with(disk("/", percent, "/dev/sda1", total=10), disk("/srv", 40))
    assert (odd.fullest_disk_percent, odd.disks_used_percent) == (40, {"/srv": 40})
    pool = sample_with(disk("/tank", percent, "tank", "zfs", total=10))
    assert (pool.fullest_disk_percent, pool.disks_used_percent) == (None, {})


def test_a_quota_that_is_exceeded_is_full() -> None:
    assert sample_with(disk("/home", 104.5)).fullest_disk_percent == 104.5
