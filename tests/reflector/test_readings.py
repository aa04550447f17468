"""How the agent reads the tables of an operating system, in examples."""

from __future__ import annotations

from typing import NamedTuple

import pytest

from mirror_stage.reflector import readings


class Temp(NamedTuple):
    label: str
    current: float | None
    high: float | None = None
    critical: float | None = None


class Part(NamedTuple):
    device: str
    mountpoint: str
    fstype: str
    opts: str = "rw"


class Times(NamedTuple):
    user: float = 0
    system: float = 0
    idle: float = 0
    iowait: float = 0
    guest: float = 0
    guest_nice: float = 0
    steal: float = 0


class WindowsTimes(NamedTuple):
    user: float = 0
    system: float = 0
    idle: float = 0


@pytest.mark.parametrize(
    ("name", "before", "after", "percent"),
    [
        ("half busy", Times(user=10, idle=10), Times(user=11, idle=11), 50.0),
        ("waiting for a disk is not busy", Times(), Times(user=1, idle=1, iowait=2), 25.0),
        ("guest time is within user time", Times(), Times(user=2, guest=2, idle=2), 50.0),
        ("a counter that falls counts as nothing", Times(idle=10, iowait=5), Times(user=1, idle=11, iowait=4), 50.0),
        ("idle", Times(), Times(idle=5), 0.0),
        ("no time passed", Times(user=1, idle=1), Times(user=1, idle=1), None),
        ("elsewhere there are fewer kinds of time", WindowsTimes(), WindowsTimes(user=1, system=2, idle=1), 75.0),
    ],
)
def test_busy_percent(name: str, before: Times, after: Times, percent: float | None):
    assert readings.busy_percent(before, after) == percent, name


@pytest.mark.parametrize(
    ("name", "after", "percent"),
    [
        ("idle time stands still at 8e18, 1 % is used", Times(user=0.05), 1.0),
        ("a CPU that does not tick is idle", Times(), 0.0),
        ("time is accounted for, but for a tick", Times(user=1, idle=3.98), 20.1),
        ("more than the clock says", Times(user=5, idle=15), 25.0),
        ("stolen time counts", Times(user=1, idle=2, steal=2), 60.0),
        ("stolen time runs wild", Times(user=1, idle=4, steal=8e7), 20.0),
        ("stolen time runs backwards", Times(user=1, idle=4, steal=-8e7), 20.0),
    ],
)
def test_busy_percent_uses_the_clock_if_the_counters_cover_less_than_half_of_it(
    name: str, after: Times, percent: float
):
    assert readings.busy_percent(Times(), after, expected_seconds=5) == percent, name


@pytest.mark.parametrize(
    ("name", "before", "after"),
    [
        ("a virtual machine has moved, its counters began anew", Times(user=900, idle=9000), Times(user=1, idle=40)),
        ("a counter of stolen time jumps", Times(user=1, idle=9), Times(user=10**9, idle=9)),
    ],
)
def test_impossible_counters_give_no_value(name: str, before: Times, after: Times):
    assert readings.busy_percent(before, after, expected_seconds=5) is None, name


DESKTOP = {
    "acpitz": [Temp("", 27.8)],
    "nvme": [Temp("Composite", 88.0)],
    "k10temp": [Temp("Tctl", 90.0), Temp("Tdie", 63.0), Temp("Tccd1", 65.5)],
    "amdgpu": [Temp("edge", 51.0), Temp("junction", 58.0), Temp("mem", 56.0)],
}


