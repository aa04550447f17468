"""Mute times: hours of the week by the clock on somebody's wall, such as Monday to Friday, 22:00–07:00, Europe/Berlin. Pure.

The question is always what the wall shows *now*. No start is ever worked out in advance, so there is no start that a change
to summer time skips or repeats: 22:00–07:00 lasts 8 hours in the night in which the clocks go forward, 10 in the other one,
and a time that the wall shows twice is muted twice.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cache
from zoneinfo import ZoneInfo

from mirror_stage.core.instants import DAY, MINUTE, SECOND, Instant

WEEKDAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
DAY_MINUTES = 24 * 60
_ONE_DAY = timedelta(days=1)


class NoSuchZone(ValueError):
    """A name that is no IANA time zone. The message says how one is written."""


@cache
def zone_named(name: str) -> ZoneInfo:
    """The IANA time zone of a name. Raises NoSuchZone."""
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError) as error:  # there is none, a path, a folder
        raise NoSuchZone(
            f"there is no time zone {name[:60]!r}; write an IANA name, such as Europe/Berlin, Asia/Seoul or UTC"
        ) from error


def minute_of(text: str) -> int:
    """The minute of the day of `HH:MM`, 00:00 to 24:00. Raises ValueError."""
    hour, colon, minute = text.partition(":")
    if not (colon and len(hour) == len(minute) == 2 and (hour + minute).isascii() and (hour + minute).isdigit()):
        raise ValueError(f"write a time as HH:MM, such as 07:00, not {text!r}")
    found = int(hour) * 60 + int(minute)
    if int(minute) > 59 or found > DAY_MINUTES:
        raise ValueError(f"{text!r} is no time of the day; the last one is 24:00")
    return found


def time_text(minute: int) -> str:
    """`HH:MM` for a minute of the day."""
    return f"{minute // 60:02d}:{minute % 60:02d}"


@dataclass(frozen=True, slots=True)
class MuteTime:
    """Muted from `begin` to before `end`, minutes of the local day, on each of `weekdays` (0 is Monday).

    An `end` that is not after `begin` is on the next day: 22:00–07:00 on Mondays ends on Tuesday, 00:00–00:00 lasts the
    whole day. The weekday is that of the beginning.
    """

    weekdays: frozenset[int]
    begin: int
    end: int
    zone: str

    def is_muted(self, at: Instant) -> bool:
        """Whether the wall shows one of these times at an instant."""
        wall = _wall(self.zone, at)
        minute = wall.hour * 60 + wall.minute
        if self.begin < self.end:
            return wall.weekday() in self.weekdays and self.begin <= minute < self.end
        if minute >= self.begin:
            return wall.weekday() in self.weekdays
        return minute < self.end and (wall - _ONE_DAY).weekday() in self.weekdays

    def ends_at(self, at: Instant) -> Instant | None:
        """The first instant after `at` that is not muted. None if it is muted for more than eight days, so for ever.

        `at` itself, where it is not muted.
        """
        latest = at + 8 * DAY
        while self.is_muted(at):
            if at > latest:
                return None
            at = self._next_look(at, self.end)
        return at

    def begins_at(self, at: Instant) -> Instant | None:
        """The first instant from `at` on that is muted; None if there is none within eight days."""
        latest = at + 8 * DAY
        while not self.is_muted(at):
            if at > latest:
                return None
            at = self._next_look(at, self.begin)
        return at

    def _next_look(self, at: Instant, wanted: int) -> Instant:
        """When the wall shows the minute `wanted` of a day after an instant, or the change of the wall's clock before that."""
        wall = _wall(self.zone, at)
        minute = wall.hour * 60 + wall.minute
        left = (wanted - minute) % DAY_MINUTES or DAY_MINUTES
        begun = at - at % MINUTE
        by_wall = begun + left * MINUTE
        before = wall.utcoffset()
        if _wall(self.zone, by_wall).utcoffset() == before:
            return by_wall
        while by_wall - begun > MINUTE:  # the change is after `begun`, and not after `by_wall`
            middle = begun + (by_wall - begun) // MINUTE // 2 * MINUTE
            if _wall(self.zone, middle).utcoffset() == before:
                begun = middle
            else:
                by_wall = middle
        return by_wall


def is_muted(times: Sequence[MuteTime], at: Instant) -> bool:
    """Whether one of several mute times is on."""
    return any(time.is_muted(at) for time in times)


def _wall(zone: str, at: Instant) -> datetime:
    """What the wall shows: the local date and time."""
    return datetime.fromtimestamp(at // SECOND, zone_named(zone))
