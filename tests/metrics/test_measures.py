"""One table names the numbers of a host: what is written by hand beside it agrees with it."""

from __future__ import annotations

from dataclasses import fields

from mirror_stage.metrics.domain import Sample
from mirror_stage.metrics.measures import COUNTERS, MEASURES, OF_LINK, OF_SAMPLE, RATES, REPORTED, names_of, wires_of
from mirror_stage.twin.domain import GAUGES
from tests.builders import decoded, make_sample


def test_a_sample_has_the_fields_of_the_table_in_its_order() -> None:
    names = [field.name for field in fields(Sample)]
    first = names.index(OF_SAMPLE[0].name)
    assert tuple(names[first : first + len(OF_SAMPLE)]) == names_of(OF_SAMPLE)
    assert {one.name for one in OF_LINK if one.is_stored} <= set(names)


def test_each_number_of_a_sample_arrives_in_its_own_field() -> None:
    sent = {one.name: n for n, one in enumerate(REPORTED, 1)}
    told = {"primary_interface_speed_mbps": 77_000, "disks": [{"mountpoint": "/", "used_percent": 88}]}
    sample = decoded(make_sample(**sent, **told))[0]
    expected = sent | {"net_capacity_gbps": 77, "fullest_disk_percent": 88}
    assert {name: getattr(sample, name) for name in expected} == expected


def test_every_rate_is_that_of_a_counter_that_agents_report_and_the_history_keeps() -> None:
    assert all(one.counter is not None for one in RATES)
    assert set(COUNTERS) <= {one.name for one in REPORTED if one.is_whole and one.is_stored}


def test_no_two_numbers_have_one_name() -> None:
    assert len({one.name for one in MEASURES}) == len({one.wire for one in MEASURES}) == len(MEASURES)


def test_the_columns_of_the_delta_stream_are_those_that_the_contract_lists() -> None:
    assert GAUGES == (
        "cpuLoad", "memoryUsedPercent", "loadAverage", "cpuTemperature", "gpuTemperature", "fullestDiskPercent",
        "diskReadBytesPerSecond", "rxGbps", "txGbps", "utilization",
    )  # fmt: skip
    assert set(GAUGES) <= set(wires_of(MEASURES))