@pytest.mark.parametrize(
    ("name", "chips", "cpu", "gpu"),
    [
        ("a desktop: neither the disk nor an offset scale", DESKTOP, 65.5, 51.0),
        ("two sockets", {"coretemp": [Temp("Core 0", 41.0), Temp("Core 0", 55.0)]}, 55.0, None),
        ("k10temp without Tdie", {"k10temp": [Temp("Tctl", 61.0)]}, 61.0, None),
        ("zenpower", {"zenpower": [Temp("Tdie", 48.0), Temp("SVI2_P_Core", 12.0)]}, 48.0, None),
        ("a single-board computer", {"cpu_thermal": [Temp("", 52.1)]}, 52.1, None),
        ("the board where no CPU tells", {"acpitz": [Temp("", 30.0), Temp("", 44.0)]}, 44.0, None),
        ("the board does not outbid the CPU", {"acpitz": [Temp("", 99.0)], "coretemp": [Temp("", 40.0)]}, 40.0, None),
        ("sensors that are not connected", {"coretemp": [Temp("a", 65261.85), Temp("b", None)]}, None, None),
        ("sensors of a signed byte that are not connected", {"thinkpad": [Temp("CPU", 128.0), Temp("GPU", 127.0)], "acpitz": [Temp("", 48.0)]}, 48.0, None),
        ("GPUs of two makers", {"nouveau": [Temp("", 60.0)], "radeon": [Temp("", 70.0)]}, None, 70.0),
        ("none", {}, None, None),
        ("big and little cores", {"bigcore0-thermal": [Temp("", 64.0)], "littlecore": [Temp("", 60.0)], "npu_thermal": [Temp("", 99.0)]}, 64.0, None),
        ("a board's CPU before its package", {"package_thermal": [Temp("", 70.0)], "cpu0_thermal": [Temp("", 60.0)]}, 60.0, None),
        ("a board's package where no CPU tells", {"package_thermal": [Temp("", 70.0)], "gpu0-thermal": [Temp("", 60.0)]}, 70.0, 60.0),
        ("Tegra", {"CPU-therm": [Temp("", 41.0)], "GPU-therm": [Temp("", 42.0)], "PMIC-Die": [Temp("", 99.0)]}, 41.0, 42.0),
        ("Qualcomm", {"cpu0_silver_usr": [Temp("", 44.0)], "pm8998_tz": [Temp("", 99.0)]}, 44.0, None),
        ("a Dell", {"dell_smm": [Temp("CPU", 61.0), Temp("SODIMM", 80.0), Temp("GPU", 66.0)]}, 61.0, 66.0),
        ("an old Dell", {"dell_smm": [Temp("", 61.0), Temp("", 80.0)]}, 61.0, None),
        ("a ThinkPad without labels", {"thinkpad": [Temp("", 58.0), Temp("", 77.0)], "acpitz": [Temp("", 90.0)]}, 58.0, None),
        ("a Mac", {"macsmc_hwmon": [Temp("CPU P-Core 1", 66.0), Temp("NAND Flash Temperature", 80.0)]}, 66.0, None),
        ("a Mac that names no CPU", {"macsmc_hwmon": [Temp("Heatpipe 1", 50.0), Temp("Battery Hotspot", 80.0)]}, 50.0, None),
        ("a fan of the CPU is no CPU", {"asusec": [Temp("CPU VRM", 90.0), Temp("CPU", 60.0)]}, 60.0, None),
        ("a card with a junction only", {"amdgpu": [Temp("junction", 66.0), Temp("mem", 80.0)]}, None, 66.0),
        ("sensors without a meaning", {"k10temp": [Temp("Tctl", 37.9)], "nct6798": [Temp("TSI2_TEMP", 4e6)], "amdgpu": [Temp("edge", 511.0)]}, 37.9, None),
        ("a card without labels", {"amdgpu": [Temp("", 66.0)]}, None, 66.0),
        ("Jetson TX2", {"BCPU-therm": [Temp("", 41.0)], "MCPU-therm": [Temp("", 44.0)], "PLL-therm": [Temp("", 99.0)]}, 44.0, None),
        ("MediaTek", {"mtktscpu": [Temp("", 51.0)], "mtktspmic": [Temp("", 99.0)]}, 51.0, None),
        ("HiKey", {"cls0-thermal": [Temp("", 51.0)]}, 51.0, None),
        ("i.MX 8", {"a53-thermal": [Temp("", 51.0)], "a72-thermal": [Temp("", 55.0)], "pmic-thermal": [Temp("", 99.0)]}, 55.0, None),
        ("NXP Layerscape", {"core_cluster": [Temp("", 51.0)], "ddr_controller": [Temp("", 99.0)]}, 51.0, None),
        ("NXP LX2160A", {"cluster6_7_thermal": [Temp("", 51.0)], "wriop_thermal": [Temp("", 99.0)]}, 51.0, None),
        ("a laptop whose card is off", {"thinkpad": [Temp("CPU", 51.0), Temp("GPU", 0.0)]}, 51.0, None),
        ("VisionFive", {"sfctemp": [Temp("", 51.0)]}, 51.0, None),
        ("an old Raspberry Pi", {"bcm2835_thermal": [Temp("", 51.0)]}, 51.0, None),
        ("Marvell", {"armada_thermal": [Temp("", 51.0)]}, 51.0, None),
        ("Bay Trail", {"soc_dts0": [Temp("", 51.0)]}, 51.0, None),
        ("a Chromebook", {"cros_ec": [Temp("cpu_f75303@4d", 49.0), Temp("ambient_f75303@4d", 80.0)]}, 49.0, None),
        ("an HP workstation", {"hp_wmi_sensors": [Temp("CPU0 Thermal", 45.0), Temp("CPU1 DIMM", 80.0)]}, 45.0, None),
        ("POWER", {"ibmpowernv": [Temp("Chip 0 Core 8", 51.0), Temp("Chip 0 DIMM 2", 80.0)]}, 51.0, None),
        ("Ampere", {"smpro_hwmon": [Temp("temp1 SoC", 55.0), Temp("temp2 SoC VRD", 80.0)]}, 55.0, None),
        ("an AMD board whose k10temp is missing", {"nct6798": [Temp("SYSTIN", 80.0), Temp("TSI0_TEMP", 61.0)]}, 61.0, None),
    ],
)  # fmt: skip
def test_cpu_and_gpu_are_told_apart(name: str, chips: dict[str, list[Temp]], cpu: float | None, gpu: float | None):
    assert (readings.hottest_cpu(chips), readings.hottest_gpu(chips)) == (cpu, gpu), name


