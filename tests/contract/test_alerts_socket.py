"""docs/contract.md, section 3, `/alerts`: `alert-update`."""

from __future__ import annotations

import time
from functools import partial
from typing import Any

from tests.builders import make_sample, unique_hostname
from tests.contract.clients import Listener, listening
from tests.contract.wire import ALERT_KEYS, active_alerts, post, settled, ungrouped
from tests.servers import PATIENCE, EgoServer, wait_until


def updates_of(listener: Listener, hostname: str) -> list[dict[str, Any]]:
    """The updates about one host."""
    return [update for update in listener.of("alert-update") if update["alert"]["hostname"] == hostname]


def all_heard(listener: Listener, hostnames: set[str], transition: str) -> bool:
    """Whether there was this transition for each of these hosts."""
    updates = listener.of("alert-update")
    return hostnames <= {update["alert"]["hostname"] for update in updates if update["transition"] == transition}


def test_fired_and_resolved_are_sent_at_once_with_rising_versions(ego: EgoServer) -> None:
    hostname = unique_hostname()
    with listening(ego, "/alerts") as listener:
        started = time.monotonic()
        post(ego, make_sample(hostname, cpu_percent=90))
        wait_until(lambda: updates_of(listener, hostname), 2)
        assert time.monotonic() - started < 1.5 * PATIENCE  # not the ten seconds of an update
        active = active_alerts(ego, hostname)["cpu_load_high"]
        post(ego, make_sample(hostname, cpu_percent=10))
        wait_until(lambda: len(updates_of(listener, hostname)) == 2, 2)
        fired, resolved = updates_of(listener, hostname)
    assert fired | {"alert": ungrouped(fired["alert"])} == {
        "transition": "fired",
        "version": 1,
        "alert": ungrouped(active),
    }
    assert (resolved["transition"], resolved["version"]) == ("resolved", 2)
    assert resolved["alert"].keys() == ALERT_KEYS
    assert (resolved["alert"]["id"], resolved["alert"]["status"]) == (active["id"], "resolved")
    assert resolved["alert"]["resolvedAt"] is not None
    rows = ego.get("/api/alerts", params={"hostname": hostname}).json()["items"]
    assert [*map(ungrouped, rows)] == [ungrouped(resolved["alert"])]
    assert set(listener.events()) <= {"alert-update", "group-update"}


def test_every_alert_of_a_sample_is_sent(ego: EgoServer) -> None:
    hostname = unique_hostname()
    with listening(ego, "/alerts") as listener:
        post(ego, make_sample(hostname, cpu_percent=90, memory_used_percent=95, gpu_temperature=90))
        wait_until(lambda: len(updates_of(listener, hostname)) == 3, 2)
        metrics = {update["alert"]["metric"] for update in updates_of(listener, hostname)}
        assert metrics == {"cpu_load_high", "memory_high", "gpu_temperature_high"}


def test_a_burst_of_alerts_reaches_every_client_and_cuts_none(ego: EgoServer) -> None:
    stem = unique_hostname("burst")
    hot = {f"{stem}-{n:03d}" for n in range(600)}
    with listening(ego, "/alerts") as web, listening(ego, "/digital-twin") as other:
        for load, transition in ((95, "fired"), (5, "resolved")):
            post(ego, *(make_sample(hostname, cpu_percent=load) for hostname in hot))
            wait_until(partial(all_heard, web, hot, transition), 10)
        assert not web.disconnected.is_set()
        assert not other.disconnected.is_set()


def test_a_new_value_is_sent_at_most_every_ten_seconds_and_only_if_it_rounds_differently(hasty_ego: EgoServer) -> None:
    hostname = unique_hostname()
    with listening(hasty_ego, "/alerts") as listener:
        post(hasty_ego, make_sample(hostname, cpu_percent=90))
        fired_at = time.monotonic()
        wait_until(lambda: updates_of(listener, hostname), 2)
        load = 90.0
        while time.monotonic() - fired_at < 9:
            load = 95.0 if load != 95.0 else 96.0
            post(hasty_ego, make_sample(hostname, cpu_percent=load))
            assert active_alerts(hasty_ego, hostname)["cpu_load_high"]["currentValue"] == load  # it moves in memory
            time.sleep(0.4)
        assert [update["transition"] for update in updates_of(listener, hostname)] == ["fired"]
        wait_until(lambda: time.monotonic() - fired_at > 10.3, 3)
        post(hasty_ego, make_sample(hostname, cpu_percent=90.01))  # rounds to the value that was sent last
        settled(hasty_ego)
        assert len(updates_of(listener, hostname)) == 1
        post(hasty_ego, make_sample(hostname, cpu_percent=97))
        wait_until(lambda: len(updates_of(listener, hostname)) == 2, 2)
        update = updates_of(listener, hostname)[1]
        assert (update["transition"], update["version"], update["alert"]["currentValue"]) == ("updated", 2, 97)
        post(hasty_ego, make_sample(hostname, cpu_percent=98))
        post(hasty_ego, make_sample(hostname, cpu_percent=5))
        wait_until(lambda: len(updates_of(listener, hostname)) == 3, 2)
        resolved = updates_of(listener, hostname)[2]
        assert (resolved["transition"], resolved["version"]) == ("resolved", 3)


def test_silence_and_its_end_are_sent(hasty_ego: EgoServer) -> None:
    hostname = unique_hostname()
    with listening(hasty_ego, "/alerts") as listener:
        post(hasty_ego, make_sample(hostname, cpu_percent=90))
        wait_until(lambda: len(updates_of(listener, hostname)) == 3, 8, what="fired, offline, resolved with it")
        seen = {(row["transition"], row["alert"]["metric"]): row["alert"] for row in updates_of(listener, hostname)}
        assert seen.keys() == {
            ("fired", "cpu_load_high"),
            ("fired", "host_offline"),
            ("resolved", "cpu_load_high"),
        }
        assert seen["resolved", "cpu_load_high"]["resolvedReason"] == "host-offline"
        assert seen["fired", "host_offline"]["severity"] == "critical"
        post(hasty_ego, make_sample(hostname))
        wait_until(lambda: len(updates_of(listener, hostname)) == 4, 2)
        last = updates_of(listener, hostname)[-1]
        assert (last["transition"], last["alert"]["metric"]) == ("resolved", "host_offline")


def test_a_client_hears_only_its_own_namespace(ego: EgoServer) -> None:
    hostname = unique_hostname()
    with listening(ego, "/alerts") as alerts, listening(ego, "/commands") as commands:
        post(ego, make_sample(hostname, cpu_percent=90))
        wait_until(lambda: updates_of(alerts, hostname), 2)
        assert commands.events() == []
