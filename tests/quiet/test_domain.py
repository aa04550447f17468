"""What silences and maintenance cover, and when they hold."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mirror_stage.alerts.domain import Alert
from mirror_stage.core.instants import DAY, HOUR, MINUTE, Instant, from_text
from mirror_stage.core.selector import Labels, parse
from mirror_stage.quiet.domain import (
    CREATED,
    KINDS,
    MAINTENANCE,
    SILENCE,
    Maintenance,
    Silence,
    Version,
    body_of,
    is_broad,
    span_trouble,
    suppressions,
    weekly_from,
    weekly_said,
    what_from,
)
from mirror_stage.quiet.mute_times import MuteTime

NOW = from_text("2026-03-01T12:00Z")
GRACE = 6 * MINUTE
RACK = Labels("web-1", rack="R1", tags={"env": "prod"})


def alert(metric: str = "cpu_load_high", severity: str = "warning", subject: str | None = None) -> Alert:
    return Alert("a", "web-1", metric, "cpuLoad", severity, 80, 91, NOW, NOW, subject)


def silence(where: str | None = "rack:R1", rule: str | None = None, **fields: object) -> Silence:
    one = Silence(None if where is None else parse(where), rule, None, None, "critical", NOW, NOW + HOUR, "")
    return replace(one, **fields)  # type: ignore[arg-type]


def version(what: Silence | Maintenance, kind: str = SILENCE, id: str = "s1") -> Version:
    return Version(kind, id, 1, NOW, "ada", CREATED, what)


@pytest.mark.parametrize(
    ("one", "is_covered"),
    [
        (silence(), True),
        (silence("rack:R10"), False),
        (silence("*", "cpu_load_high"), True),
        (silence("*", "disk_full"), False),
        (silence("-tag:env=prod"), False),
        (silence(up_to="warning"), True),
        (silence(up_to="info"), False),
        (silence(None, "cpu_load_high", hostname="web-1"), True),
        (silence(None, "cpu_load_high", hostname="web-2"), False),
        (silence(None, "cpu_load_high", hostname="web-1", subject="/"), False),
        (silence(None, "disk_full", hostname="web-1"), False),
    ],
)
def test_a_silence_covers_these_alerts(one: Silence, is_covered: bool) -> None:
    assert one.covers(alert(), RACK) is is_covered


def test_a_worse_severity_breaks_through() -> None:
    one = silence(up_to="warning")
    assert [one.covers(alert(severity=severity), RACK) for severity in ("info", "warning", "critical")] == [
        True,
        True,
        False,
    ]


def test_a_silence_of_one_disk_leaves_the_others() -> None:
    one = silence(None, "disk_full", hostname="web-1", subject="/srv")
    assert [one.covers(alert("disk_full", subject=disk), RACK) for disk in ("/srv", "/", None)] == [True, False, False]


def test_a_silence_holds_from_its_beginning_to_before_its_end() -> None:
    one = silence()
    at = (NOW - 1, NOW, NOW + HOUR - 1, NOW + HOUR)
    assert [one.quiet_until(each, GRACE) for each in at] == [None, NOW + HOUR, NOW + HOUR, None]
    assert [one.state(each, GRACE) for each in at] == ["waiting", "on", "on", "over"]


def test_one_that_ended_before_it_began_never_holds() -> None:
    one = silence(begins_at=NOW + HOUR, ends_at=NOW)
    assert {one.state(at, GRACE) for at in (NOW, NOW + HOUR, NOW + 2 * HOUR)} == {"over"}
    work = Maintenance(parse("*"), NOW + HOUR, NOW, None, "")
    assert {work.state(at, GRACE) for at in (NOW, NOW + HOUR, NOW + 2 * HOUR)} == {"over"}


def test_after_maintenance_hosts_have_the_grace_to_come_back() -> None:
    work = Maintenance(parse("rack:R1"), NOW, NOW + HOUR, None, "new switch")
    end = NOW + HOUR + GRACE
    assert [work.quiet_until(at, GRACE) for at in (NOW - 1, NOW, NOW + HOUR, end - 1, end)] == [
        None,
        end,
        end,
        end,
        None,
    ]
    assert [work.state(at, GRACE) for at in (NOW - 1, end - 1, end)] == ["waiting", "on", "over"]


def test_weekly_maintenance_comes_again_and_has_its_grace_each_time() -> None:
    """Sundays 02:00 to 02:02 in Berlin, which is shorter than the grace."""
    hours = MuteTime(frozenset({6}), 120, 122, "Europe/Berlin")
    work = Maintenance(parse("*"), NOW, None, hours, "")
    for begin in (from_text("2026-03-08T01:00Z"), from_text("2026-03-15T01:00Z"), from_text("2026-04-05T00:00Z")):
        end = begin + 2 * MINUTE + GRACE
        assert [work.quiet_until(at, GRACE) for at in (begin - 1, begin, end - 1, end)] == [None, end, end, None]
    assert work.state(from_text("2026-03-29T01:30Z"), GRACE) == "waiting", "02:00 does not exist on that day"
    assert replace(work, ends_at=NOW + DAY).state(from_text("2026-03-08T01:00Z"), GRACE) == "over"


def test_what_lasts_longest_is_named_first() -> None:
    versions = [
        version(silence(), id="short"),
        version(silence(ends_at=NOW + 2 * HOUR, note="disk ordered"), id="long"),
    ]
    versions.append(version(Maintenance(parse("host:web-2"), NOW, NOW + DAY, None, ""), MAINTENANCE, "other"))
    found = suppressions(versions, alert(), RACK, NOW, GRACE)
    assert [(one.id, one.until, one.by, one.note) for one in found] == [
        ("long", NOW + 2 * HOUR, "ada", "disk ordered"),
        ("short", NOW + HOUR, "ada", ""),
    ]
    assert suppressions(versions, alert(), RACK, NOW + 2 * HOUR, GRACE) == []


@pytest.mark.parametrize(
    ("found", "fleet", "is_so"),
    [(0, 0, False), (1, 1, False), (1, 2, False), (2, 3, True), (30, 100, False), (31, 100, True)],
)
def test_more_than_thirty_percent_have_to_be_confirmed(found: int, fleet: int, is_so: bool) -> None:
    assert is_broad(found, fleet) is is_so


@pytest.mark.parametrize(
    ("begins", "ends", "said"),
    [
        (NOW, NOW + 30 * DAY, None),
        (NOW, NOW + 30 * DAY + 1, "longer than 30 days"),
        (NOW + HOUR, NOW + HOUR, "before it begins"),
        (NOW - HOUR, NOW, "in the past"),
        (NOW - DAY, NOW + 30 * DAY, None),
        (NOW + 367 * DAY, NOW + 368 * DAY, "366 days from now"),
    ],
)
def test_what_is_wrong_with_a_time_is_said(begins: Instant, ends: Instant, said: str | None) -> None:
    found = span_trouble(begins, ends, NOW, 30 * DAY)
    assert (found is None) if said is None else said in (found or "")


hours = st.builds(
    MuteTime,
    st.frozensets(st.integers(0, 6), min_size=1),
    st.integers(0, 1439),
    st.integers(0, 1440),
    st.just("Asia/Seoul"),
)
instants = st.integers(0, 2**41)
places = st.sampled_from([parse("*"), parse("rack:R1 -tag:env=lab"), parse('room:"Hall 2"')])
silences = st.builds(
    Silence, places, st.none() | st.just("disk_full"), st.none(), st.none(), st.sampled_from(["info", "critical"]), instants, instants, st.text(max_size=9)
)  # fmt: skip
works = st.builds(Maintenance, places, instants, st.none() | instants, st.none() | hours, st.text(max_size=9))


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.one_of(
        st.tuples(st.just(KINDS[0]), silences), st.tuples(st.just(KINDS[1]), works), st.tuples(st.just(KINDS[2]), hours)
    )
)
def test_what_is_stored_is_read_again(one: tuple[str, Silence | Maintenance | MuteTime]) -> None:
    kind, what = one
    assert what_from(kind, body_of(what)) == what


@given(hours)
def test_hours_are_read_as_they_are_written(time: MuteTime) -> None:
    assert weekly_from(weekly_said(time)) == time


@given(works, st.integers(NOW, NOW + 14 * DAY))
def test_maintenance_holds_within_its_grace_of_its_hours_and_at_no_other_time(work: Maintenance, at: Instant) -> None:
    def is_worked(moment: Instant) -> bool:
        is_within = work.begins_at <= moment and (work.ends_at is None or moment < work.ends_at)
        return is_within and (work.weekly is None or work.weekly.is_muted(moment))

    moments = [*range(at, at - GRACE - 1, -MINUTE), *range(at - at % MINUTE - 1, at - GRACE - 1, -MINUTE), at - GRACE]
    moments += [m for m in (work.begins_at, (work.ends_at or 0) - 1) if at - GRACE <= m <= at]
    assert (work.state(at, GRACE) == "on") is any(map(is_worked, moments))
    assert (work.quiet_until(at, GRACE) is not None) is (work.state(at, GRACE) == "on")
