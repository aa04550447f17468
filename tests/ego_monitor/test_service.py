"""EGO as a host of its own twin."""

from __future__ import annotations

import logging
from dataclasses import replace

import psutil
import pytest

from mirror_stage.core.config import Config
from mirror_stage.core.instants import Instant
from mirror_stage.core.version import VERSION
from mirror_stage.ego_monitor.service import EgoMonitor, ego_hostname
from mirror_stage.metrics.domain import Sample
from mirror_stage.runtime import jobs
from mirror_stage.web.services import Services

NOW: Instant = 1_762_000_000_000


class SetClock:
    """A clock that stands still."""

    def now(self) -> Instant:
        return NOW


class Submitted(list[list[Sample]]):
    """What was submitted; refuses as long as `refusal` is set."""

    refusal: Exception | None = None

    def __call__(self, samples: list[Sample]) -> None:
        if self.refusal is not None:
            raise self.refusal
        self.append(samples)


CONFIG = Config(testing=True, ego_hostname="ego-01")


def make_monitor(submitted: Submitted, config: Config = CONFIG, *, is_reported_by_agent: bool = False) -> EgoMonitor:
    return EgoMonitor(config, submitted, lambda: is_reported_by_agent, SetClock())  # type: ignore[arg-type]


@pytest.fixture
def submitted() -> Submitted:
    return Submitted()


def test_the_first_sample_is_there_at_once_and_stamped(submitted: Submitted):
    make_monitor(submitted).observe()
    [[sample]] = submitted
    assert (sample.hostname, sample.agent_version, sample.received_at) == ("ego-01", f"ego-{VERSION}", NOW)
    assert sample.memory_total_bytes == psutil.virtual_memory().total
    assert sample.is_newest_of_request


def test_it_shows_itself_as_the_settings_say(submitted: Submitted):
    config = replace(CONFIG, ego_display_name="이고", ego_primary_ip="10.0.0.100", ego_rack="R0")
    make_monitor(submitted, config).observe()
    [[sample]] = submitted
    assert (sample.ip, sample.rack) == ("10.0.0.100", "R0")
    assert sample.tags is not None
    assert sample.tags["display_name"] == "이고"


def test_the_speed_of_the_primary_interface_is_its_capacity(submitted: Submitted, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("mirror_stage.reflector.links.capacity_mbps", lambda _name, _links: 25_000)
    make_monitor(submitted).observe()
    [[sample]] = submitted
    assert sample.tags is not None
    assert sample.tags["primary_interface_speed_mbps"] == "25000"
    assert sample.net_capacity_gbps == 25


def test_it_yields_while_an_agent_reports_the_same_host(submitted: Submitted, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("mirror_stage.reflector.collector.Collector.sample", lambda _self: pytest.fail("it looked"))
    make_monitor(submitted, is_reported_by_agent=True).observe()
    assert submitted == []


@pytest.mark.parametrize(
    ("machine", "hostname"),
    [
        (" ego-01\n", "ego-01"),
        ("이고", "이고"),
        ("", "ego"),
        ("a/b", "ego"),
        ("x" * 200, "ego"),
        ("..", "ego"),
        ("a\0b", "ego"),
    ],
)
def test_a_machine_with_an_odd_name_is_called_ego(machine: str, hostname: str):
    assert ego_hostname(replace(CONFIG, ego_hostname=machine)) == hostname


def test_a_failure_is_one_line_once_and_the_next_sample_is_tried(
    submitted: Submitted, caplog: pytest.LogCaptureFixture
):
    monitor = make_monitor(submitted)
    submitted.refusal = OSError("the disk\nis full")
    with caplog.at_level(logging.WARNING):
        monitor.observe()
        monitor.observe()
    assert [record.getMessage() for record in caplog.records] == [
        "EGO cannot observe itself: OSError: the disk is full"
    ]
    submitted.refusal = None
    monitor.observe()
    assert len(submitted) == 1


def test_a_setting_that_no_sample_can_have_costs_itself_and_is_said(
    submitted: Submitted, caplog: pytest.LogCaptureFixture
):
    with caplog.at_level(logging.WARNING):
        make_monitor(submitted, replace(CONFIG, ego_primary_ip="fe80::1", ego_rack="R" * 65)).observe()
    [[sample]] = submitted
    assert (sample.ip, sample.rack) == (None, "R" * 64)
    said = [record.getMessage() for record in caplog.records]
    assert said == [
        "a sample's ip is no IPv4 address: 'fe80::1'",
        f"a sample's rack is longer than 64 characters and cut: {repr('R' * 65)[:80]}",
    ]


def test_the_job_observes(submitted: Submitted):
    jobs.observe_ego(Services(make_monitor(submitted)))
    assert len(submitted) == 1
