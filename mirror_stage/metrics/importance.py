"""Which entries of a list that is too long stay: the most important ones. Pure. EGO and the agent cut by the same rules.

An entry may be of any form, because EGO cuts a list before it checks the entries that are left.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping
from itertools import islice
from types import SimpleNamespace
from typing import Any

from mirror_stage.metrics.domain import is_always_full, is_virtual

TAGS_READ_BY_EGO = frozenset(
    {"uplink", "room", "tier", "display_name", "primary_interface", "primary_interface_speed_mbps",
     "interface_speed_mbps", "link_speed_mbps"}
)  # fmt: skip
# Patterns of the names of chips with CPU sensors, from best to worst.
CPU_TIERS = tuple(re.compile(pattern) for pattern in (
    r"coretemp|k10temp|k8temp|zenpower|via_cputemp|(ap_)?cpu(?!.*(fan|vrm))[\d_a-z]*"
    r"|(big|little|mid|prime)_?(core|cpu)\d*(_thermal)?|(big|little|core|cluster|atlas|apollo|mpu|cls|a\d\d)\d*_?thermal|core_cluster|cluster\d+_\d+_therm(al)?"
    r"|[bm]cpu_?therm(al)?|mtktscpu|tcpu(_pci)?",
    r"x86_pkg_temp|pkg_temp_\d+|soc_dts\d+|(package|pkg|soc|ap|tj|imx|main|rockchip|armada|bcm\d*)\d*_?therm(al)?(_zone)?"
    r"|thermal_fan_est|scpi_sensors|sfctemp",
))  # fmt: skip

# How many entries of a list EGO keeps. It drops bad entries of these lists; all other fields are strict.
DIAGNOSTICS_MAX = {"cpu_per_core": 1_024, "disks": 64, "interfaces": 64, "temperatures": 256, "top_processes": 50}
# Entries of a list that are looked at: about as many real ones as fit into a sample. 20,000 empty ones would take 50 ms.
RANKED_MAX = 1_100

Rank = Callable[[Any], Any]  # an entry's importance: a row of the list; of an object, a pair of name and value


def most_important(entries: Any, most: int, rank: Rank | None) -> Any:
    """The `most` entries of a list or an object with the highest rank, in their order. Without a rank, the first ones.

    Only the first RANKED_MAX entries can stay.
    """
    if len(entries) <= most:
        return entries
    rows = list(islice(entries.items() if isinstance(entries, Mapping) else entries, RANKED_MAX))
    places: Collection[int] = range(len(rows))
    if rank is not None:
        places = sorted(places, key=lambda place: rank(rows[place]), reverse=True)
    kept = [rows[place] for place in sorted(list(places)[:most])]
    return dict(kept) if isinstance(entries, Mapping) else kept


def ranks(primary: Any, under_primary: Collection[str] = ()) -> Mapping[str, Rank | None]:
    """The rank of the entries of each list of a sample, by the list's name; None where the first ones stay.

    `primary` is the name of the sample's primary interface, `under_primary` are those below it; both may be unknown.
    """
    return {
        "cpu_per_core": None,
        "disks": _of_disk,
        "interfaces": lambda row: _of_interface(row, primary, under_primary),
        "tags": lambda pair: pair[0] in TAGS_READ_BY_EGO,
        "temperatures": _of_temperature,
        "top_processes": lambda row: (_number(row, "cpu_percent"), _number(row, "memory_percent")),
    }


def is_cpu_chip(chip: str) -> bool:
    """Whether the name of a chip or a thermal zone is that of a CPU."""
    return any(tier.fullmatch(plain_chip(chip)) for tier in CPU_TIERS)


def plain_chip(chip: str) -> str:
    """The name of a chip as the patterns have it."""
    return chip.lower().replace("-", "_")


def _of_interface(row: Any, primary: Any, under_primary: Collection[str]) -> Any:
    """The primary one and those below it, then those that are up, then cards before virtual ones, then the busiest."""
    name = _text(row, "name")
    is_up = isinstance(row, Mapping) and row.get("is_up") is True
    traffic = _number(row, "bytes_sent") + _number(row, "bytes_recv")
    return name == primary, name in under_primary, is_up, not is_virtual(name), traffic


def _of_disk(row: Any) -> Any:
    """The root, then the fullest; those that are full by nature come last."""
    disk = SimpleNamespace(**{name: _text(row, name) for name in ("device", "mountpoint", "fstype")})
    disk.is_read_only = isinstance(row, Mapping) and row.get("is_read_only") is True
    return disk.mountpoint == "/", not is_always_full(disk), _number(row, "used_percent")


def _of_temperature(pair: tuple[str, Any]) -> Any:
    """The CPU's, then the hottest."""
    name, celsius = pair
    return is_cpu_chip(name.partition(":")[0]), _number({"": celsius}, "")


def _text(row: Any, member: str) -> str:
    value = row.get(member) if isinstance(row, Mapping) else None
    return value if isinstance(value, str) else ""


def _number(row: Any, member: str) -> float:
    """A member of a row as a finite number; 0 where it is none."""
    value = row.get(member) if isinstance(row, Mapping) else None
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not abs(value) < 1e300:
        return 0.0
    return float(value)
