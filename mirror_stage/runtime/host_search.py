"""The search of `hosts forget --where`: terms, all of which must hold. Pure.

Its words are those of the HUD's search (hud/web/src/store/search.ts) and mean the same. It removes what it finds, so it is
stricter: a value is compared whole, and a term that means nothing is an error, not a word to look for.
"""

from __future__ import annotations

import operator
import re
import shlex
from collections.abc import Callable, Mapping
from typing import Any, Optional

from mirror_stage.core.bad_setting import BadSetting
from mirror_stage.core.instants import from_text

Entry = Mapping[str, Any]  # a host as the snapshot of the twin shows it, with its `link` and `ageSeconds`
Matches = Callable[[Entry], bool]
Reader = Callable[[Entry], Optional[float]]

FIELDS = {
    "name": "hostname",
    "ip": "ip",
    "rack": "rack",
    "room": "room",
    "tier": "tier",
    "platform": "platform",
    "agent": "agentVersion",
    "uplink": "uplink",
}


def _is_ok(entry: Entry) -> bool:
    return entry["status"] == "online" and entry["severity"] not in {"warning", "critical"}


STATES: Mapping[str, Matches] = {
    "ok": _is_ok,
    "warning": lambda entry: entry["status"] == "online" and entry["severity"] == "warning",
    "critical": lambda entry: entry["status"] == "online" and entry["severity"] == "critical",
    "stale": lambda entry: entry["status"] == "stale",
    "offline": lambda entry: entry["status"] == "offline",
    "online": lambda entry: entry["status"] == "online",
    "problem": lambda entry: not _is_ok(entry),
    "simulated": lambda entry: entry["agentVersion"].endswith("+simulated"),
}


def _metric(name: str, times: float = 1) -> Reader:
    return lambda entry: _product(entry["metrics"][name], times)


def _of_link(name: str, times: float = 1) -> Reader:
    return lambda entry: _product((entry["link"] or {}).get(name), times)


def _product(value: float | None, times: float) -> float | None:
    return None if value is None else value * times


NUMBERS: Mapping[str, Reader] = {  # in the units of the HUD: percent, degrees, Gbit/s, MB/s, seconds
    "cpu": _metric("cpuLoad"),
    "mem": _metric("memoryUsedPercent"),
    "disk": _metric("fullestDiskPercent"),
    "daystofull": _metric("diskDaysToFull"),
    "load": _metric("loadAverage"),
    "temp": _metric("cpuTemperature"),
    "gpu": _metric("gpuTemperature"),
    "net": _of_link("throughputGbps"),
    "rx": _of_link("rxGbps"),
    "tx": _of_link("txGbps"),
    "util": _of_link("utilization", 100),
    "read": _metric("diskReadBytesPerSecond", 1e-6),
    "age": lambda entry: entry["ageSeconds"],
}
COMPARE: Mapping[str, Callable[[float, float], bool]] = {
    ">": operator.gt,
    ">=": operator.ge,
    "<": operator.lt,
    "<=": operator.le,
    "=": operator.eq,
}
ALIASES = {"memory": "mem", "host": "name", "address": "ip", "temperature": "temp"}
NOT_HERE = {  # words of the HUD that could find nobody
    "role": "only machines can be forgotten, and the hub and EGO's own host stay",
    "is:virtual": "a virtual host is no machine, and stays",
}
HELP = f"""a term of --where is one of:
  web-07, 'web-*'      the hostname; * and ? stand for any characters, here and below
  rack:R1              the whole value of {", ".join(FIELDS)}
  is:simulated         {", ".join(STATES)}
  'cpu>80'             {", ".join(NUMBERS)},
                       compared by > >= < <= or =; age is the seconds since the last sample
  -TERM                not what TERM finds
All terms must hold: --where 'is:simulated is:offline -rack:R1'"""
_CONDITION = re.compile(r"([A-Za-z]+)(:|[<>]=?|=)(.*)", re.DOTALL)


def hosts_of(state: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The hosts of a snapshot that can be forgotten, each with its `link` (None if unmeasured) and `ageSeconds`."""
    links = {link["target"]: link for link in state["links"] if link["measured"]}
    now = from_text(state["generatedAt"])
    return [
        {
            **host,
            "link": _known(links.get(host["hostname"])),
            "ageSeconds": host["lastSeen"] and (now - from_text(host["lastSeen"])) / 1000,
        }
        for host in state["hosts"]
        if host["role"] == "host" and not host["isSynthetic"]
    ]


def _known(link: dict[str, Any] | None) -> dict[str, Any] | None:
    """A link without the utilization that nobody knows."""
    return link if link is None or link["capacityGbps"] is not None else {**link, "utilization": None}


def parse(text: str) -> Matches:
    """Whether a host is meant by a search. Raises BadSetting for a term that means nothing, and if no term says who."""
    try:
        terms = shlex.split(text)
    except ValueError as error:
        raise BadSetting(f"--where: {text!r}: {error}") from error
    if all(term.startswith("-") for term in terms):
        raise BadSetting("--where: no term says which hosts are meant; '*' means all of them")
    wanted = [_term(term) for term in terms if not term.startswith("-")]
    spared = [_term(term[1:]) for term in terms if term.startswith("-")]
    return lambda entry: all(term(entry) for term in wanted) and not any(term(entry) for term in spared)


def _term(text: str) -> Matches:
    condition = _CONDITION.fullmatch(text)
    word, sign, value = condition.groups() if condition else ("name", ":", text)
    word = ALIASES.get(word.lower(), word.lower())
    for refused in (word, f"{word}:{value.lower()}"):
        if refused in NOT_HERE:
            raise BadSetting(f"--where: {text!r} makes no sense here: {NOT_HERE[refused]}")
    if sign == ":" and word == "is" and value.lower() in STATES:
        return STATES[value.lower()]
    if sign == ":" and word in FIELDS and value:
        key, form = FIELDS[word], re.compile(re.escape(value).replace(r"\*", ".*").replace(r"\?", "."))
        return lambda entry: form.fullmatch(entry[key] or "") is not None
    limit = _number(value)
    if word not in NUMBERS or sign == ":" or limit is None:
        words = ", ".join((*(f"{field}:" for field in FIELDS), *(f"is:{state}" for state in STATES)))
        raise BadSetting(
            f"--where: {text!r} means nothing here: use a hostname, {words}, or a comparison such as cpu>80 of "
            f"{', '.join(NUMBERS)}"
        )
    read, compare = NUMBERS[word], COMPARE[sign]
    return lambda entry: (value := read(entry)) is not None and compare(value, limit)


def _number(text: str) -> float | None:
    """A limit: 80, 80%, 60°C, 30s."""
    found = re.fullmatch(r"(-?\d+(?:\.\d+)?)(?:%|°[cC]?|s)?", text)
    return float(found[1]) if found else None
