"""Makes a sample valid before the agent sends it, so that EGO accepts it. Pure.

EGO refuses a whole sample for one bad value. So here a bad value becomes unknown, a text that is too long is cut, and a
list that is too long keeps its most important entries. The rules are those of `docs/contract.md` section 1, Metrics.
"""

from __future__ import annotations

import json
import math
import re
import socket
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from mirror_stage.core.names import HOSTNAME_MAX, BadField, normalise_hostname
from mirror_stage.metrics import importance
from mirror_stage.metrics.importance import DIAGNOSTICS_MAX, Rank, most_important
from mirror_stage.metrics.measures import REPORTED, Measure, names_of

REQUIRED = names_of(one for one in REPORTED if one.is_needed)  # what `unknown` may name
SAMPLE_BYTES_MAX = 63 * 1024  # the contract's 64 KiB, less room for two tags that are added later
ENTRIES_MAX = {**DIAGNOSTICS_MAX, "tags": 62}  # of tags the contract's 64, less the two that are added later
UNDER_PRIMARY = "under_primary"  # for this check alone: the interfaces below the primary one, which stay with it
TEXT_MAX = 1024  # for texts without a limit in the contract
WHOLE_MAX = 2**53 - 1  # the largest whole number that every JSON reader keeps exactly
NAMELESS = "nameless-host"

# C0, C1, bidi marks and line separators; halves of surrogate pairs are replaced on the way to UTF-8
_CONTROLS = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]")

Fields = dict[str, Any]


class Unfit(ValueError):
    """Why a value is not valid. The text does not hold the value, so that it is the same for all values of the kind."""


@dataclass(frozen=True)
class Complaint:
    """A field that was changed, and why. `field` is a path without list indexes: `disks.used_percent`."""

    field: str
    why: str
    value: str


Tell = Callable[[str, str, Any], None]
Check = Callable[[Any, str, Tell], Any]  # returns the valid value; raises Unfit if the value becomes unknown


def fit(sample: Mapping[str, Any]) -> tuple[Fields, list[Complaint]]:
    """The sample in a form that EGO accepts, and the changes that this took.

    `unknown` names the required values that are missing.
    """
    complaints: dict[tuple[str, str], Complaint] = {}

    def tell(field: str, why: str, value: Any) -> None:
        complaints.setdefault((field, why), Complaint(field, why, repr(value)[:80]))

    fitted = _members(sample, TABLE, "", tell)
    fitted["hostname"] = fitted.get("hostname", NAMELESS)
    unknown = [name for name in REQUIRED if name not in fitted]
    if unknown:
        fitted["unknown"] = unknown
    ranks = importance.ranks(fitted.get("primary_interface"), sample.get(UNDER_PRIMARY, ()))
    _short_enough(fitted, ranks, tell)
    _small_enough(fitted, ranks, tell)
    return fitted, list(complaints.values())


def _members(values: Mapping[str, Any], table: Mapping[str, Check], path: str, tell: Tell) -> Fields:
    """The valid members of an object. Members that are not in the table are left out."""
    fitted: Fields = {}
    for name, check in table.items():
        value = values.get(name)
        if value is None:
            continue
        try:
            fitted[name] = check(value, path + name, tell)
        except Unfit as why:
            tell(path + name, str(why), value)
    return fitted


# ---------------------------------------------------------------- checks


def _number(least: float = -math.inf, most: float = math.inf) -> Check:
    def check(value: Any, _path: str, _tell: Tell) -> float:
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise Unfit("is no number")
        try:
            finite = math.isfinite(value)
        except OverflowError:
            finite = False
        if not finite or not least <= value <= most:
            raise Unfit(f"is not within {least:g} to {most:g}" if finite else "is not finite")
        return value

    return check


def _positive(value: Any, path: str, tell: Tell) -> float:
    number: float = _number(0)(value, path, tell)
    if number == 0:
        raise Unfit("is not above 0")
    return number


def _whole(value: Any, path: str, tell: Tell) -> int:
    number = _number(0, WHOLE_MAX)(value, path, tell)
    if number != int(number):
        raise Unfit("is no whole number")
    return int(number)


def _truth(value: Any, _path: str, _tell: Tell) -> bool:
    if not isinstance(value, bool):
        raise Unfit("is neither true nor false")
    return value


def _text(most: int = TEXT_MAX, least: int = 0) -> Check:
    def check(value: Any, path: str, tell: Tell) -> str:
        if not isinstance(value, str):
            raise Unfit("is no text")
        text = clean(value)
        if len(text) < least:
            raise Unfit("is empty")
        if len(text) > most:
            tell(path, f"is longer than {most} characters and cut", value)
        return text[:most]

    return check


