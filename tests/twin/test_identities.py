"""The identities of a host are limited: so many at once, then one an hour. The newest is saved when EGO stops."""

from __future__ import annotations

from mirror_stage.core.instants import HOUR, MINUTE, SECOND, Instant
from mirror_stage.twin.domain import IDENTITIES_MAX
from mirror_stage.twin.geometry import ORIGIN
from mirror_stage.twin.state import Twin
from tests.builders import SetClock, decoded, make_sample


def twin_of(*hostnames: str) -> Twin:
    twin = Twin(hub="hub", hub_ip="10.0.0.1", ego="ego", stale_after_seconds=15, offline_after_seconds=60)
    for number, hostname in enumerate(hostnames, 1):
        twin.add(number, hostname, ORIGIN)
    return twin


def report(twin: Twin, hostname: str, at: Instant, tag: object) -> None:
    for sample in decoded(make_sample(hostname, at=at, tags={"uptime": str(tag)}), received_at=at):
        twin.fold(sample)


def test_a_tag_that_changes_with_every_sample_makes_a_row_an_hour() -> None:
    twin, now = twin_of("busy", "calm"), SetClock().now()
    saved = {1: 0, 2: 0}
    for second in range(0, 2 * 3600, 5):
        at = now + second * SECOND
        report(twin, "busy", at, second)
        report(twin, "calm", at, second // 3600)
        for identity in twin.take_identities(at):
            saved[identity.host_id] += 1
    assert IDENTITIES_MAX <= saved[1] <= IDENTITIES_MAX + 2
    assert saved[2] == 2


def test_what_is_saved_at_last_is_the_newest() -> None:
    twin, now = twin_of("busy"), SetClock().now()
    for second in range(60):
        report(twin, "busy", now + second * SECOND, second)
        twin.take_identities(now + second * SECOND)
    at = now + 59 * SECOND
    assert twin.take_identities(at + MINUTE) == []
    later = twin.take_identities(at + HOUR)
    assert [identity.tags for identity in later] == [{"uptime": "59"}]
    assert [identity.since for identity in later] == [at]
    report(twin, "busy", at + HOUR + SECOND, "last")
    assert [one.tags for one in twin.take_identities(at + HOUR + SECOND, is_last=True)] == [{"uptime": "last"}]
