"""Mute times on every day on which the clocks change, against GNU `date`."""

from __future__ import annotations

import os
import subprocess
import zoneinfo
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from importlib.resources import files
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mirror_stage.core.instants import DAY, HOUR, MINUTE, SECOND, Instant, from_text
from mirror_stage.quiet.mute_times import MuteTime, NoSuchZone, minute_of, time_text, zone_named

ZONES = (
    "America/New_York",
    "Europe/Berlin",
    "Asia/Seoul",
    "Australia/Lord_Howe",
    "Africa/Casablanca",
    "Antarctica/Troll",
)
EVERY_DAY = frozenset(range(7))
YEARS = (from_text("2026-01-01T00:00Z"), from_text("2028-01-01T00:00Z"))
WINDOWS = (  # weekdays, from, to: a night, hours that a change skips or repeats, a weekend, days that end at midnight
    (EVERY_DAY, "22:00", "07:00"),
    (EVERY_DAY, "01:30", "02:30"),
    (EVERY_DAY, "02:00", "03:00"),
    (frozenset({5, 6}), "00:00", "24:00"),
    (frozenset({5}), "23:30", "02:15"),
    (frozenset({6}), "00:00", "00:00"),
    (frozenset({0, 1, 2, 3, 4}), "09:00", "17:30"),
)


@dataclass(frozen=True)
class Wall:
    """What `date` says of one minute: the weekday, 1 is Monday, and `HH:MM`."""

    at: Instant
    weekday: int
    time: str


def file_of(zone: str) -> Path:
    """The file that both Python and `date` read, so that the test compares two programs and not two releases of the data."""
    found = (Path(folder) / zone for folder in zoneinfo.TZPATH)
    return next((path for path in found if path.is_file()), Path(str(files("tzdata"))) / "zoneinfo" / zone)


