"""Silences, maintenance and mute times as they are written down, and which alerts nobody is told of. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from mirror_stage.alerts.domain import SEVERITIES, Alert, Suppression
from mirror_stage.core.instants import DAY, MINUTE, Instant
from mirror_stage.core.names import is_printable
from mirror_stage.core.selector import Labels, Selector, parse
from mirror_stage.quiet.mute_times import WEEKDAYS, MuteTime, minute_of, time_text, zone_named

SILENCE: Final = "silence"
MAINTENANCE: Final = "maintenance"
MUTE_TIME: Final = "mute-time"
KINDS = (SILENCE, MAINTENANCE, MUTE_TIME)

HUD, FILE = "hud", "file"

CREATED: Final = "created"
CHANGED: Final = "changed"
ENDED: Final = "ended"
CHANGES = (CREATED, CHANGED, ENDED)
BEGAN: Final = "began"  # told, never stored: the time has come, nobody has changed anything
OVER: Final = "over"

WAITING: Final = "waiting"
ON: Final = "on"
STATES = (WAITING, ON, OVER)

LASTS_MAX: Final[Instant] = 30 * DAY
AHEAD_MAX: Final[Instant] = 366 * DAY  # how far ahead one may begin
NOTE_MAX = 500
NAME_MAX = 64
RETURN: Final[Instant] = 5 * MINUTE  # after maintenance: so long, and the time after which a host counts as offline
SHARE_MAX = 0.3  # a larger part of the fleet has to be confirmed
COUNT_MAX: Mapping[str, int] = {SILENCE: 1_000, MAINTENANCE: 200, MUTE_TIME: 100}  # that are not over
_NAME = re.compile(r"[a-z0-9][a-z0-9._-]*")


@dataclass(frozen=True, slots=True)
class Silence:
    """Nobody is told of these alerts until `ends_at`, as long as they are not worse than `up_to`.

    Either `where` says which hosts, and `rule` which rule of theirs (None: every rule). Or it is bound to one alert's
    key: rule, host and subject; it then counts for the next alert of that key, too.
    """

    where: Selector | None
    rule: str | None
    hostname: str | None
    subject: str | None
    up_to: str
    begins_at: Instant
    ends_at: Instant
    note: str

    def covers(self, alert: Alert, labels: Labels) -> bool:
        """Whether an alert is meant, at any time."""
        if SEVERITIES.index(alert.severity) > SEVERITIES.index(self.up_to):
            return False
        if self.where is None:
            is_rule = self.rule in {alert.metric, alert.rule}
            return is_rule and (self.hostname, self.subject) == (alert.hostname, alert.subject)
        return self.rule in {None, alert.metric, alert.rule} and self.where.matches(labels)

    def quiet_until(self, at: Instant, _grace: Instant) -> Instant | None:
        """Until when it holds; None if it does not hold at this instant."""
        return self.ends_at if self.begins_at <= at < self.ends_at else None

    def state(self, at: Instant, _grace: Instant) -> str:
        return OVER if at >= self.ends_at else ON if at >= self.begins_at else WAITING


@dataclass(frozen=True, slots=True)
class Maintenance:
    """Work on hosts, from `begins_at` to `ends_at`: that they are offline, or anything else, is expected.

    With `weekly` it is only in these hours of the week; `ends_at` None: until somebody ends it. After each of its ends
    the hosts have the grace to come back.
    """

    where: Selector
    begins_at: Instant
    ends_at: Instant | None
    weekly: MuteTime | None
    note: str

    def covers(self, _alert: Alert, labels: Labels) -> bool:
        """Whether an alert is meant, at any time."""
        return self.where.matches(labels)

    def quiet_until(self, at: Instant, grace: Instant) -> Instant | None:
        """Until when it holds, grace included; None if it does not hold at this instant, or has no end."""
        worked_at = self._worked_at(at, grace)
        return None if worked_at is None else self._end(worked_at) + grace

    def begins_next(self, at: Instant) -> Instant | None:
        """When work begins after an instant at which there is none; None: it does not, or not within eight days."""
        first = max(self.begins_at, at)
        begins = first if self.weekly is None else self.weekly.begins_at(first)
        if begins is None or begins <= at or (self.ends_at is not None and begins >= self.ends_at):
            return None
        return begins

    def state(self, at: Instant, grace: Instant) -> str:
        if self._worked_at(at, grace) is not None:
            return ON
        return OVER if self.ends_at is not None and at >= self.ends_at else WAITING

    def _worked_at(self, at: Instant, grace: Instant) -> Instant | None:
        """The last instant from `grace` before `at` until `at` that is within the work; None if there is none."""
        first, last = max(self.begins_at, at - grace), at if self.ends_at is None else min(at, self.ends_at - 1)
        if first > last:
            return None
        if self.weekly is None or self.weekly.is_muted(last):
            return last
        minutes = range(last - last % MINUTE - 1, first - 1, -MINUTE)  # the last millisecond of each minute before
        return next((each for each in (*minutes, first) if self.weekly.is_muted(each)), None)

    def _end(self, worked_at: Instant) -> Instant:
        ends = [self.weekly.ends_at(worked_at) if self.weekly is not None else None, self.ends_at]
        return min((end for end in ends if end is not None), default=worked_at + 8 * DAY)


What = Silence | Maintenance | MuteTime


@dataclass(frozen=True, slots=True)
class Written:
    """One as a document has it. Without `has_beginning` it begins when the document is applied, or has begun already."""

    what: What
    has_beginning: bool = True
    is_confirmed: bool = False

    def as_after(self, before: Version | None) -> What:
        """What is meant, if this one is open."""
        if before is None or self.has_beginning or isinstance(self.what, MuteTime) or isinstance(before.what, MuteTime):
            return self.what
        return replace(self.what, begins_at=before.what.begins_at)


@dataclass(frozen=True, slots=True)
class Version:
    """A silence, maintenance or mute time as it was written down at `at` by somebody, until `replaced_at`.

    `id` of a mute time is its name. `number` rises by one with each version. `source`: it is kept in the HUD, or in a file.
    """

    kind: str
    id: str
    number: int
    at: Instant
    by: str
    change: str
    what: What
    replaced_at: Instant | None = None
    source: str = HUD

    @property
    def ends_at(self) -> Instant | None:
        """When it ends by what is written down; None: it has no end."""
        if isinstance(self.what, MuteTime):
            return self.at if self.change == ENDED else None
        return self.what.ends_at

    @property
    def note(self) -> str:
        return "" if isinstance(self.what, MuteTime) else self.what.note

    def state(self, at: Instant, grace: Instant) -> str:
        """`waiting`, `on` or `over`."""
        if isinstance(self.what, MuteTime):
            return OVER if self.change == ENDED else ON if self.what.is_muted(at) else WAITING
        return self.what.state(at, grace)


def suppressions(
    versions: Iterable[Version], alert: Alert, labels: Labels, at: Instant, grace: Instant
) -> list[Suppression]:
    """Why nobody is told of an alert at an instant, first what lasts longest; empty if somebody may be told.

    Mute times say nothing here: they are a matter of each route.
    """
    found = []
    for version in versions:
        if isinstance(version.what, MuteTime):
            continue
        until = version.what.quiet_until(at, grace)
        if until is not None and version.what.covers(alert, labels):
            found.append(Suppression(version.kind, version.id, until, version.by, version.note))
    return sorted(found, key=lambda one: (-one.until, one.id))


def rule_of(what: What) -> str | None:
    """The rule that a silence is for; None: every rule, or it is no silence."""
    return what.rule if isinstance(what, Silence) else None


def is_broad(found: int, fleet: int) -> bool:
    """Whether so many hosts of the fleet have to be confirmed. One host never has to be."""
    return found > 1 and found > SHARE_MAX * fleet


# ------------------------------------------------------------------ troubles, in words


def note_trouble(note: str) -> str | None:
    """What is wrong with a note; None if nothing is."""
    if len(note) > NOTE_MAX:
        return f"has {len(note)} characters; {NOTE_MAX} are allowed"
    return None if is_printable(note) else "must be one line of letters that can be seen"


def name_trouble(name: str) -> str | None:
    """What is wrong with the name of a mute time; None if nothing is."""
    if len(name) <= NAME_MAX and _NAME.fullmatch(name):
        return None
    return f"must be 1 to {NAME_MAX} small letters, digits, '.', '_' and '-', and begin with a letter or a digit"


def span_trouble(
    begins_at: Instant, ends_at: Instant | None, now: Instant, lasts_max: Instant | None = None
) -> str | None:
    """What is wrong with a beginning and an end; None if nothing is. Only what is still to come can be arranged."""
    if begins_at > now + AHEAD_MAX:
        return f"it begins more than {AHEAD_MAX // DAY} days from now"
    if ends_at is None:
        return None
    if ends_at <= max(begins_at, now):
        return "it ends before it begins" if ends_at <= begins_at else "its end is in the past"
    if lasts_max is not None and ends_at - max(begins_at, now) > lasts_max:
        return f"it lasts longer than {lasts_max // DAY} days; the end must be nearer"
    return None


# ------------------------------------------------------------------ as JSON, in the database and on the wire


def weekly_from(said: Mapping[str, Any]) -> MuteTime:
    """The mute time that `{"weekdays": ["mon"], "from": "22:00", "to": "07:00", "zone": "Europe/Berlin"}` says. Raises ValueError."""
    days = frozenset(WEEKDAYS.index(day) for day in said["weekdays"])
    begin = minute_of(said["from"])
    if begin == minute_of("24:00"):
        raise ValueError("from: write 00:00 for the beginning of a day")
    zone_named(said["zone"])
    return MuteTime(days, begin, minute_of(said["to"]), said["zone"])


def weekly_said(time: MuteTime) -> dict[str, Any]:
    """A mute time as `weekly_from` reads it."""
    days = [WEEKDAYS[day] for day in sorted(time.weekdays)]
    return {"weekdays": days, "from": time_text(time.begin), "to": time_text(time.end), "zone": time.zone}


def body_of(what: What) -> dict[str, Any]:
    """What is stored as JSON; `what_from` reads it."""
    if isinstance(what, MuteTime):
        return weekly_said(what)
    where = None if what.where is None else what.where.text
    span = {"where": where, "note": what.note, "beginsAt": what.begins_at, "endsAt": what.ends_at}
    if isinstance(what, Silence):
        return span | {"rule": what.rule, "hostname": what.hostname, "subject": what.subject, "upTo": what.up_to}
    return span | {"weekly": None if what.weekly is None else weekly_said(what.weekly)}


def what_from(kind: str, body: Mapping[str, Any]) -> What:
    """What `body_of` has written."""
    if kind == MUTE_TIME:
        return weekly_from(body)
    where = None if body["where"] is None else parse(body["where"])
    if kind == MAINTENANCE and where is not None:
        weekly = None if body["weekly"] is None else weekly_from(body["weekly"])
        return Maintenance(where, body["beginsAt"], body["endsAt"], weekly, body["note"])
    return Silence(
        where,
        body["rule"],
        body["hostname"],
        body["subject"],
        body["upTo"],
        body["beginsAt"],
        body["endsAt"],
        body["note"],
    )
