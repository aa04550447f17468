"""A small fleet whose states are known."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest
from playwright.sync_api import expect

from tests.builders import make_sample
from tests.servers import EgoServer, running_ego

expect.set_options(timeout=40_000)  # two browsers may draw in software on two cores

# A host stays online for longer than any test takes.
PATIENT = {"MIRROR_STAGE_STALE_AFTER_SECONDS": "3600", "MIRROR_STAGE_OFFLINE_AFTER_SECONDS": "7200"}
MARKUP = "<img src=x onerror=\"document.title='owned'\"><script>document.title='owned'</script>"


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EgoServer]:
    """24 hosts in 3 racks: `hot-01` is in warning, `full-01` in critical, `liar` sends markup; the others are ok."""
    with running_ego(tmp_path_factory.mktemp("fleet"), PATIENT) as ego:
        post_fleet(ego)
        yield ego


def post_fleet(ego: EgoServer) -> None:
    """Two samples of each host, a second apart, so that there are rates."""
    now = datetime.now(UTC)
    for age, seconds in ((2, 0), (1, 1)):
        at = (now - timedelta(seconds=age)).isoformat()
        well = [
            make_sample(
                f"web-{number:02}", at=at, cpu_percent=10 + number, rack=f"R{1 + number % 3}", ip=f"10.0.1.{number}",
                cpu_temperature=40 + number / 2, primary_interface_speed_mbps=1000,
                net_bytes_rx=seconds * 1_000_000, net_bytes_tx=0,
            )
            for number in range(1, 22)
        ]  # fmt: skip
        hot = make_sample("hot-01", at=at, cpu_percent=97, rack="R1", ip="10.0.2.1")
        full = make_sample(
            "full-01", at=at, rack="R2", ip="10.0.2.2", primary_interface_speed_mbps=10,
            net_bytes_rx=seconds * 1_500_000, net_bytes_tx=0,
        )  # fmt: skip
        liar = make_sample("liar", at=at, rack=MARKUP[:64], tags={"display_name": MARKUP, "room": MARKUP})
        assert ego.post_samples(*well, hot, full, liar).status_code == 202