def clean(text: str) -> str:
    """The text as valid Unicode, without control characters and direction (bidi) marks."""
    return _CONTROLS.sub("", text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace"))


def _or(stand_in: str, check: Check) -> Check:
    """A check for a value that must not be missing: `stand_in` replaces a bad value."""

    def with_stand_in(value: Any, path: str, tell: Tell) -> Any:
        try:
            return check(value, path, tell)
        except Unfit as why:
            tell(path, str(why), value)
            return stand_in

    return with_stand_in


def _hostname(value: Any, path: str, tell: Tell) -> str:
    text: str = _text()(value, path, tell)
    try:
        return normalise_hostname(text)
    except BadField as error:
        tell(path, error.message, value)
    try:
        return normalise_hostname(re.sub(r"[/\\%]|[^\x20-\x7e]", "", text)[:HOSTNAME_MAX])
    except BadField as error:
        raise Unfit(error.message) from error


def _ipv4(value: Any, _path: str, _tell: Tell) -> str:
    try:
        return socket.inet_ntoa(socket.inet_pton(socket.AF_INET, value))
    except (OSError, TypeError, ValueError) as error:
        raise Unfit("is no IPv4 address") from error


def _one_of(*choices: str) -> Check:
    def check(value: Any, _path: str, _tell: Tell) -> str:
        if value not in choices:
            raise Unfit(f"is none of {', '.join(choices)}")
        return str(value)

    return check


def _object(table: Mapping[str, Check]) -> Check:
    def check(value: Any, path: str, tell: Tell) -> Fields:
        if not isinstance(value, Mapping):
            raise Unfit("is no object")
        return _members(value, table, path + ".", tell)

    return check


def _rows(naming: str, table: Mapping[str, Check]) -> Check:
    """A check for a list of objects: those without the member `naming` are left out."""
    row = _object(table)

    def check(value: Any, path: str, tell: Tell) -> list[Fields]:
        rows = _each(value, path, tell, row)
        named = [one for one in rows if naming in one]
        if len(named) < len(rows):
            tell(path, f"has entries without {naming}, which are left out", "")
        return named

    return check


def _list(of: Check) -> Check:
    def check(value: Any, path: str, tell: Tell) -> list[Any]:
        return _each(value, path, tell, of)

    return check


def _by_name(of: Check) -> Check:
    def check(value: Any, path: str, tell: Tell) -> Fields:
        if not isinstance(value, Mapping):
            raise Unfit("is no object")
        pairs = _each(value.items(), path, tell, lambda pair, path, tell: tuple(
            part(one, path, tell) for part, one in zip((_text(), of), pair)
        ))  # fmt: skip
        return dict(pairs)

    return check


def _each(values: Any, path: str, tell: Tell, check: Check) -> list[Any]:
    """The valid entries of a list."""
    if isinstance(values, (str, bytes, Mapping)) or not isinstance(values, Iterable):
        raise Unfit("is no list")
    fitted = []
    for value in values:
        try:
            fitted.append(check(value, path, tell))
        except Unfit as why:
            tell(path, f"has an entry that {why} and is left out", value)
    return fitted


# ---------------------------------------------------------------- the table


def _reading(measure: Measure) -> Check:
    """The check of a number of the table that EGO goes by."""
    if measure.is_whole:
        return _whole
    least, most = measure.least, measure.most
    return _number(-math.inf if least is None else least, math.inf if most is None else most)


_PERCENT = _number(0, 100)
_COUNTERS = ("bytes_sent", "bytes_recv", "packets_sent", "packets_recv", "errin", "errout", "dropin", "dropout")
_HARDWARE = ("system_manufacturer", "system_model", "bios_version", "cpu_model", "os_distro", "os_release", "os_kernel")

TABLE: Mapping[str, Check] = {
    "hostname": _hostname,
    "timestamp": _text(),
    **{one.name: _reading(one) for one in REPORTED},
    "load_average": _number(0),  # EGO takes any number, but no machine has a load below zero
    "agent_version": _or("unknown", _text(200, 1)),
    "platform": _or("unknown", _text(200, 1)),
    "ip": _ipv4,
    "rack": _text(64),
    "position": _object(dict.fromkeys("xyz", _number())),
    **dict.fromkeys(_HARDWARE, _text(160)),
    "cpu_physical_cores": _whole,
    "cpu_logical_cores": _whole,
    "primary_interface_speed_mbps": _number(0),
    "tags": _by_name(_text()),
    "cpu_per_core": _list(_number(0)),
    "disks": _rows(
        "mountpoint",
        {
            "device": _text(), "mountpoint": _text(least=1), "fstype": _text(),
            "total_bytes": _whole, "used_bytes": _whole, "used_percent": _PERCENT,
            "is_read_only": _truth,
        },
    ),
    "interfaces": _rows(
        "name",
        {"name": _text(least=1), **dict.fromkeys(_COUNTERS, _whole), "speed_mbps": _number(0), "is_up": _truth},
    ),
    "temperatures": _by_name(_number()),
    "top_processes": _rows(
        "name",
        {
            "pid": _whole, "name": _text(), "username": _text(),
            "cpu_percent": _number(0), "memory_percent": _number(0),
        },
    ),
    "command_policy": _one_of("off", "allow_list", "all"),
    "interval_seconds": _positive,
    "agent_instance": _text(64, 1),
    "primary_interface": _text(64, 1),
}  # fmt: skip


def _short_enough(sample: Fields, ranks: Mapping[str, Rank | None], tell: Tell) -> None:
    """Cut each list to as many entries as EGO takes."""
    for name, most in ENTRIES_MAX.items():
        entries = sample.get(name, ())
        if len(entries) > most:
            tell(name, f"has more than {most} entries; the most important ones are kept", len(entries))
            sample[name] = most_important(entries, most, ranks[name])


def _small_enough(sample: Fields, ranks: Mapping[str, Rank | None], tell: Tell) -> None:
    """Cut a sample to SAMPLE_BYTES_MAX, by halving its longest list again and again."""
    while _size(sample) > SAMPLE_BYTES_MAX:
        longest = max((name for name in ENTRIES_MAX if sample.get(name)), key=lambda name: _size(sample[name]))
        entries = sample[longest]
        tell(longest, f"makes the sample larger than {SAMPLE_BYTES_MAX // 1024} KiB and is cut", len(entries))
        sample[longest] = most_important(entries, len(entries) // 2, ranks[longest])


def _size(value: Any) -> int:
    """The size of a value as JSON, in bytes."""
    return len(json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode())
