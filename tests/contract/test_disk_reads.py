"""What the disks of a host read: from the counter of its samples to the twin, the past and the history."""

from __future__ import annotations

import csv
from typing import Any

import pytest

from tests.builders import make_sample, unique_hostname
from tests.contract.wire import ago, host_of, now, post, settled, shown
from tests.servers import EgoServer

MIB = 2**20


def read_rates(ego: EgoServer, hostname: str, start: Any, step: int) -> list[float]:
    """The averages of the history around `start`, without the gaps."""
    query = {"metrics": "diskReadBytesPerSecond", "from": ago(600, start), "to": ago(-60, start), "stepSeconds": step}
    answer = ego.get(f"/api/hosts/{hostname}/history", params=query)
    assert answer.status_code == 200, answer.text
    columns = answer.json()["metrics"]["diskReadBytesPerSecond"]
    known = [value for value in columns["avg"] if value is not None]
    assert sum(columns["count"]) >= len(known)
    return known


@pytest.mark.parametrize("mib", [5, 50_000])  # a second; what four bytes cannot count in bytes is counted all the same
def test_what_disks_read_arrives_in_the_twin_and_in_every_form_of_the_past(ego: EgoServer, mib: int) -> None:
    hostname, start = unique_hostname(), now()
    post(ego, make_sample(hostname, at=ago(12, start), disk_read_bytes=7))
    assert shown(ego, hostname)["metrics"]["diskReadBytesPerSecond"] is None
    receipt = post(ego, make_sample(hostname, at=ago(2, start), disk_read_bytes=7 + 10 * mib * MIB))
    assert shown(ego, hostname)["metrics"]["diskReadBytesPerSecond"] == mib * MIB
    assert read_rates(ego, hostname, start, 1) == read_rates(ego, hostname, start, 60) == [mib * MIB]
    post(ego, make_sample(hostname, at=ago(1, start), disk_read_bytes=7 + 10 * mib * MIB))
    past = ego.get("/api/twin/state", params={"at": receipt["receivedAt"]}).json()
    found = host_of(past, hostname)
    assert found is not None
    assert found["metrics"]["diskReadBytesPerSecond"] == mib * MIB
    query = {"metrics": "diskReadBytesPerSecond", "from": ago(60, start), "to": ago(0, start), "stepSeconds": 1}
    answer = ego.get(f"/api/hosts/{hostname}/history", params=query | {"format": "csv"})
    rows = list(csv.DictReader(answer.text.splitlines()))
    assert max(float(row["diskReadBytesPerSecond_max"] or 0) for row in rows) == mib * MIB


def test_a_counter_that_fell_is_unknown_and_a_late_sample_is_measured(ego: EgoServer) -> None:
    hostname, start = unique_hostname(), now()
    post(ego, make_sample(hostname, at=ago(20, start), disk_read_bytes=1000 * MIB))
    post(ego, make_sample(hostname, at=ago(10, start), disk_read_bytes=5 * MIB))
    frame = settled(ego)
    found = host_of(frame, hostname)
    assert found is not None
    assert found["metrics"]["diskReadBytesPerSecond"] is None
    assert read_rates(ego, hostname, start, 1) == []
    post(ego, make_sample(hostname, at=ago(15, start), disk_read_bytes=1010 * MIB))
    assert read_rates(ego, hostname, start, 1) == [2 * MIB]