@cache
def transitions(zone: str) -> list[Instant]:
    """The changes of the clocks in 2026 and 2027, to the minute before or at each."""
    local = zone_named(zone)

    def offset(at: Instant) -> object:
        return datetime.fromtimestamp(at // SECOND, local).utcoffset()

    found = []
    for hour in range(*YEARS, HOUR):
        if offset(hour) != offset(hour + HOUR):
            found.append(next(at for at in range(hour, hour + HOUR + 1, MINUTE) if offset(at + MINUTE) != offset(at)))
    return found


def walls(zone: str, instants: Iterator[Instant]) -> list[Wall]:
    """What the wall shows at each instant, by one process of GNU `date`."""
    asked = list(instants)
    done = subprocess.run(
        ["date", "-f", "-", "+%u %H:%M"],
        input="".join(f"@{at // SECOND}\n" for at in asked),
        env={**os.environ, "TZ": str(file_of(zone)), "LC_ALL": "C"},
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    lines = (line.split() for line in done.stdout.splitlines())
    return [Wall(at, int(weekday), time) for at, (weekday, time) in zip(asked, lines, strict=True)]


def should_be_muted(wall: Wall, weekdays: frozenset[int], begin: str, end: str) -> bool:
    today, yesterday = wall.weekday - 1 in weekdays, (wall.weekday - 2) % 7 in weekdays
    if begin < end:
        return today and begin <= wall.time < end
    return (today and wall.time >= begin) or (yesterday and wall.time < end)


def around(zone: str, step: Instant) -> Iterator[Instant]:
    """Instants from a day before each change of the clocks to a day after it. Where there is none, two days in spring."""
    for at in transitions(zone) or [from_text("2026-03-29T01:00Z")]:
        yield from range(at - DAY, at + DAY + 1, step)


def compare(zone: str, step: Instant) -> int:
    """Compare each instant and each end; returns how many instants were compared."""
    seen = walls(zone, around(zone, step))
    for weekdays, begin, end in WINDOWS:
        time = MuteTime(weekdays, minute_of(begin), minute_of(end), zone)
        expected = [should_be_muted(wall, weekdays, begin, end) for wall in seen]
        assert [time.is_muted(wall.at) for wall in seen] == expected
        if step == MINUTE:
            check_ends(time, seen, expected)
    return len(seen)


def check_ends(time: MuteTime, seen: list[Wall], muted: list[bool]) -> None:
    """Each end is the first minute that is not muted, as far as it is among those that `date` was asked about."""
    end: Instant | None = None
    later = seen[-1].at
    for wall, is_muted in zip(reversed(seen), reversed(muted), strict=True):
        if later - wall.at > MINUTE:
            end = None  # here the days around an earlier change end
        later = wall.at
        if not is_muted:
            end = wall.at
        elif end is not None:
            assert time.ends_at(wall.at) == end, (time, wall)


@pytest.mark.parametrize("zone", ZONES)
def test_a_sample_of_minutes_around_each_change_is_as_gnu_date_says(zone: str) -> None:
    assert compare(zone, 13 * MINUTE) > 200


@pytest.mark.long
@pytest.mark.parametrize("zone", ZONES)
def test_every_minute_around_each_change_is_as_gnu_date_says(zone: str) -> None:
    assert compare(zone, MINUTE) >= 2881 * max(1, len(transitions(zone)))


def test_the_changes_of_these_zones_are_found() -> None:
    found = {zone: len(transitions(zone)) for zone in ZONES}
    assert found.pop("Africa/Casablanca") >= 1  # Morocco decides late: the number depends on the age of the zone data
    assert list(found.values()) == [4, 4, 0, 4, 4]


@pytest.mark.parametrize(
    ("zone", "evening", "hours"),
    [("America/New_York", "2026-03-08T03:00Z", 8), ("America/New_York", "2026-11-01T02:00Z", 10), ("America/New_York", "2026-06-02T02:00Z", 9),
     ("Europe/Berlin", "2026-03-28T21:00Z", 8), ("Europe/Berlin", "2026-10-24T20:00Z", 10), ("Antarctica/Troll", "2026-03-28T22:00Z", 7),
     ("Australia/Lord_Howe", "2026-04-04T11:00Z", 9.5), ("Asia/Seoul", "2026-03-28T13:00Z", 9)],
)  # fmt: skip
def test_how_long_a_night_lasts(zone: str, evening: str, hours: float) -> None:
    night = MuteTime(EVERY_DAY, minute_of("22:00"), minute_of("07:00"), zone)
    begins = from_text(evening)
    assert (night.is_muted(begins - 1), night.is_muted(begins)) == (False, True)
    assert night.ends_at(begins) == begins + hours * HOUR
    assert not night.is_muted(night.ends_at(begins) or 0)
    assert night.is_muted((night.ends_at(begins) or 0) - 1)


def test_an_hour_that_the_wall_shows_twice_is_muted_twice() -> None:
    half_hour = MuteTime(EVERY_DAY, minute_of("01:00"), minute_of("01:30"), "America/New_York")
    first, second = from_text("2026-11-01T05:00Z"), from_text("2026-11-01T06:00Z")
    assert [half_hour.is_muted(at) for at in (first, second)] == [True, True]
    assert half_hour.ends_at(first) == first + 30 * MINUTE


def test_all_hours_of_all_days_never_end() -> None:
    assert MuteTime(EVERY_DAY, 0, 24 * 60, "Europe/Berlin").ends_at(YEARS[0]) is None
    assert MuteTime(EVERY_DAY, 540, 540, "Europe/Berlin").ends_at(YEARS[0]) is None


windows = st.builds(
    MuteTime, st.frozensets(st.integers(0, 6)), st.integers(0, 1439), st.integers(0, 1440), st.sampled_from(ZONES)
)


@given(windows, st.integers(YEARS[0] // SECOND, YEARS[1] // SECOND).map(lambda second: second * SECOND))
def test_until_its_end_a_time_is_muted_and_there_it_is_not(time: MuteTime, at: Instant) -> None:
    end = time.ends_at(at)
    if end is None:
        assert all(time.is_muted(at + hours * HOUR) for hours in range(8 * 24))
        return
    assert not time.is_muted(end)
    assert end == at or time.is_muted(end - 1)
    assert all(time.is_muted(at + (end - at) * part // 50) for part in range(50)) or end == at


@given(st.integers(0, 1440))
def test_a_time_of_the_day_is_read_as_it_is_written(minute: int) -> None:
    assert minute_of(time_text(minute)) == minute


@pytest.mark.parametrize("text", ["", "7:00", "07", "07:60", "24:01", "25:00", "٠٧:٠٠", "07:00:00", "-1:00"])
def test_what_is_no_time_of_the_day_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="time"):
        minute_of(text)


@pytest.mark.parametrize(
    "name", ["", "Europe/Bonn", "CEST", "../etc/passwd", "/etc/localtime", "Europe", "\0", "a" * 9999]
)
def test_what_is_no_zone_is_refused(name: str) -> None:
    with pytest.raises(NoSuchZone, match="IANA"):
        zone_named(name)


@given(zone=st.sampled_from(ZONES), window=st.sampled_from(WINDOWS), at=st.data())
@settings(max_examples=60, deadline=None)
def test_the_next_beginning_is_the_first_muted_minute(
    zone: str, window: tuple[frozenset[int], str, str], at: st.DataObject
) -> None:
    """Near a change of the clocks, and by going through every minute."""
    days, begin, end = window
    time = MuteTime(days, minute_of(begin), minute_of(end), zone)
    near = at.draw(st.sampled_from(transitions(zone) or [YEARS[0]]))
    start = near + at.draw(st.integers(-36 * 60, 12 * 60)) * MINUTE
    found = time.begins_at(start)
    assert found is not None
    assert time.is_muted(found)
    assert not any(time.is_muted(minute) for minute in range(start, found, MINUTE))
