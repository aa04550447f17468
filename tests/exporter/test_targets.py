"""What Prometheus is told to scrape."""

from __future__ import annotations

from dataclasses import replace

import pytest

from mirror_stage.exporter.targets import of_ego, of_hosts
from mirror_stage.twin.domain import Host, Role, Status
from tests.exporter.samples import host


@pytest.mark.parametrize(
    ("scheme", "asked", "target"),
    [
        ("http", "127.0.0.1:3000", "127.0.0.1:3000"),
        ("https", "ego.example.org:3000", "ego.example.org:3000"),
        ("https", "ego.example.org", "ego.example.org:443"),
        ("http", "ego.example.org", "ego.example.org:80"),
        ("https", "[2001:db8::1]:3000", "[2001:db8::1]:3000"),
        ("http", "[2001:db8::1]", "[2001:db8::1]:80"),
    ],
)
def test_ego_is_where_the_client_has_found_it(scheme: str, asked: str, target: str) -> None:
    assert of_ego(scheme, asked) == [
        {"targets": [target], "labels": {"__scheme__": scheme, "__metrics_path__": "/metrics"}}
    ]


def test_a_program_on_a_host_has_the_name_and_the_place_of_the_host() -> None:
    found = of_hosts([host("titan-01", ip="10.0.0.5", rack="R1", tags={"room": "cellar", "tier": "db"})], 9100)
    assert found == [
        {
            "targets": ["10.0.0.5:9100"],
            "labels": {
                "instance": "titan-01",
                "rack": "R1",
                "room": "cellar",
                "role": "host",
                "__meta_mirror_stage_status": "online",
                "__meta_mirror_stage_platform": "Linux-x86_64",
                "__meta_mirror_stage_tier": "db",
            },
        }
    ]


def test_an_ipv6_address_stands_in_brackets() -> None:
    (found,) = of_hosts([replace(host(), ip="2001:db8::5")], 9100)
    assert found["targets"] == ["[2001:db8::5]:9100"]


def test_a_host_that_is_offline_stays_a_target() -> None:
    """Prometheus then says that it is down; whoever wants it otherwise drops it by its label."""
    (found,) = of_hosts([host(ip="10.0.0.5", status=Status.OFFLINE)], 9100)
    assert found["labels"]["__meta_mirror_stage_status"] == "offline"


def test_a_hub_that_nobody_reports_and_a_host_without_an_address_are_no_targets() -> None:
    hub = Host(1, "core-switch", Role.HUB, (0.0, 0.0, 0.0), ip="10.0.0.1")
    assert of_hosts([hub, replace(host(), ip=None)], 9100) == []
