"""T18: a step of the server's clock moves no lease, status or job; an agent's wrong clock is reported in time."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mirror_stage.core.instants import DAY, HOUR, SECOND, Instant, from_text
from tests.builders import make_sample
from tests.faults.agents import claimed, command
from tests.faults.stepped_clock import SteppedClock
from tests.servers import EgoServer, slowness, wait_until

STEPS = (3600.0, 0.0, -3600.0, 86_400.0, -86_400.0, 0.0)
UNUSUAL_TIMES = {  # what EGO takes, and the instant that it means
    "2026-03-01T12:00:00,5Z": "2026-03-01T12:00:00.500Z",
    "2026-03-01t12:00:00z": "2026-03-01T12:00:00.000Z",
    "20260301T120000Z": "2026-03-01T12:00:00.000Z",
    "2026-03-01T12:00:00-23:59": "2026-03-02T11:59:00.000Z",
    "2026-03-01T12:00:00.123456789012345678Z": "2026-03-01T12:00:00.123Z",
    "2026-03-01T12:00:00+00:00:30": "2026-03-01T11:59:30.000Z",
}
BAD_TIMES = (
    "", " ", "now", "2026", "2026-03", "2026-03-01", "2026-W09-7", "2026-060", "2026-03-01T24:00:00Z", "2026-03-01T23:59:60Z",
    "2026-03-01T12", "2026-03-01T12:00:00+24:00", "0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00", "1969-12-31T23:59:59Z",
    "2026-02-30T12:00:00Z", "P1D", "1772366400", "2026-03-01T12:00:00 Europe/Berlin", "\u0662\u0660\u0662\u0666-03-01T12:00:00Z",
    "2026-03-01T12:00:00Z\x00", "+2026-03-01T12:00:00Z", "2026-03-01T12:00:00Z/2026-03-02T12:00:00Z", "2026-13-01T00:00:00Z",
)  # fmt: skip


def true_now() -> Instant:
    return int(time.time() * 1000)


def state(ego: EgoServer) -> dict[str, Any]:
    return dict(ego.get("/api/twin/state").json())


def status_of(ego: EgoServer, host: str) -> str:
    return next(entry["status"] for entry in state(ego)["hosts"] if entry["hostname"] == host)


@pytest.fixture
def stepped(start_ego: Callable[..., EgoServer], tmp_path: Path) -> tuple[EgoServer, SteppedClock]:
    clock = SteppedClock(tmp_path)
    return start_ego(
        {"MIRROR_STAGE_STALE_AFTER_SECONDS": "4", "MIRROR_STAGE_OFFLINE_AFTER_SECONDS": "8"} | clock.settings
    ), clock


def test_stepping_the_servers_clock_moves_nothing(stepped: tuple[EgoServer, SteppedClock]) -> None:
    """A host reports each half second while the clock is stepped by hours and days: it never leaves `online`."""
    ego, clock = stepped
    id = claimed(ego, "stepped", timeoutSeconds=120)
    lease = from_text(command(ego, id)["leaseUntil"])
    statuses, jumps, noticed = [], [], 0
    for step in STEPS:
        clock.step_to(step)
        apart = f"{step:+.0f} s"
        for _ in range(5):
            ego.post_samples(make_sample("stepped", at=true_now())).raise_for_status()
            jumps.append(abs(from_text(state(ego)["generatedAt"]) - true_now()))
            statuses.append(status_of(ego, "stepped"))
            time.sleep(0.5)  # the host's interval
        check = ego.get("/api/health/ready").json()["checks"]["clock"]
        noticed += int(step == 0 or (not check["ok"] and apart in check["detail"].replace(",", "")))
    after = command(ego, id)
    error = abs(from_text(after["leaseUntil"]) - lease)
    print(
        f"T18: steps {len(STEPS)}, noticed {noticed}, status flaps {len(statuses) - statuses.count('online')}, lease error {error} ms"
    )
    assert noticed == len(STEPS)  # the fault fired
    assert set(statuses) == {"online"}
    assert (after["status"], error) == ("running", 0)
    assert max(jumps) < 3 * SECOND


def test_jobs_continue_after_the_clock_was_set_back(stepped: tuple[EgoServer, SteppedClock]) -> None:
    """APScheduler plans by the wall clock. The sweep still finds silent hosts, and commands still expire."""
    ego, clock = stepped
    ego.post_samples(make_sample("silent", at=true_now())).raise_for_status()
    clock.step_to(-86_400)
    answer = ego.post("/api/commands", json={"hostname": "nobody", "command": "true", "expiresInSeconds": 2})
    wait_until(lambda: status_of(ego, "silent") == "offline", 15, what="silence is found")
    wait_until(lambda: command(ego, answer.json()["id"])["reason"] == "expired", 10, what="the command expires")


def test_a_clock_that_leaps_by_years_stalls_nobody(stepped: tuple[EgoServer, SteppedClock]) -> None:
    """EGO does not step through the runs of its jobs that the leap has skipped: there would be a billion."""
    ego, clock = stepped
    clock.step_to(10 * 365 * 86_400)
    wait_until(lambda: not ego.get("/api/health/ready").json()["checks"]["clock"]["ok"], 15, what="EGO sees the step")
    for _ in range(10):
        began = time.monotonic()
        ego.post_samples(make_sample("calm", at=true_now())).raise_for_status()
        assert time.monotonic() - began < 2 * slowness()
        time.sleep(0.3)  # longer than the period of the most frequent job
    assert status_of(ego, "calm") == "online"


def test_an_agents_wrong_clock_is_reported_and_its_host_stays_online(start_ego: Callable[..., EgoServer]) -> None:
    ego, started = start_ego(), time.monotonic()
    offsets = {"day-ahead": DAY, "day-behind": -DAY, "hour-ahead": HOUR, "hour-behind": -HOUR}
    ego.post_samples(*(make_sample(name, at=true_now() - 60_000) for name in offsets)).raise_for_status()

    def skewed() -> bool:
        samples = [make_sample(name, at=true_now() + offset, cpu_percent=33) for name, offset in offsets.items()]
        ego.post_samples(*samples).raise_for_status()
        alerts = ego.get("/api/alerts/active").json()
        return {alert["hostname"] for alert in alerts if alert["metric"] == "clock_skew"} == set(offsets)

    wait_until(skewed, 15, every=0.3, what="clock_skew of each")
    print(f"T18: offsets {len(offsets)}, reported after {time.monotonic() - started:.1f} s")
    hosts = {host["hostname"]: host for host in state(ego)["hosts"]}
    assert {name: hosts[name]["status"] for name in offsets} == dict.fromkeys(offsets, "online")
    assert {name: hosts[name]["metrics"]["cpuLoad"] for name in offsets} == dict.fromkeys(offsets, 33)


def test_an_unusual_timestamp_means_one_instant_and_a_bad_one_is_refused(start_ego: Callable[..., EgoServer]) -> None:
    ego = start_ego()
    for number, (text, meant) in enumerate(UNUSUAL_TIMES.items()):
        assert ego.post_samples(make_sample(f"unusual-{number}", at=text)).status_code == 202, text
        assert ego.get(f"/api/hosts/unusual-{number}").json()["reportedAt"] == meant, text
    for text in BAD_TIMES:
        answer = ego.post_samples(make_sample("bad", at=text))
        assert answer.status_code == 400, (text, answer.text)
        assert [row["field"] for row in answer.json()["errors"]] == ["timestamp"], text
