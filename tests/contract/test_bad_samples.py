"""T5: one bad sample among a hundred. Strict: 400, its index, nothing stored. Lenient: the other 99 are stored."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.builders import make_sample, unique_hostname
from tests.contract.wire import ago, assert_problem, post
from tests.servers import EgoServer

# name: (the field that is named, bad members as JSON text). It is text, because Python cannot express all of these.
KINDS: dict[str, tuple[str, dict[str, str]]] = {
    "a number in quotes": ("cpu_load", {"cpu_load": '"42.5"'}),
    "true for 1": ("cpu_load", {"cpu_load": "true"}),
    "null where a number must be": ("cpu_load", {"cpu_load": "null"}),
    "a list where a number must be": ("load_average", {"load_average": "[1]"}),
    "an object where a number must be": ("uptime_seconds", {"uptime_seconds": "{}"}),
    "1e400": ("cpu_load", {"cpu_load": "1e400"}),
    "a whole number of 5,000 digits": ("uptime_seconds", {"uptime_seconds": "9" * 5_000}),
    "a negative load": ("cpu_load", {"cpu_load": "-0.1"}),
    "more memory than there is": ("memory_used_percent", {"memory_used_percent": "100.1"}),
    "less memory than none": ("memory_used_percent", {"memory_used_percent": "-1"}),
    "a negative uptime": ("uptime_seconds", {"uptime_seconds": "-5"}),
    "2^63 bytes": ("net_bytes_tx", {"net_bytes_tx": str(2**63)}),
    "2^53 bytes": ("net_bytes_rx", {"net_bytes_rx": str(2**53)}),
    "an interval of nothing": ("interval_seconds", {"interval_seconds": "0"}),
    "a negative interval": ("interval_seconds", {"interval_seconds": "-5"}),
    "a negative counter": ("net_bytes_rx", {"net_bytes_rx": "-1"}),
    "a fraction of a byte": ("net_bytes_tx", {"net_bytes_tx": "12.7"}),
    "a fraction of a core": ("cpu_logical_cores", {"cpu_logical_cores": "1.5"}),
    "negative bytes of memory": ("memory_total_bytes", {"memory_total_bytes": "-1"}),
    "an empty platform": ("platform", {"platform": '""'}),
    "a platform of 201 characters": ("platform", {"platform": json.dumps("p" * 201)}),
    "a number as version": ("agent_version", {"agent_version": "1"}),
    "a hostname that is blank": ("hostname", {"hostname": '"  "'}),
    "a hostname of 121 characters": ("hostname", {"hostname": json.dumps("h" * 121)}),
    "a hostname with a slash": ("hostname", {"hostname": '"a/b"'}),
    "a hostname with a backslash": ("hostname", {"hostname": r'"a\\b"'}),
    "a hostname with a per cent": ("hostname", {"hostname": '"a%2Fb"'}),
    "a hostname of two dots": ("hostname", {"hostname": '".."'}),
    "a hostname with NUL": ("hostname", {"hostname": r'"a\u0000b"'}),
    "a hostname with ESC": ("hostname", {"hostname": r'"a\u001b[31mb"'}),
    "a hostname with a line break inside": ("hostname", {"hostname": r'"a\nb"'}),
    "a hostname with a bidi mark": ("hostname", {"hostname": r'"a\u202eb"'}),
    "a hostname with half of a surrogate pair": ("hostname", {"hostname": r'"a\ud800b"'}),
    "half of a surrogate pair in a tag": ("tags", {"tags": r'{"room": "\udfff"}'}),
    "NUL in a tag": ("tags", {"tags": r'{"room": "a\u0000"}'}),
    "a tag that is a number": ("tags", {"tags": '{"room": 7}'}),
    "65 tags": ("tags", {"tags": json.dumps({f"t{n}": "x" for n in range(65)})}),
    "no time at all": ("timestamp", {"timestamp": '"yesterday"'}),
    "a date without a time": ("timestamp", {"timestamp": '"2026-03-01"'}),
    "the 31st of February": ("timestamp", {"timestamp": '"2026-02-31T12:00:00Z"'}),
    "the year 1969": ("timestamp", {"timestamp": '"1969-12-31T23:59:59.999Z"'}),
    "the year 2101": ("timestamp", {"timestamp": '"2101-01-01T00:00:00Z"'}),
    "year 1 west of Greenwich": ("timestamp", {"timestamp": '"0001-01-01T00:00:00+14:00"'}),
    "a Unix time": ("timestamp", {"timestamp": "1762000000"}),
    "an address of IPv6": ("ip", {"ip": '"fe80::1"'}),
    "an address out of range": ("ipv4", {"ipv4": '"10.0.0.256"'}),
    "an address with a line break": ("ip", {"ip": r'"10.0.0.1\n"'}),
    "a rack of 65 characters": ("rack", {"rack": json.dumps("R" * 65)}),
    "a place that is a list": ("position", {"position": "[1, 2, 3]"}),
    "a coordinate in quotes": ("position.y", {"position": '{"x": 1, "y": "2"}'}),
    "a model of 161 characters": ("cpu_model", {"cpu_model": json.dumps("c" * 161)}),
    "a negative speed": ("primary_interface_speed_mbps", {"primary_interface_speed_mbps": "-1"}),
    "swap beyond all": ("swap_used_percent", {"swap_used_percent": "100.5"}),
    "a policy of its own": ("command_policy", {"command_policy": '"maybe"'}),
    "no hostname": ("hostname", {"hostname": ""}),
    "no timestamp": ("timestamp", {"timestamp": ""}),
    "no load": ("cpu_load", {"cpu_load": ""}),
    "no load, and another one unknown": ("cpu_load", {"cpu_load": "", "unknown": '["load_average"]'}),
    "an unknown platform": ("platform", {"platform": "null", "unknown": '["platform"]'}),
    "unknown that is no list": ("unknown", {"unknown": '"cpu_load"'}),
    "no platform": ("platform", {"platform": ""}),
    "no object at all": ("", {}),
}  # fmt: skip


def as_json(sample: dict[str, Any], wrong: dict[str, str]) -> str:
    """A sample as JSON text, with members replaced; an empty text leaves one out."""
    members = {name: json.dumps(value) for name, value in sample.items()} | wrong
    return "{%s}" % ", ".join(f'"{name}": {text}' for name, text in members.items() if text)


@pytest.mark.parametrize(("field", "wrong"), KINDS.values(), ids=KINDS.keys())
def test_one_bad_sample_among_a_hundred_is_named_and_only_a_lenient_batch_stores_the_rest(
    sqlite_ego: EgoServer, field: str, wrong: dict[str, str]
) -> None:
    hostname, place = unique_hostname("fleet"), 1 + len(field) * 7 % 98
    good = [make_sample(hostname, at=ago(200 - n)) for n in range(99)]
    rows = [json.dumps(sample) for sample in good]
    rows.insert(place, as_json(make_sample(hostname), wrong) if wrong else '"a sample"')
    body = ('{"samples": [%s]}' % ", ".join(rows)).encode()
    headers = {"Content-Type": "application/json"}

    problem = assert_problem(sqlite_ego.post("/api/metrics/batch", data=body, headers=headers), 400)
    assert {row["index"] for row in problem["errors"]} == {place}
    assert {blamed(row["field"], field) for row in problem["errors"]} == {field}

    lenient = sqlite_ego.post("/api/metrics/batch", data=body, headers=headers | {"Prefer": "handling=lenient"})
    assert lenient.status_code == 202
    receipt = lenient.json()
    assert (receipt["accepted"], receipt["rejected"]) == (99, 1)
    assert "duplicates" not in receipt  # so the strict request had stored nothing
    assert receipt["errors"] == problem["errors"]
    assert post(sqlite_ego, *good)["duplicates"] == 99  # and the lenient request has stored the 99


def blamed(found: str, field: str) -> str:
    """`field`, if `found` is one of its members; else `found`."""
    return field if found.startswith(f"{field}.") else found


def test_an_agent_that_drops_the_named_samples_succeeds_with_its_second_request(ego: EgoServer) -> None:
    hostname = unique_hostname("fleet")
    spool = [make_sample(hostname, at=f"2026-03-01T13:00:{n % 60:02d}.{n}Z") for n in range(100)]
    for place in (0, 41, 99):
        spool[place] = spool[place] | {"cpu_load": "high"}
    named = {row["index"] for row in assert_problem(ego.post_samples(*spool), 400)["errors"]}
    assert named == {0, 41, 99}
    kept = [sample for place, sample in enumerate(spool) if place not in named]
    assert post(ego, *kept)["accepted"] == 97


def test_a_lenient_batch_without_a_good_sample_is_refused(ego: EgoServer) -> None:
    bad = make_sample(unique_hostname(), cpu_load=-1)
    problem = assert_problem(ego.post_samples(bad, bad, headers={"Prefer": "handling=lenient"}), 400)
    assert [row["index"] for row in problem["errors"]] == [0, 1]