def test_temperatures_are_named_by_chip_and_label():
    assert readings.temperatures(
        {
            "coretemp": [Temp("Core 0", 41.0), Temp("Core 1", 42.0), Temp("Core 0", 55.0)],
            "acpitz": [Temp("", 27.8), Temp("", 29.8)],
            "nct6775": [Temp("AUXTIN0", 255.0), Temp("SYSTIN", float("nan")), Temp("PCH", 0.0)],
        }
    ) == {
        "coretemp:Core 0": 41.0,
        "coretemp:Core 1": 42.0,
        "coretemp:Core 0 #2": 55.0,
        "acpitz:1": 27.8,
        "acpitz:2": 29.8,
        "nct6775:PCH": 0.0,
    }


def test_the_mounts_of_a_device_are_one_disk_and_a_mounted_image_is_none():
    mounted = [
        Part("/dev/sda2", "/etc/hosts", "ext4"),
        Part("/dev/sda2", "/", "ext4"),
        Part("/dev/loop3", "/snap/core22/1122", "squashfs"),
        Part("/dev/sr0", "/media/cdrom", "iso9660"),
        Part("D:\\", "D:\\", ""),
        Part("/dev/sdb1", "/srv", "xfs"),
    ]
    assert [[mount.mountpoint for mount in disk] for disk in readings.by_device(mounted)] == [
        ["/", "/etc/hosts"],
        ["/srv"],
    ]


def test_a_file_system_is_read_only_if_nothing_can_write_to_it():
    mountinfo = (
        "22 1 0:29 / / ro,relatime - overlay composefs ro,seclabel,lowerdir+=/run/a\n"
        "23 22 8:4 /sysroot /sys\\040root ro,relatime shared:2 - xfs /dev/sda4 rw,seclabel\n"  # only this mount of it is
        "24 22 254:0 / /usr\\040local ro,relatime shared:3 master:1 - btrfs /dev/mapper/usr ro,rescue=nologreplay\n"
        "25 22 8:5 / /mnt ro - ext4 /dev/sda5 ro\n"
        "26 25 8:6 / /mnt rw - ext4 /dev/sda6 rw,errors=remount-ro\n"  # over the one before
        "torn line\n- ro\n"
    )
    assert readings.read_only_mounts(mountinfo) == {"/", "/usr local"}


def test_of_two_disks_on_one_mount_point_only_the_upper_one_is_seen():
    mounted = [
        Part("/dev/sda5", "/mnt", "ext4"),
        Part("/dev/sda5", "/srv/a", "ext4"),
        Part("/dev/sda6", "/mnt", "ext4"),
    ]
    assert [[(mount.device, mount.mountpoint) for mount in disk] for disk in readings.by_device(mounted)] == [
        [("/dev/sda6", "/mnt")],
        [("/dev/sda5", "/srv/a")],
    ]


@pytest.mark.parametrize(("count", "sizes"), [(0, []), (3, [1, 1, 1]), (5, [2, 2, 1])])
def test_disks_are_grouped_only_if_there_are_too_many(count: int, sizes: list[int]):
    groups = readings.in_groups(range(count), 3)
    assert [len(group) for group in groups] == sizes
    assert sorted(disk for group in groups for disk in group) == list(range(count))


@pytest.mark.parametrize(
    ("arcstats", "to_be_had"),
    [
        ("9 1 0x01\nname type data\nsize 4 100\nc_min 4 30\n", 70),
        ("size 4 20\nc_min 4 30\n", 0),
        ("size 4 20\n", 0),
        ("size 4 x\nc_min 4 30\n", 0),
        ("", 0),
    ],
)
def test_the_zfs_cache_above_its_minimum_counts_as_available(arcstats: str, to_be_had: int):
    assert readings.reclaimable_arc_bytes(arcstats) == to_be_had


@pytest.mark.parametrize(
    ("cpuinfo", "model"),
    [
        ("processor\t: 0\nvendor_id\t: AuthenticAMD\nmodel\t\t: 1\nmodel name\t: AMD EPYC\n", "AMD EPYC"),
        ("processor\t: 0\nBogoMIPS\t: 108.00\n\nHardware\t: BCM2835\n", "BCM2835"),
        ("processor\t: 0\ncpu\t\t: POWER9, altivec supported\n", "POWER9, altivec supported"),
        ("", None),
    ],
)
def test_the_name_of_the_cpu_is_found_under_each_of_its_keys(cpuinfo: str, model: str | None):
    assert readings.cpu_model(cpuinfo) == model


@pytest.mark.parametrize(
    ("text", "meaning"),
    [
        (" Dell Inc.\n", "Dell Inc."),
        ("Raspberry Pi 4 Model B\0", "Raspberry Pi 4 Model B"),
        ("To Be Filled By O.E.M.", None),
        ("\n", None),
        (None, None),
        ("x" * 200, "x" * 160),
    ],
)
def test_a_text_of_a_vendor_is_cleaned_and_a_placeholder_is_no_value(text: str | None, meaning: str | None):
    assert readings.meaningful(text) == meaning


@pytest.mark.parametrize(
    ("cpuinfo", "xen", "is_guest"),
    [
        ("processor\t: 0\nflags\t\t: fpu hypervisor arat\n", "", True),
        ("processor\t: 0\nflags\t\t: fpu hypervisor arat\n", "control_d\n", False),
        ("processor\t: 0\nflags\t\t: fpu arat\nmodel name : hypervisor\n", "", False),
        ("processor\t: 0\nFeatures\t: fp asimd\n", "", False),
        ("", "", False),
    ],
)
def test_a_virtual_machine_is_known_by_its_cpu(cpuinfo: str, xen: str, is_guest: bool):
    assert readings.is_guest(cpuinfo, xen) == is_guest


def test_only_a_cpu_that_is_at_100_everywhere_may_be_invented():
    assert readings.may_be_invented("coretemp", [Temp("Package id 0", 100.0), Temp("Core 0", 100.0)])
    assert not readings.may_be_invented("coretemp", [Temp("Package id 0", 100.0), Temp("Core 0", 99.0)])
    assert not readings.may_be_invented("amdgpu", [Temp("edge", 100.0)])


def test_os_release_is_read_as_a_shell_would() -> None:
    text = (
        'NAME="Debian GNU/Linux"\n# a comment\nVERSION_ID=\'12\'\nID=debian\nodd line\nHOME="a \\"b\\" \\$c"\nNAME2=\n'
    )
    found = readings.os_release(text)
    assert found == {
        "NAME": "Debian GNU/Linux", "VERSION_ID": "12", "ID": "debian", "HOME": 'a "b" $c', "NAME2": "",
    }  # fmt: skip
    assert readings.os_release("") == {}
